"""Constraints against their formulas; they survive saving."""

import keras
import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.constraints import AboveBound, ConstrainedFilters, InsideUnitBall, UnitNormFilters, filter_norms


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


@pytest.mark.parametrize("constraint", [
    UnitNormFilters(), InsideUnitBall(), AboveBound(0.25), ConstrainedFilters("non_neg", UnitNormFilters())])
def test_a_configuration_restores_the_constraint(constraint):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(constraint))
    assert type(again) is type(constraint) and again.get_config() == constraint.get_config()


def test_the_nearest_non_negative_filter_of_norm_one_is_found(rng):
    """Against a search over the sphere's positive part, filters without a positive value included."""
    kernel = rng.standard_normal((3, 1, 40))
    kernel[..., :5] = -np.abs(kernel[..., :5])
    found = np.asarray(ConstrainedFilters("non_neg", UnitNormFilters())(kernel))[:, 0]
    a, b = np.meshgrid(np.linspace(0, np.pi / 2, 300), np.linspace(0, np.pi / 2, 300))
    sphere = np.stack([np.sin(a) * np.cos(b), np.sin(a) * np.sin(b), np.cos(a)]).reshape(3, -1)
    best = (sphere.T @ kernel[:, 0]).max(axis=0)  # least distance is largest product
    np.testing.assert_allclose((found * kernel[:, 0]).sum(axis=0), best, atol=1e-3)
    assert (found >= 0).all() and np.allclose(np.linalg.norm(found, axis=0), 1)


def test_filters_stay_non_negative_through_training_and_saving(rng, tmp_path):
    truth = np.abs(np.hanning(11)[1:-1, None, None] * [[[1.0, 2.0]]])
    signal = np.abs(rng.standard_normal((4, 60, 1))).astype("float32")
    model = kc.CRsAE(2, 9, iterations=5, gradient="decoder", seed=1, lambda_init=0.5, kernel_constraint="non_neg")
    model.set_dictionary(truth - 1.0)  # its positive part is taken
    start = np.maximum(truth - 1.0, 0)[..., 1]
    np.testing.assert_allclose(model.dictionary.kernel[..., 1], start / np.linalg.norm(start), atol=1e-6)
    assert np.count_nonzero(model.dictionary.kernel[..., 0]) == 1  # nowhere positive: its largest value
    model.compile(keras.optimizers.Adam(3e-2))
    model.fit(signal, epochs=3, batch_size=2, verbose=0)
    kernel = np.asarray(model.dictionary.kernel)
    assert (kernel >= 0).all() and np.allclose(norms(kernel[None]), 1)
    model.save(tmp_path / "m.keras")
    assert keras.saving.load_model(tmp_path / "m.keras").get_config()["kernel_constraint"] == \
        model.get_config()["kernel_constraint"]
    model.dictionary.kernel.assign(-kernel)
    model.encode(signal)  # brings filters that others changed back to the constraint
    assert (np.asarray(model.dictionary.kernel) >= 0).all()
