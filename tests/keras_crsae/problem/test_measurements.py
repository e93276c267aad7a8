"""Measurements are linear operators with their adjoint and norm; a mask is what it was before."""

import numpy as np
import pytest
import tensorflow as tf

from keras_crsae.problem import Identity, Mask, Measurement, measurements
from keras_crsae.problem.measurements import mask_or_identity, observation_mask

NAMES = {"identity": lambda rng: Identity(), "mask": lambda rng: Mask((rng.random((2, 9, 1)) < 0.6).astype(float))}


def test_every_registered_measurement_is_tested_here():
    ours = {n for n in measurements.names()
            if measurements.registry.class_of(n).__module__.startswith("keras_crsae")}
    assert ours == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_adjoint_norm_and_projection(name, rng):
    measurement = NAMES[name](rng)
    x, y = rng.standard_normal((2, 2, 9, 1))
    forward, adjoint = np.asarray(measurement.forward(x)), np.asarray(measurement.adjoint(y))
    np.testing.assert_allclose(np.sum(forward * y), np.sum(x * adjoint))
    assert np.linalg.norm(forward) <= measurement.norm * np.linalg.norm(x) * (1 + 1e-12)
    assert measurement.projection == np.allclose(measurement.adjoint(forward), forward)
    np.testing.assert_allclose(measurement.column_norms(tf.constant([[[3.0, 0.0]], [[4.0, 1.0]]])), [5.0, 1.0])


@pytest.mark.parametrize("name", NAMES)
def test_configs_give_the_same_measurement(name, rng):
    measurement = NAMES[name](rng)
    loaded = type(measurement).from_config(measurement.get_config())
    x = rng.standard_normal((2, 9, 1))
    np.testing.assert_array_equal(loaded.forward(x), measurement.forward(x))


def test_a_mask_counts_its_samples_and_the_identity_all():
    observed = tf.constant([[[1.0], [0.0]]])
    assert isinstance(mask_or_identity(None), Identity) and mask_or_identity(None).observed is None
    np.testing.assert_array_equal(mask_or_identity(observed).observed, observed)
    assert Mask(observed).forward(tf.ones((1, 2, 1), "float64")).dtype == "float64"  # the certificate's precision


@pytest.mark.parametrize("dtype", ["bool", "int32", "float32"])
def test_masks_are_broadcast_to_the_signal(dtype, rng):
    signal = tf.zeros((2, 5, 3))
    time = (rng.random((2, 5)) < 0.5).astype(dtype)
    mask = observation_mask(time, signal)
    assert mask.dtype == signal.dtype and mask.shape == signal.shape
    np.testing.assert_array_equal(mask, np.repeat(time[..., None], 3, axis=-1).astype("float32"))
    assert observation_mask(None, signal) is None


def test_a_base_class_has_no_operator():
    for method in (Measurement().forward, Measurement().adjoint):
        with pytest.raises(NotImplementedError):
            method(np.ones(3))
