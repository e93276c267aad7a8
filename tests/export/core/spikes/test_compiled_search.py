"""The compiled search finds the spikes of the one in NumPy."""

import numpy as np
import pytest
from crsae_onnx.core.compiled import can_compile
from crsae_onnx.core.spikes.template_matching import TemplateMatcher

if not can_compile():
    pytest.skip("numba is not installed", allow_module_level=True)

UNITS, SIZE = 5, 30


@pytest.fixture(scope="module")
def kernel():
    """Five units on six channels; the last two are similar, the first reaches two channels alone."""
    rng = np.random.default_rng(1)
    kernel = rng.normal(size=(SIZE, 6, UNITS)).cumsum(axis=0) * np.hanning(SIZE)[:, None, None]
    kernel[..., 4] = 0.9 * kernel[..., 3] + 0.3 * kernel[..., 4]
    kernel[:, 2:, 0] = kernel[:, :4, 1] = kernel[:, :2, 2] = 0
    return (kernel / np.sqrt(np.square(kernel).sum((0, 1)))).astype(np.float32)


def recording(kernel, rng, samples=4000, spikes=120):
    signal = rng.normal(size=(samples, 6)).astype(np.float32)
    for start, unit in zip(rng.integers(0, samples - SIZE, spikes), rng.integers(0, UNITS, spikes), strict=True):
        signal[start:start + SIZE] += (8 + unit) * rng.normal(1, 0.1) * kernel[:, :, unit]
    return signal


@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.parametrize("refractory", [1, 10])
def test_the_compiled_search_finds_the_same_spikes(kernel, rng, thorough, refractory):
    given = kernel, 8.0 + np.arange(UNITS), np.full(UNITS, 0.1), np.full(UNITS, 6.0), refractory
    signal = recording(kernel, rng)
    code = np.maximum(rng.normal(-12, 6, size=(len(signal) - SIZE + 1, UNITS)), 0)  # a bad start
    for start in (None, code):
        one, two = (TemplateMatcher(*given, compiled=compiled).find(signal, start, thorough)
                    for compiled in (True, False))
        np.testing.assert_array_equal(one.start_sample, two.start_sample)
        np.testing.assert_array_equal(one.unit_id, two.unit_id)
        np.testing.assert_allclose(one.code_amplitude, two.code_amplitude, rtol=1e-4)


def test_a_signal_as_short_as_a_filter_is_searched(kernel):
    given = kernel, np.full(UNITS, 9.0), np.full(UNITS, 0.1), np.full(UNITS, 5.0), 10
    found = TemplateMatcher(*given, compiled=True).find(9 * kernel[:, :, 2])
    assert found.start_sample.tolist() == [0] and found.unit_id.tolist() == [2]
