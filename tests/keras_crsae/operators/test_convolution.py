"""Operators and step size against their definitions."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_crsae.operators.convolution import adjoint, synthesis
from keras_crsae.operators.lipschitz import largest_eigenvalue
from tests.twin import dictionary_matrix

SHAPES = [((7,), 1, 3, (1,), (40,)), ((7,), 3, 2, (1,), (41,)), ((6,), 2, 3, (4,), (42,)),
          ((5, 4), 1, 3, (1, 1), (12, 13)), ((5, 6), 2, 4, (2, 3), (13, 15))]


@pytest.mark.parametrize("size, channels, filters, strides, space", SHAPES)
def test_adjoint_identity_and_matrix(rng, size, channels, filters, strides, space):
    kernel = rng.standard_normal((*size, channels, filters))
    matrix, positions = dictionary_matrix(kernel, space, strides)
    code, signal = rng.standard_normal((1, *positions, filters)), rng.standard_normal((1, *space, channels))
    made = ops.convert_to_numpy(synthesis(ops.convert_to_tensor(code), ops.convert_to_tensor(kernel), strides))
    back = ops.convert_to_numpy(adjoint(ops.convert_to_tensor(signal), ops.convert_to_tensor(kernel), strides))
    np.testing.assert_allclose(back.ravel(), matrix.T @ signal.ravel(), atol=1e-10)
    seen = signal[(0, *(slice(0, n) for n in made.shape[1:-1]))]
    np.testing.assert_allclose(np.sum(made[0] * seen), np.sum(code * back), rtol=1e-5)


@pytest.mark.parametrize("size, channels, filters, strides", [c[:4] for c in SHAPES])
def test_step_size_bounds_the_spectrum_within_two_percent(rng, size, channels, filters, strides):
    kernel = rng.standard_normal((*size, channels, filters))
    bound = float(largest_eigenvalue(ops.convert_to_tensor(kernel), strides))
    space = tuple((200 if len(size) == 1 else 100) * s + k - s for s, k in zip(strides, size, strict=True))
    positions = tuple((n - k) // s + 1 for n, k, s in zip(space, size, strides, strict=True))
    code, kernel = ops.convert_to_tensor(rng.standard_normal((1, *positions, filters))), ops.convert_to_tensor(kernel)
    for _ in range(300):
        code = adjoint(synthesis(code, kernel, strides), kernel, strides)
        norm = float(np.linalg.norm(ops.convert_to_numpy(code)))
        code = code / norm
    assert norm <= bound * (1 + 1e-9)
    assert norm >= 0.98 * bound


def test_thin_synthesis_has_the_gradients_of_a_transposed_convolution(rng):
    code, kernel = tf.constant(rng.standard_normal((2, 6, 7, 3))), tf.constant(rng.standard_normal((4, 3, 2, 3)))
    made = []
    for function in (synthesis, lambda z, k, s: ops.conv_transpose(z, k, s, padding="valid")):
        with tf.GradientTape() as tape:
            tape.watch([code, kernel])
            value = tf.reduce_sum(function(code, kernel, (1, 1)) ** 3)
        made.append(tape.gradient(value, [code, kernel]))
    for ours, plain in zip(*made, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-10)
