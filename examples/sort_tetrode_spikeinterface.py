"""Sort a tetrode of SpikeInterface's generator, and compare with the truth. Needs the extras spikes and plots.

    python examples/sort_tetrode_spikeinterface.py tetrode.png

The comparison needs spikeinterface[comparison] besides.
"""

import sys

import numpy as np
from spikeinterface.comparison import compare_sorter_to_ground_truth
from spikeinterface.core import generate_ground_truth_recording

from keras_crsae.applications import spike_sorting
from keras_crsae.applications.spikeinterface import as_templates


def true_waveform(unit, channel, learned):
    """Mean of the recording around a true unit's spikes, on one channel, as long as the learned template."""
    samples = np.arange(learned.num_samples) - learned.nbefore
    times = truth.get_unit_spike_train(unit)
    times = times[(times + samples[0] >= 0) & (times + samples[-1] < recording.get_num_samples())]
    return recording.get_traces()[times[:, None] + samples, channel].mean(axis=0)


def figure():
    """Left: true and learned waveforms on each unit's best channel. Right: a fifth of a second with its spikes."""
    from matplotlib import pyplot as plt

    fig, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), width_ratios=(1, 2), layout="constrained")
    learned = as_templates(result, recording)
    milliseconds = (np.arange(learned.num_samples) - learned.nbefore) / learned.sampling_frequency * 1000
    for unit, channel in enumerate(learned.get_main_channels(peak_sign="both")):
        left.plot(milliseconds, learned.templates_array[unit, :, channel], color=f"C{unit}", label=f"unit {unit}")
        match = comparison.hungarian_match_21[unit]
        if match != -1:
            left.plot(milliseconds, true_waveform(match, channel, learned), "k:", linewidth=1)
    left.plot([], "k:", linewidth=1, label="truth")
    left.set(xlabel="ms from the extremum", ylabel="microvolts", title="Learned templates, best channel")
    left.legend(frameon=False)

    fs = recording.get_sampling_frequency()
    start, stop = int(10 * fs), int(10.2 * fs)
    traces = recording.get_traces(start_frame=start, end_frame=stop)
    step = np.abs(traces).max()
    for channel in range(traces.shape[1]):
        right.plot(np.arange(start, stop) / fs, traces[:, channel] - channel * step, color="0.4", linewidth=0.5)
    shown = (result.spike_samples >= start) & (result.spike_samples < stop)
    for unit in np.unique(result.spike_units[shown]):
        times = result.spike_samples[shown & (result.spike_units == unit)] / fs
        right.plot(times, np.full(len(times), step * (0.5 + 0.25 * unit)), "|", color=f"C{unit}", markersize=9)
    accuracy = comparison.get_performance()["accuracy"].astype(float).mean()
    right.set(xlabel="s", yticks=[], title=f"Four channels, and the spikes found (mean accuracy {accuracy:.2f})")
    return fig


# A minute at 30 kHz: four channels, four units of about 15 spikes a second, noise of 5 microvolts.
recording, truth = generate_ground_truth_recording(durations=[60.0], sampling_frequency=30000.0, num_channels=4,
                                                   num_units=4, seed=0)
result = spike_sorting.sort(recording, seed=0)
print(result, *result.messages, sep="\n")

comparison = compare_sorter_to_ground_truth(truth, result.sorting, delta_time=0.5, exhaustive_gt=True)
print(comparison.get_performance().astype(float).round(3))

# Quality metrics that need no ground truth.
quality = spike_sorting.unit_quality(result.spike_samples, result.spike_units, result.num_units,
                                     samples=recording.get_num_samples(),
                                     sampling_frequency=result.sampling_frequency,
                                     templates=result.templates, noise=result.noise)
for name in ("num_spikes", "firing_rate", "presence_ratio", "snr", "isi_violations_ratio", "rp_contamination"):
    print(f"{name:22}", np.round(quality[name], 3))
if len(sys.argv) > 1:
    figure().savefig(sys.argv[1], dpi=85)
