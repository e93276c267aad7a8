"""Soft thresholding and its gradient are those of the textbook formula."""

import numpy as np
import pytest
import tensorflow as tf

from keras_crsae.operators.shrinkage import soft_threshold


@pytest.mark.parametrize("shape", [(), (3,), (2, 1, 1, 3), (2, 4, 5, 3)])
def test_values_and_gradients_are_those_of_two_relus(rng, shape):
    x, weight = (tf.constant(rng.standard_normal((2, 4, 5, 3)), tf.float32) for _ in range(2))
    threshold = tf.constant(np.abs(rng.standard_normal(shape)), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, threshold])
        code = soft_threshold(x, threshold)
        expected = tf.nn.relu(x - threshold) - tf.nn.relu(-x - threshold)
        ours, theirs = tf.reduce_sum(weight * code), tf.reduce_sum(weight * expected)
    np.testing.assert_array_equal(code, expected)
    np.testing.assert_array_equal(tape.gradient(ours, x), tape.gradient(theirs, x))
    np.testing.assert_allclose(tape.gradient(ours, threshold), tape.gradient(theirs, threshold), atol=1e-5)


def test_an_infinite_threshold_leaves_nothing():
    assert not np.any(soft_threshold(tf.constant([-1e30, 2.0]), tf.constant([np.inf, np.inf])))
