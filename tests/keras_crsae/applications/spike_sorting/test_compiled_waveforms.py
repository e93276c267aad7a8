"""Compiled sums and differences of waveforms equal NumPy's."""

import numpy as np
import pytest
from crsae_onnx.core.compiled import can_compile

from keras_crsae.applications.spike_sorting import matching
from keras_crsae.applications.spike_sorting.matching import UnitSpikes, mean_waveforms, residual

SIZE = 12

if not can_compile():
    pytest.skip("numba is not installed", allow_module_level=True)


@pytest.fixture
def overlapping(rng):
    """(signal, spikes) of three units on a wide probe, each on some channels; the last unit has no spikes."""
    templates = np.zeros((3, SIZE, 12))
    for unit in range(3):
        templates[unit, :, 3 * unit:3 * unit + 4] = rng.normal(size=(SIZE, 4))
    start = np.sort(rng.integers(0, 300 - SIZE, 40))
    spikes = UnitSpikes(templates, start, rng.integers(0, 2, 40), rng.uniform(3, 9, 40))
    return rng.normal(size=(300, 12)).astype(np.float32), spikes


def test_residual_and_means_equal_those_of_numpy(overlapping, monkeypatch):
    signal, spikes = overlapping
    rest = residual(signal, spikes)
    means = mean_waveforms(rest, spikes)
    monkeypatch.setattr(matching, "can_compile", lambda: False)
    np.testing.assert_array_equal(residual(signal, spikes), rest)
    np.testing.assert_allclose(mean_waveforms(rest, spikes), means, atol=1e-6)
