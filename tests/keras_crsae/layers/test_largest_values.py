"""The largest values of each filter and signal are kept, and no other."""

import numpy as np
import pytest
import tensorflow as tf

from keras_crsae.layers.largest_values import keep_largest


@pytest.mark.parametrize("shape, count", [((2, 30, 3), 4), ((2, 5, 6, 2), 3), ((1, 4, 1), 9)])
def test_they_are_those_of_a_sort(shape, count, rng):
    code = rng.standard_normal(shape)
    flat = code.reshape(shape[0], -1, shape[-1]).copy()
    smaller = np.argsort(-np.abs(flat), axis=1)[:, count:]
    np.put_along_axis(flat, smaller, 0, axis=1)
    found = np.asarray(keep_largest(code, count))
    np.testing.assert_array_equal(found.reshape(flat.shape), flat)
    graph = tf.function(lambda z: keep_largest(z, count), input_signature=[tf.TensorSpec((None,) * len(shape))])
    np.testing.assert_allclose(graph(tf.constant(code, tf.float32)), found, rtol=1e-6)


def test_groups_are_kept_whole(rng):
    code = rng.standard_normal((2, 3, 20, 2))
    found = np.asarray(keep_largest(code, 4, group_axes=(1,)))
    kept = found.any(axis=1)
    assert (kept.sum(axis=1) == 4).all()
    np.testing.assert_array_equal(found, code * kept[:, None])
    norms = np.linalg.norm(code, axis=1)
    assert norms[kept].min() > np.sort(norms, axis=1)[:, -5].min()


def test_a_code_with_fewer_values_stays_and_gradients_reach_what_is_kept():
    code = tf.Variable(np.array([0.0, 2.0, 0.0, -1.0, 0.5]).reshape(1, 5, 1))
    np.testing.assert_array_equal(keep_largest(code, 4), code)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(keep_largest(code, 2) ** 2)
    assert tape.gradient(total, code).numpy().ravel().tolist() == [0.0, 4.0, 0.0, -2.0, 0.0]
