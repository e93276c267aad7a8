"""Synthesis and adjoint against an explicit matrix, code and signal lengths against each other."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_crsae.operators.convolution import adjoint, code_length, signal_length, synthesis
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


def test_lengths_of_code_and_signal_are_inverse():
    for kernel in range(1, 8):
        for stride in range(1, kernel + 1):
            for positions in range(1, 9):
                samples = signal_length(positions, kernel, stride)
                assert code_length(samples, kernel, stride) == positions
                assert code_length(samples + 1, kernel, stride) == positions + 1  # the signal is padded, never cut
