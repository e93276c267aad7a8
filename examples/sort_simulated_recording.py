"""Sort a simulated recording of one channel and compare with its truth. Extras: spikes, and plots for a figure.

    python examples/sort_simulated_recording.py sorted.png
"""

import sys

import numpy as np

from keras_crsae.applications import spike_sorting
from keras_crsae.data.simulate import simulate_spikes, spike_templates
from keras_crsae.demo.scoring import match_events

RATE = 30_000  # Hz

# Twenty seconds in microvolts: three units, 15 spikes a second each, noise of 10 microvolts.
truth = spike_templates(kernel_size=45, filters=3)                                   # (time, channels, units)
simulated = simulate_spikes(truth, windows=1, samples=20 * RATE, events_per_window=300,
                            amplitude=(120.0, 12.0), sigma=10.0, seed=0)
recording = np.round(simulated.signal[0]).astype("int16")                            # (samples, 1), as from a file
start, unit = np.nonzero(simulated.code[0])
true_samples = start + np.abs(truth[:, 0]).argmax(axis=0)[unit]                      # the extremum of each spike

result = spike_sorting.sort(recording, RATE, seed=0)
print(result)
print("true unit   spikes   best found unit     hits   misses   false alarms   (within half a millisecond)")
for true_unit in range(3):
    mine = np.sort(true_samples[unit == true_unit])
    scores = [match_events(mine, np.sort(result.spike_samples[result.spike_units == u]), tolerance=RATE // 2000)
              for u in range(result.num_units)]
    best = int(np.argmax([hits / (hits + misses + false) for hits, misses, false in scores]))
    print("{:9d} {:8d} {:17d} {:8d} {:8d} {:14d}".format(true_unit, len(mine), best, *scores[best]))


def figure(shown=slice(10 * RATE, 10 * RATE + RATE // 10)):
    """Left: the learned templates. Right: a tenth of a second, each spike found marked at its extremum."""
    from matplotlib.figure import Figure

    from keras_crsae.plots.style import COLOURS

    drawn = Figure(figsize=(8.2, 2.9), layout="constrained")
    left, right = drawn.subplots(1, 2, width_ratios=(1, 2.2))
    time = (np.arange(result.templates.shape[1]) - result.nbefore) / RATE * 1000
    right.plot(np.arange(shown.start, shown.stop) / RATE, recording[shown, 0], color="0.6", linewidth=0.6)
    inside = (result.spike_samples >= shown.start) & (result.spike_samples < shown.stop)
    for u in range(result.num_units):
        left.plot(time, result.templates[u, :, 0], color=COLOURS[u], label=f"unit {u}")
        at = result.spike_samples[inside & (result.spike_units == u)]
        right.plot(at / RATE, recording[at, 0], "o", color=COLOURS[u], markersize=5)
    left.set(xlabel="ms from the extremum", ylabel="microvolts", title="Templates learned")
    left.legend(frameon=False, fontsize=8)
    right.set(xlabel="s", title="Spikes found")
    return drawn


if len(sys.argv) > 1:
    figure().savefig(sys.argv[1], dpi=100)
