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
made = simulate_spikes(truth, windows=1, samples=20 * RATE, events_per_window=300, amplitude=(120.0, 12.0), sigma=10.0,
                       seed=0)
recording = np.round(made.signal[0]).astype("int16")                                 # (samples, 1), as from a file
start, unit = np.nonzero(made.code[0])
true_samples = start + np.abs(truth[:, 0]).argmax(axis=0)[unit]                      # the extremum of each spike

result = spike_sorting.sort(recording, RATE, seed=0)
print(result)


print("true unit   spikes   best found unit     hits   misses   false alarms   (within half a millisecond)")
for true_unit in range(3):
    mine = np.sort(true_samples[unit == true_unit])
    scores = [match_events(mine, np.sort(result.spike_samples[result.spike_units == u]), tolerance=RATE // 2000)
              for u in range(result.units)]
    best = int(np.argmax([hits / (hits + misses + false) for hits, misses, false in scores]))
    print("{:9d} {:8d} {:17d} {:8d} {:8d} {:14d}".format(true_unit, len(mine), best, *scores[best]))

if len(sys.argv) > 1:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 2))
    time = (np.arange(result.templates.shape[1]) - result.nbefore) / RATE * 1000
    for u in range(result.units):
        left.plot(time, result.templates[u, :, 0], color=f"C{u}", label=f"unit {u}")
    left.set(xlabel="ms from the extremum", ylabel="microvolts", title="Learned templates")
    left.legend(frameon=False)
    shown = slice(10 * RATE, 10 * RATE + RATE // 10)
    right.plot(np.arange(shown.start, shown.stop) / RATE, recording[shown, 0], color="0.5", linewidth=0.6)
    top = float(recording[shown].max())
    for u in range(result.units):
        times = result.spike_samples[(result.spike_units == u) & (result.spike_samples >= shown.start)
                                     & (result.spike_samples < shown.stop)]
        right.plot(times / RATE, np.full(len(times), top * (1.15 + 0.15 * u)), "|", color=f"C{u}", markersize=9)
    right.set(xlabel="s", ylabel="microvolts", title="A tenth of a second, and the spikes found")
    figure.savefig(sys.argv[1], dpi=120)
