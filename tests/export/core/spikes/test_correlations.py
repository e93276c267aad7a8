"""Correlations against direct sums; local maxima of codes."""

import numpy as np
import pytest
from crsae_onnx.core.spikes.correlations import Correlator, correlate, gram, pooled_peaks


@pytest.fixture(scope="module")
def kernel():
    time = np.arange(24)[:, None, None]
    shapes = [np.exp(-0.5 * ((time - 8) / 1.5) ** 2) * [[[1.0], [0.4]]],
              np.exp(-0.5 * ((time - 8) / 3.0) ** 2) * [[[0.3], [1.0]]] * np.cos(time / 3.0)]
    kernel = np.concatenate(shapes, axis=2)
    return (kernel / np.sqrt(np.square(kernel).sum((0, 1)))).astype(np.float32)


def place(kernel, spikes, samples, rng=None, noise=1.0):
    signal = np.zeros((samples, kernel.shape[1]))
    if rng is not None:
        signal += noise * rng.normal(size=signal.shape)
    for at, unit, height in spikes:
        signal[at:at + len(kernel)] += height * kernel[:, :, unit]
    return signal.astype(np.float32)


def test_correlations_are_sums_of_products(kernel, rng):
    signal = rng.normal(size=(60, 2)).astype(np.float32)
    direct = [[np.sum(signal[t:t + 24] * kernel[:, :, u], dtype=np.float64) for t in range(37)] for u in range(2)]
    np.testing.assert_allclose(correlate(signal, kernel), direct, atol=1e-5)


def test_gram_is_what_a_spike_adds_to_correlations(kernel):
    signal = place(kernel, [(40, 1, 1.0)], 120)
    seen = correlate(signal, kernel)[:, 40 - 23:40 + 24]
    np.testing.assert_allclose(gram(kernel)[1], seen, atol=1e-6)


def test_candidates_pool_neighbouring_code():
    code = np.zeros((40, 2), np.float32)
    code[10:12, 0] = 2.0, 3.0
    code[30, 1] = 1.0
    code[39, 0] = 4.0
    at, unit, height = pooled_peaks(code, np.array([0.5, 1.5]))
    assert at.tolist() == [11, 39] and unit.tolist() == [0, 0] and height.tolist() == [5.0, 4.0]


def test_a_flat_top_is_one_peak_in_its_middle_and_a_silent_code_has_none():
    code = np.zeros((20, 1), np.float32)
    code[10, 0] = 3.0  # five sums of one value
    assert pooled_peaks(code, np.array([1.0]))[0].tolist() == [10]
    assert [v.size for v in pooled_peaks(np.zeros((20, 1)), np.array([1.0]))] == [0, 0, 0]


@pytest.mark.parametrize("fourier", [False, True])
def test_long_signals_are_correlated_in_blocks(kernel, rng, fourier):
    signal = rng.normal(size=(70_000, 2)).astype(np.float32)
    out = Correlator(kernel, fourier)(signal)
    for t in (0, 1000, 32_111, 69_976):
        np.testing.assert_allclose(out[:, t], np.tensordot(kernel, signal[t:t + 24], ([0, 1], [0, 1])), atol=1e-4)


@pytest.mark.parametrize("samples", [24, 300, 5000])
def test_products_and_transforms_give_the_same_on_the_channels_that_filters_reach(rng, samples):
    wide = rng.normal(size=(24, 9, 4)).astype(np.float32)
    wide[:, :6, 0], wide[:, 2:, 1:3] = 0, 0
    signal = rng.normal(size=(samples, 9)).astype(np.float32)
    np.testing.assert_allclose(Correlator(wide, True)(signal), Correlator(wide, False)(signal), atol=2e-4)
