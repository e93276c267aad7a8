"""Constraints against their formulas; they survive saving."""

import keras
import numpy as np
import pytest

from keras_crsae.constraints import AboveBound, InsideUnitBall, UnitNormFilters, filter_norms


@pytest.fixture
def kernel(rng):
    return rng.standard_normal((4, 3, 2, 5)).astype("float32") * np.array([0.01, 0.2, 1, 3, 9], "float32")


def norms(kernel):
    return np.sqrt(np.square(np.asarray(kernel)).sum(axis=(0, 1, 2)))


def test_norms_are_over_all_axes_but_the_filters(kernel):
    found = keras.ops.convert_to_numpy(filter_norms(kernel))
    assert found.shape == (1, 1, 1, 5)
    np.testing.assert_allclose(found.ravel(), norms(kernel), rtol=1e-6)
    assert (keras.ops.convert_to_numpy(filter_norms(np.zeros((3, 1, 2), "float32"))) > 0).all()


def test_unit_norm_keeps_the_direction(kernel):
    unit = keras.ops.convert_to_numpy(UnitNormFilters()(kernel))
    np.testing.assert_allclose(norms(unit), 1, rtol=1e-6)
    np.testing.assert_allclose(unit * norms(kernel), kernel, rtol=1e-5)


def test_inside_the_ball_only_long_filters_change(kernel):
    inside = keras.ops.convert_to_numpy(InsideUnitBall()(kernel))
    np.testing.assert_allclose(norms(inside), np.minimum(norms(kernel), 1), rtol=1e-6)
    short = norms(kernel) < 1
    np.testing.assert_array_equal(inside[..., short], kernel[..., short])


def test_a_bound_holds_each_element():
    assert np.asarray(AboveBound(0.5)(np.array([-1.0, 0.5, 2.0], "float32"))).tolist() == [0.5, 0.5, 2.0]
    assert np.asarray(AboveBound()(np.zeros(1, "float32")))[0] > 0


@pytest.mark.parametrize("constraint", [UnitNormFilters(), InsideUnitBall(), AboveBound(0.25)])
def test_a_configuration_restores_the_constraint(constraint):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(constraint))
    assert type(again) is type(constraint) and again.get_config() == constraint.get_config()
