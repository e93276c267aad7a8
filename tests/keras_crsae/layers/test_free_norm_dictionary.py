"""Filters with norms of their own, or inside the unit ball."""

import keras
import numpy as np

import keras_crsae as kc


def test_the_kernel_is_used_as_it_is(rng):
    layer = kc.FreeNormDictionary(filters=2, kernel_size=5)
    layer.build()
    kernel = rng.standard_normal((5, 1, 2)).astype("float32")
    layer.kernel.assign(kernel)
    np.testing.assert_array_equal(layer.unit_kernel(), kernel)
    np.testing.assert_allclose(np.asarray(layer(np.ones((1, 1, 1), "float32") * [1.0, 0.0]))[0, :, 0], kernel[:, 0, 0],
                               rtol=1e-6)
    assert layer.kernel.constraint is None and not layer.unit_norm and kc.ConvDictionary.unit_norm


def test_the_ball_bounds_norms_from_above_only():
    layer = kc.FreeNormDictionary(filters=2, kernel_size=4, unit_ball=True)
    layer.build()
    kernel = np.stack([np.full((4, 1), 2.0), np.full((4, 1), 0.1)], axis=-1).astype("float32")
    np.testing.assert_allclose(np.linalg.norm(layer.kernel.constraint(kernel), axis=(0, 1)), [1.0, 0.2], rtol=1e-6)


def test_a_config_gives_the_same_layer():
    layer = kc.FreeNormDictionary(filters=2, kernel_size=5, strides=2, unit_ball=True)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is kc.FreeNormDictionary and again.get_config() == layer.get_config() and again.unit_ball
