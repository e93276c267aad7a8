"""Kernels to start from."""

import numpy as np

from keras_crsae.applications.neural_events.first_kernels import first_kernels, onset_kernels, spike_kernels
from keras_crsae.applications.neural_events.onsets import onset_support
from keras_crsae.applications.neural_events.spike_counts import bin_spikes
from keras_crsae.data import simulate_neural_events
from keras_crsae.metrics import dictionary_error


def binned(data):
    return data.kernels.reshape(25, 5, -1).mean(axis=1)[:, None, :]


def test_windows_around_peaks_resemble_the_kernel():
    data = simulate_neural_events(trials=30, events_per_trial=3, gap_ms=(300, 600), seed=0)
    kernels = first_kernels(bin_spikes(data.spikes, 5).counts, 25, 1, 2.0)
    assert dictionary_error(binned(data), kernels)[0] < 0.55
    np.testing.assert_allclose(np.linalg.norm(kernels, axis=(0, 1)), 1, rtol=1e-5)


def test_averages_at_known_onsets_resemble_the_kernels():
    data = simulate_neural_events(trials=40, kernels=2, events_per_trial=3, gap_ms=(200, 600), seed=0)
    counts = bin_spikes(data.spikes, 5)
    onsets = [[data.onsets(t, 0, k) for t in range(40)] for k in range(2)]
    kernels = onset_kernels(counts.counts, onset_support(onsets, counts, 2, 25), 25, 1.0)
    assert dictionary_error(binned(data), kernels).max() < 0.6


def test_silence_gives_kernels_all_the_same():
    kernels = first_kernels(np.zeros((3, 60, 2)), 12, 3, 2.0)
    assert kernels.shape == (12, 2, 3) and np.isfinite(kernels).all()
    np.testing.assert_allclose(np.linalg.norm(kernels, axis=(0, 1)), 1, rtol=1e-5)


def test_a_spike_stands_in_the_middle():
    kernels = spike_kernels(21, 1, 2)
    assert np.abs(kernels[:, 0]).argmax(axis=0).tolist() == [10, 10] and (kernels[:, 0, 0] != kernels[:, 0, 1]).any()
