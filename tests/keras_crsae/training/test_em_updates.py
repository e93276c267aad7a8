"""Statistics of a batch for lambda and sigma are what their definitions say."""

import keras
import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.training.em_updates import code_norms, half_lambda_max, noise_variance, refit_on_support
from tests.twin import dictionary_matrix


@pytest.mark.parametrize("weight", [None, [1.0, 0.0, 3.0]])
def test_norms_are_weighted_means_of_absolute_sums_and_positions_count(rng, weight):
    code = rng.standard_normal((3, 7, 2)).astype("float32")
    norms, positions = code_norms(keras.ops.convert_to_tensor(code),
                                  None if weight is None else keras.ops.convert_to_tensor(weight))
    np.testing.assert_allclose(norms, np.average(np.abs(code).sum(axis=1), axis=0, weights=weight), rtol=1e-5)
    assert float(positions) == 7


def test_positions_of_images_are_those_of_both_axes(rng):
    _, positions = code_norms(keras.ops.convert_to_tensor(rng.standard_normal((2, 4, 5, 3)).astype("float32")))
    assert float(positions) == 20


@pytest.mark.parametrize("masked", [False, True])
def test_the_ceiling_is_half_of_the_rate_whose_code_is_zero(rng, masked):
    kernel = rng.standard_normal((6, 1, 2)).astype("float32")
    signal = rng.standard_normal((2, 40, 1)).astype("float32")
    mask = (rng.random(signal.shape) > 0.3).astype("float32") if masked else None
    seen = signal if mask is None else mask * signal
    found = half_lambda_max(keras.ops.convert_to_tensor(signal), of_kernel(kernel), 0.5,
                            None if mask is None else keras.ops.convert_to_tensor(mask))
    np.testing.assert_allclose(found, kc.lambda_max(seen, kernel) / (2 * 0.5**2), rtol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_the_ceiling_of_counts_is_in_units_of_each_signals_size(rng, masked):
    kernel, trials = rng.standard_normal((6, 1, 2)).astype("float32"), np.array([5, 20])
    counts = rng.binomial(5, 0.4, (2, 40, 1)).astype("float32")
    mask = (rng.random(counts.shape) > 0.3).astype("float32") if masked else None
    found = half_lambda_max(counts / trials[:, None, None].astype("float32"), of_kernel(kernel), 0.5, mask, "soft",
                            "binomial", (1 / trials).astype("float32"), np.float32([-0.4]))
    size = trials[:, None, None] * (1 if mask is None else mask)
    matrix, _ = dictionary_matrix(kernel / np.linalg.norm(kernel, axis=0), (40,), (1,))
    left = np.where(size > 0, counts - size / (1 + np.exp(0.4)), 0).reshape(2, -1) @ matrix
    np.testing.assert_allclose(found, 0.5 * np.abs(left).max(), rtol=1e-5)


def of_kernel(kernel, dtype="float32"):
    dictionary = kc.ConvDictionary(kernel.shape[-1], kernel.shape[0], channels=kernel.shape[1], dtype=dtype)
    dictionary.build()
    dictionary.kernel.assign(kernel)
    return dictionary


def test_refit_on_the_support_is_least_squares(rng):
    kernel = rng.standard_normal((6, 1, 2))
    kernel /= np.linalg.norm(kernel, axis=0)
    matrix, _ = dictionary_matrix(kernel, (40,), (1,))
    code = (rng.random((2, 35, 2)) < 0.1) * rng.random((2, 35, 2))
    mask = (rng.random((2, 40, 1)) > 0.1).astype(float)
    signal = rng.standard_normal((2, 40, 1))
    dictionary = of_kernel(kernel, "float64")
    given = map(keras.ops.convert_to_tensor, (signal, code))
    refitted, residual, observed, support = refit_on_support(*given, dictionary, keras.ops.convert_to_tensor(mask),
                                                             steps=60)
    total = 0.0
    for b in range(2):
        chosen = code[b].ravel() != 0
        seen = mask[b].ravel()[:, None] * matrix[:, chosen]
        best, *_ = np.linalg.lstsq(seen, mask[b].ravel() * signal[b].ravel(), rcond=None)
        np.testing.assert_allclose(np.asarray(refitted)[b].ravel()[chosen], best, atol=1e-6)
        left = mask[b].ravel() * signal[b].ravel() - seen @ best
        np.testing.assert_allclose(np.asarray(residual)[b].ravel(), left, atol=1e-6)
        total += np.sum(left**2)
    assert float(observed) == mask.sum() and float(support) == np.count_nonzero(code)
    made = noise_variance(*map(keras.ops.convert_to_tensor, (signal, code)), dictionary, mask)
    np.testing.assert_allclose(made, total / (mask.sum() - np.count_nonzero(code)), rtol=1e-3)


def test_refit_of_nearly_dependent_positions_never_raises_the_residual(rng):
    """Once it ran away in float32, and sigma jumped from 1 to 260 within a batch."""
    kernel = np.hanning(47)[1:-1, None, None].astype("float32")
    kernel /= np.linalg.norm(kernel)
    code = np.zeros((4, 156, 1), "float32")
    code[:, 40:48] = code[:, 90:93] = 3.0
    signal = rng.standard_normal((4, 200, 1)).astype("float32")
    given = *map(keras.ops.convert_to_tensor, (signal, code)), of_kernel(kernel)
    before = refit_on_support(*given, steps=0)[1]
    norms = [np.sum(np.square(before), axis=(1, 2))]
    for steps in (5, 20, 200):
        residual = refit_on_support(*given, steps=steps)[1]
        norms.append(np.sum(np.square(residual), axis=(1, 2)))
        assert (norms[-1] <= norms[-2] * (1 + 1e-4)).all()
    assert (norms[-1] < 0.5 * norms[0]).all()
