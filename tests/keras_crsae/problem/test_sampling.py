"""Subsampling and blurs against NumPy and SciPy."""

import numpy as np
import pytest
import scipy.signal
from keras import ops

from keras_crsae.problem import Blur, Subsample
from tests.twin import dictionary_matrix


@pytest.mark.parametrize("shape, factor, offset", [((2, 12, 3), 3, 1), ((2, 6, 9, 2), (2, 3), (1, 0)),
                                                   ((2, 6, 8, 1), 2, 0)])
def test_subsampling_keeps_every_so_manieth_sample(shape, factor, offset, rng):
    x = rng.standard_normal(shape).astype("float32")
    measurement = Subsample(factor, offset)
    rank = len(shape) - 2
    sizes = zip(np.broadcast_to(factor, rank), np.broadcast_to(offset, rank), strict=True)
    kept = [slice(o, None, f) for f, o in sizes]
    y = measurement.forward(x)
    np.testing.assert_array_equal(y, x[(slice(None), *kept)])
    signal, mask = measurement.zero_filled(y, None)
    np.testing.assert_array_equal(signal, measurement.adjoint(y))
    np.testing.assert_array_equal(np.asarray(mask) * x, signal)
    assert signal.shape == shape and measurement.signal_space(y.shape[1:-1]) == shape[1:-1]


@pytest.mark.parametrize("factor, offset", [(0, 0), (2, 2), (2, -1), (1.5, 0), ((2, 2), (0, 1, 0))])
def test_factors_and_offsets_out_of_range_are_refused(factor, offset):
    with pytest.raises(ValueError):
        Subsample(factor, offset)


def test_factors_must_fit_the_models_axes():
    with pytest.raises(ValueError, match="2 factors, and the model has 1 axes"):
        Subsample((2, 2)).check(1)


@pytest.mark.parametrize("boundary", ["zero", "valid"])
@pytest.mark.parametrize("size", [(4,), (5,), (3, 4)])
def test_blurs_are_scipys_convolutions(boundary, size, rng):
    kernel = rng.standard_normal(size).astype("float32")
    x = rng.standard_normal((2, *(9,) * len(size), 2)).astype("float32")
    mode = "same" if boundary == "zero" else "valid"
    expected = np.stack([np.stack([scipy.signal.convolve(x[b, ..., c], kernel, mode) for c in range(2)], -1)
                         for b in range(2)])
    measurement = Blur(kernel, boundary)
    np.testing.assert_allclose(measurement.forward(x), expected, atol=1e-5)
    assert measurement.signal_space(expected.shape[1:-1]) == x.shape[1:-1]


def matrix_of(measurement, samples):
    return np.asarray(measurement.forward(ops.convert_to_tensor(np.eye(samples, dtype="float32")[..., None])))[..., 0].T


@pytest.mark.parametrize("measurement", [Subsample(2), Blur([0.2, 0.5, 0.3]), Blur([1.0, -1.0], "valid")],
                         ids=["subsample", "blur", "valid"])
def test_eigenvalues_norms_and_columns_are_bounds(measurement, rng):
    kernel = rng.standard_normal((5, 1, 3)).astype("float32")
    kernel /= np.sqrt(np.square(kernel).sum(axis=(0, 1)))
    tensor = ops.convert_to_tensor(kernel)
    dictionary = dictionary_matrix(kernel.astype("float64"), (40,), (1,))[0]
    phi = matrix_of(measurement, 40)
    whole = np.linalg.norm(dictionary, 2) ** 2
    found = float(measurement.largest_eigenvalue(tensor, (1,), lambda: 1.05 * whole))
    assert np.linalg.norm(phi @ dictionary, 2) ** 2 <= found <= 1.06 * measurement.norm**2 * whole
    assert np.linalg.norm(phi, 2) <= measurement.norm * (1 + 1e-6)
    columns = np.linalg.norm(phi @ dictionary, axis=0).reshape(-1, 3).max(axis=0)
    np.testing.assert_allclose(measurement.column_norms(tensor), columns, rtol=1e-4)


@pytest.mark.parametrize("kernel, boundary", [(np.ones((2, 2, 2)), "zero"), ([0.0, 0.0], "zero"), ([1, np.nan], "zero"),
                                              ([1.0], "mirror"), ([], "zero"), (["a"], "zero")])
def test_what_is_no_blur_is_refused(kernel, boundary):
    with pytest.raises(ValueError):
        Blur(kernel, boundary)


def test_a_blur_must_have_the_models_axes():
    with pytest.raises(ValueError, match="must have 2 axes"):
        Blur([1.0, 2.0]).check(2)
