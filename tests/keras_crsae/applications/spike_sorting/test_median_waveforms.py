"""Medians of waveforms are those of the spikes one by one, however they are read."""

import numpy as np
from crsae_onnx.core.spikes.detector import Spikes
from crsae_onnx.core.spikes.whitening import Whitening

from keras_crsae.applications.spike_sorting.median_waveforms import median_waveforms


def test_medians_are_those_of_waveforms_cut_one_by_one(rng):
    traces = rng.normal(size=(90_000, 2))
    plain = Whitening(np.ones((1, 2)), np.eye(2), np.array([1.0, -1.0]))
    # Close together, far apart, and too near to the ends.
    sample = np.sort(np.concatenate([[2, 89_995], np.arange(100, 3000, 37), [40_000, 88_000]]))
    unit = np.arange(len(sample)) % 2
    found = median_waveforms(traces, plain, Spikes(sample, unit, np.zeros(len(sample), np.float32)), 3, 5, 20, 500)
    for u in range(2):
        inside = sample[(unit == u) & (sample >= 5) & (sample + 15 <= len(traces))]
        waves = np.stack([traces[t - 5:t + 15] - [1.0, -1.0] for t in inside])
        np.testing.assert_allclose(found[u], np.median(waves, axis=0), atol=1e-5)
    assert found.shape == (3, 20, 2) and not found[2].any()
