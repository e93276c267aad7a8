"""The dictionary layer: both directions of one kernel, normalised, with the plain and the folded path."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_crsae as kc
from tests.twin import dictionary_matrix

CASES = [dict(filters=3, kernel_size=9), dict(filters=2, kernel_size=6, channels=2, strides=3),
         dict(filters=4, kernel_size=(5, 4), rank=2),
         dict(filters=3, kernel_size=6, rank=2, strides=(2, 3), channels=2)]


def built(**options):
    layer = kc.ConvDictionary(**options)
    layer.build()
    return layer


@pytest.mark.parametrize("block_size", ["auto", 1, 4])
@pytest.mark.parametrize("options", CASES, ids=str)
def test_synthesis_and_adjoint_are_those_of_the_matrix(rng, options, block_size):
    layer = built(**options, block_size=block_size)
    positions = (7, 6)[:layer.rank]
    space = tuple((m - 1) * s + k for m, s, k in zip(positions, layer.strides, layer.kernel_size, strict=True))
    matrix, _ = dictionary_matrix(np.asarray(layer.unit_kernel(), float), space, layer.strides)
    code = rng.standard_normal((2, *positions, layer.filters)).astype("float32")
    signal = rng.standard_normal((2, *space, layer.channels)).astype("float32")
    np.testing.assert_allclose(np.reshape(layer(code), (2, -1)), code.reshape(2, -1) @ matrix.T, atol=1e-5)
    np.testing.assert_allclose(np.reshape(layer.adjoint(signal), (2, -1)), signal.reshape(2, -1) @ matrix, atol=1e-5)
    assert layer.compute_output_shape(code.shape) == signal.shape
    assert layer.code_space(space) == positions and layer.code_space((None,) * layer.rank) == (None,) * layer.rank


def test_filters_have_norm_one_and_gradients_are_tangent(rng):
    layer = built(filters=3, kernel_size=9, channels=2)
    np.testing.assert_allclose(np.sum(np.square(layer.unit_kernel()), axis=(0, 1)), 1, rtol=1e-6)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(rng.standard_normal((1, 8, 3)).astype("float32")) ** 2)
    gradient = tape.gradient(loss, layer.kernel.value)
    assert np.abs(gradient).max() > 1
    np.testing.assert_allclose(np.sum(gradient * layer.kernel.value, axis=(0, 1)), 0, atol=1e-4)


def test_a_config_gives_the_same_layer():
    layer = kc.ConvDictionary(filters=3, kernel_size=(5, 4), rank=2, strides=2, channels=2, block_size=2)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is kc.ConvDictionary and again.get_config() == layer.get_config()


@pytest.mark.parametrize("wrong, words", [
    (dict(filters=0), "`filters` must be a positive int"),
    (dict(rank=1, kernel_size=(3, 3)), r"`kernel_size`.*rank=1.*\(3, 3\)"),
    (dict(kernel_size=(3, 3, 3)), r"`rank` must be 1.*\(3, 3, 3\)"),
    (dict(rank=3), "`rank` must be 1"), (dict(strides=10), "no filter reaches"), (dict(block_size=0), "block_size")])
def test_bad_sizes_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        kc.ConvDictionary(**{"filters": 3, "kernel_size": 9, **wrong})


@pytest.mark.parametrize("options", CASES, ids=str)
def test_on_a_support_the_eigenvalue_is_bounded_more_tightly(rng, options):
    layer = built(**options)
    positions = (40, 11)[:layer.rank]
    space = tuple((m - 1) * s + k for m, s, k in zip(positions, layer.strides, layer.kernel_size, strict=True))
    matrix, _ = dictionary_matrix(np.asarray(layer.unit_kernel(), float), space, layer.strides)
    support = (rng.random((5, *positions, layer.filters)) < 0.02).astype("float32")
    support[0], support[1] = 1.0, 0.0
    bound, whole = np.asarray(layer.restricted_eigenvalue(support)), float(layer.largest_eigenvalue())
    for seen, found in zip(support, bound, strict=True):
        columns = matrix[:, seen.ravel() > 0]
        true = np.linalg.norm(columns, 2) ** 2 if columns.size else 0.0
        assert true * (1 - 1e-5) <= found <= whole * (1 + 1e-6)
    assert bound[1] == pytest.approx(whole) and bound[2:].mean() < 0.8 * whole
    one = np.zeros((1, *positions, layer.filters), "float32")
    one[(0,) * one.ndim] = 1
    assert float(layer.restricted_eigenvalue(one)[0]) == pytest.approx(1, rel=1e-5)
