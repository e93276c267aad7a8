"""Extrema above the noise, and clusters of their waveforms."""

import numpy as np

from keras_crsae.applications.spike_sorting.detection import cluster_waveforms, detect_extrema
from keras_crsae.applications.spike_sorting.parameters import SortingParameters


def test_the_largest_extremum_within_the_distance_is_kept():
    signal = np.zeros((400, 2))
    signal[[100, 104, 150], 0], signal[200, 1], signal[300, 0] = (-6.0, 7.0, -3.9), -9.0, 8.0
    start, channel = detect_extrema(signal, np.array([1.0, 2.0]), kernel_size=20, before=5, distance=8)
    assert start.tolist() == [99, 195, 295] and channel.tolist() == [0, 1, 0]  # -3.9 is below 4; -9 at noise 2 is not


def test_dead_channels_and_borders_have_no_detections():
    signal = np.zeros((400, 2))
    signal[[10, 200, 395], 0], signal[100, 1] = 50.0, 50.0
    start, _ = detect_extrema(signal, np.array([1.0, 0.0]), kernel_size=20, before=5, distance=8)
    assert start.tolist() == [195]


def test_clusters_are_the_medians_of_their_waveforms():
    rng = np.random.default_rng(0)
    shapes = np.stack([np.hanning(20), -np.hanning(20)])[:, :, None] * 10
    start, kind = 50 + 40 * np.arange(80), np.arange(80) % 2
    signal = rng.normal(size=(3400, 1))
    for t, k in zip(start, kind, strict=True):
        signal[t:t + 20] += shapes[k]
    clusters = cluster_waveforms(signal, start, np.zeros(80, int), 20, 2, seed=0)
    order = np.argsort(-clusters[:, 10, 0])
    np.testing.assert_allclose(clusters[order], shapes, atol=1.0)
    rare = SortingParameters(minimum_spikes=100)
    assert cluster_waveforms(signal, start, np.zeros(80, int), 20, 2, 0, rare).shape == (0, 20, 1)
