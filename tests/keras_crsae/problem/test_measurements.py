"""Measurements are linear operators with their adjoint and norm; a mask is what it was before."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_crsae.problem import Blur, Identity, Mask, Matrix, Measurement, OwnMeasurement, Subsample, measurements
from keras_crsae.problem.measurements import mask_or_identity, observation_mask, with_own_observed


class Twice:
    """An object of a user's own."""

    norm = 2.0

    def forward(self, x):
        return 2.0 * x

    def adjoint(self, y):
        return 2.0 * y


#: Name -> measurements of signals (2, 9, 1).
NAMES = {"identity": lambda rng: Identity(), "mask": lambda rng: Mask((rng.random((2, 9, 1)) < 0.6).astype("float32")),
         "matrix": lambda rng: Matrix(rng.standard_normal((5, 9))), "subsample": lambda rng: Subsample(3, 1),
         "blur": lambda rng: Blur(rng.standard_normal(4)), "own": lambda rng: OwnMeasurement(Twice())}


def test_every_registered_measurement_is_tested_here():
    ours = {n for n in measurements.names()
            if measurements.registry.class_of(n).__module__.startswith("keras_crsae")}
    assert ours == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 2**16))
@settings(max_examples=5, deadline=None)
def test_adjoint_norm_and_sizes(name, seed):
    rng = np.random.default_rng(seed)
    measurement = NAMES[name](rng)
    x = rng.standard_normal((2, 9, 1)).astype("float32")
    forward = np.asarray(measurement.forward(x))
    y = rng.standard_normal(forward.shape).astype("float32")
    adjoint = np.asarray(measurement.adjoint(y))
    scale = np.linalg.norm(forward) * np.linalg.norm(y) + 1e-30
    assert abs(np.sum(forward * y) - np.sum(x * adjoint)) <= 1e-5 * scale
    assert np.linalg.norm(forward) <= measurement.norm * np.linalg.norm(x) * (1 + 1e-5)
    assert measurement.data_space((9,)) == forward.shape[1:-1] and measurement.signal_space(forward.shape[1:-1]) == (9,)
    if measurement.projection:
        np.testing.assert_array_equal(measurement.adjoint(forward), forward)


def test_a_measurement_without_say_takes_the_norms_of_the_filters():
    np.testing.assert_allclose(Identity().column_norms(tf.constant([[[3.0, 0.0]], [[4.0, 1.0]]])), [5.0, 1.0])


@pytest.mark.parametrize("name", [n for n in NAMES if n != "own"])
def test_configs_give_the_same_measurement(name, rng):
    measurement = NAMES[name](rng)
    loaded = type(measurement).from_config(measurement.get_config())
    x = rng.standard_normal((2, 9, 1)).astype("float32")
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


def test_a_mask_of_all_signals_and_that_of_a_call_become_one():
    own, signal = Mask(np.array([1, 0, 1, 1])), np.zeros((2, 4, 1), "float32")
    given = np.ones((2, 4, 1), "float32")
    given[1, 0] = 0
    assert np.asarray(with_own_observed(own, None, signal))[..., 0].tolist() == [[1, 0, 1, 1]] * 2
    assert np.asarray(with_own_observed(own, given, signal))[..., 0].tolist() == [[1, 0, 1, 1], [0, 0, 1, 1]]
    assert with_own_observed(Identity(), None, signal) is None
    with pytest.raises(ValueError, match="is for signals of shape"):
        own.of_signal(np.zeros((2, 5, 1), "float32"))


@pytest.mark.parametrize("observed", [[0.5, 1], [0, 0], np.ones((2, 2, 2, 2))])
def test_masks_that_are_none_are_refused(observed):
    with pytest.raises(ValueError, match="A Mask of all signals must hold 0 and 1"):
        Mask(np.array(observed)).check(1)


def test_a_base_class_has_no_operator():
    for method in (Measurement().forward, Measurement().adjoint):
        with pytest.raises(NotImplementedError):
            method(np.ones(3))
