"""The largest eigenvalue of D^T D against power iteration and an explicit matrix."""

import numpy as np
import pytest
from keras import ops

from keras_crsae.operators.convolution import adjoint, synthesis
from keras_crsae.operators.lipschitz import largest_eigenvalue, matrix_eigenvalue
from tests.twin import dictionary_matrix

SHAPES = [((7,), 1, 3, (1,)), ((7,), 3, 2, (1,)), ((6,), 2, 3, (4,)), ((5, 4), 1, 3, (1, 1)), ((5, 6), 2, 4, (2, 3))]


@pytest.mark.parametrize("size, channels, filters, strides", SHAPES)
def test_step_size_bounds_the_spectrum_within_two_percent(rng, size, channels, filters, strides):
    kernel = rng.standard_normal((*size, channels, filters))
    bound = float(largest_eigenvalue(ops.convert_to_tensor(kernel), strides))
    space = tuple((200 if len(size) == 1 else 60) * s + k - s for s, k in zip(strides, size, strict=True))
    positions = tuple((n - k) // s + 1 for n, k, s in zip(space, size, strides, strict=True))
    code, kernel = ops.convert_to_tensor(rng.standard_normal((1, *positions, filters))), ops.convert_to_tensor(kernel)
    norm = 0.0
    for _ in range(200):
        code = adjoint(synthesis(code, kernel, strides), kernel, strides)
        norm = float(np.linalg.norm(ops.convert_to_numpy(code)))
        code = code / norm
    assert norm <= bound * (1 + 1e-9)
    assert norm >= 0.98 * bound


@pytest.mark.parametrize("size, channels, filters, strides", SHAPES)
def test_no_signal_exceeds_it(rng, size, channels, filters, strides):
    kernel = rng.standard_normal((*size, channels, filters))
    space = tuple(4 * s + k for s, k in zip(strides, size, strict=True))
    matrix, _ = dictionary_matrix(kernel, space, strides)
    bound = float(largest_eigenvalue(ops.convert_to_tensor(kernel), strides))
    assert np.linalg.norm(matrix, 2) ** 2 <= bound


def test_it_grows_with_the_square_of_the_filters(rng):
    kernel = ops.convert_to_tensor(rng.standard_normal((7, 2, 3)))
    one, three = (float(largest_eigenvalue(factor * kernel, (1,))) for factor in (1.0, 3.0))
    np.testing.assert_allclose(three, 9 * one, rtol=1e-9)


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (1, 4)])
def test_of_a_matrix_it_bounds_the_largest_eigenvalue_from_above(shape, rng):
    matrix = rng.standard_normal(shape).astype("float32")
    true = np.linalg.norm(matrix.astype(float), 2)**2
    for found in (matrix_eigenvalue(matrix), largest_eigenvalue(matrix[None], (1,))):
        assert true <= float(found) <= 1.02 * true
