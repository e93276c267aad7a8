"""Smoothness against its closed-form gradient, in any Keras layer, and as the first stage adds it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_crsae as kc
from keras_crsae.regularizers import Coherence, OfUnitFilters, Smoothness


def gradient_of(penalty, kernel):
    kernel = tf.Variable(kernel, dtype="float64")
    with tf.GradientTape() as tape:
        value = penalty(kernel)
    return value.numpy(), tape.gradient(value, kernel).numpy()


def second_differences(kernel, axis):
    """Gradient of half the sum of squared differences: L h, L the Laplacian of a path."""
    length = kernel.shape[axis]
    laplacian = 2 * np.eye(length) - np.eye(length, k=1) - np.eye(length, k=-1)
    laplacian[0, 0] = laplacian[-1, -1] = min(1, length - 1)
    return np.moveaxis(np.tensordot(laplacian, kernel, axes=[[1], [axis]]), 0, axis)


@pytest.mark.parametrize("shape, axes, along", [((9, 2, 3), None, (0,)), ((5, 6, 1, 2), None, (0, 1)),
                                                ((1, 7, 1, 2), None, (1,)), ((8, 4), 0, (0,)), ((4, 8), (-1,), (1,))])
def test_value_and_gradient_are_those_of_the_laplacian(shape, axes, along, rng):
    kernel = rng.standard_normal(shape)
    value, gradient = gradient_of(Smoothness(0.3, axes=axes), kernel)
    assert value == pytest.approx(0.3 * sum(np.square(np.diff(kernel, axis=a)).sum() for a in along))
    np.testing.assert_allclose(gradient, 0.6 * sum(second_differences(kernel, a) for a in along), atol=1e-12)


def test_on_unit_filters_the_gradient_is_tangent_and_the_scale_without_meaning(rng):
    kernel = rng.standard_normal((9, 1, 3))
    value, gradient = gradient_of(OfUnitFilters(Smoothness(1.0)), kernel)
    assert value == pytest.approx(gradient_of(OfUnitFilters(Smoothness(1.0)), 5.0 * kernel)[0])
    np.testing.assert_allclose((gradient * kernel).sum(axis=(0, 1)), 0, atol=1e-12)


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), "much"])
def test_a_weight_that_is_no_weight_is_refused(wrong):
    with pytest.raises(ValueError, match="`weight` must be a non-negative number.*Received"):
        Smoothness(wrong)


@pytest.mark.parametrize("axes", [None, 2, ()])
def test_an_axis_that_is_not_there_is_refused(axes):
    with pytest.raises(ValueError, match=r"axes=.*Dense"):
        Smoothness(1.0, axes=axes)(np.ones((4, 3)))


def test_it_is_a_regulariser_of_any_keras_layer():
    layer = keras.layers.Conv1D(2, 5, kernel_regularizer=Smoothness(0.1))
    layer.build((None, 20, 1))
    assert float(layer.losses[0]) == pytest.approx(0.1 * np.square(np.diff(layer.kernel, axis=0)).sum(), rel=1e-5)
    again = keras.layers.Conv1D.from_config(layer.get_config()).kernel_regularizer
    assert type(again) is Smoothness and again.get_config() == {"weight": 0.1, "axes": None}


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).standard_normal((4, 60, 1)).astype("float32")


def small(**options):
    model = kc.CRsAE(2, 9, iterations=5, seed=1, lambda_init=0.5, lambda_learning=None,
                     **{"gradient": "decoder", "kernel_regularizer": Smoothness(2.0), **options})
    model.build((None, None, 1))
    return model


def test_the_loss_holds_the_penalty_and_says_so(noise):
    model = small()
    penalty = 2.0 * np.square(np.diff(model.dictionary.kernel, axis=0)).sum()
    assert [float(loss) for loss in model.losses] == [pytest.approx(penalty, rel=1e-5)]
    model.compile(keras.optimizers.SGD(0.0))
    logs = model.evaluate(noise, return_dict=True, verbose=0)
    trained = model.train_on_batch(noise, return_dict=True)
    for found in (logs, trained):
        assert found["loss"] == pytest.approx(found["reconstruction_loss"] + penalty, rel=1e-5)
    expected = np.square(noise - model.reconstruct(noise)).mean()
    assert logs["reconstruction_loss"] == pytest.approx(expected, rel=1e-5)
    assert float(model.compute_loss(noise, y_pred=model(noise))) == pytest.approx(expected + penalty, rel=1e-5)
    plain = small(kernel_regularizer=None)
    plain.compile(keras.optimizers.SGD(0.0))
    logs = plain.evaluate(noise, return_dict=True, verbose=0)
    assert logs["loss"] == logs["reconstruction_loss"] and plain.losses == []


def test_a_step_of_gradient_descent_goes_along_the_tangent_of_both_parts(noise):
    model, rate = small(), 1e-3
    before = np.asarray(model.dictionary.kernel, np.float64)
    code, y = (np.asarray(a, np.float64) for a in (model.encode(noise), noise))
    residual = y - model.decode(model.encode(noise))
    gradient = np.zeros_like(before)
    for i in range(9):
        gradient[i, 0] = -2 * np.einsum("btf,bt->f", code, residual[:, i:i + code.shape[1], 0]) / y.size
    gradient += 4.0 * second_differences(before, 0)
    gradient -= before * (gradient * before).sum(axis=(0, 1))
    expected = before - rate * gradient
    model.compile(keras.optimizers.SGD(rate))
    model.train_on_batch(noise)
    np.testing.assert_allclose(model.dictionary.kernel, expected / np.linalg.norm(expected, axis=(0, 1)), atol=1e-5)


def test_filters_become_smooth_and_the_option_is_saved(noise, tmp_path):
    roughness = {}
    for weight in (0.0, 2.0):
        model = small(kernel_regularizer=Smoothness(weight))
        model.compile(keras.optimizers.Adam(3e-2))
        model.fit(noise, epochs=10, verbose=0)
        roughness[weight] = np.square(np.diff(model.dictionary.kernel, axis=0)).sum()
    assert roughness[2.0] < 0.6 * roughness[0.0]
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.kernel_regularizer.get_config() == {"weight": 2.0, "axes": None}
    assert float(loaded.losses[0]) == pytest.approx(float(model.losses[0]), rel=1e-6)


def test_an_untied_decoder_is_held_smooth_as_the_encoder_is(noise):
    model = small(tied=False, gradient="unrolled")
    each = 2.0 * np.square(np.diff(model.dictionary.kernel, axis=0)).sum()
    model.compile(keras.optimizers.SGD(0.0))
    logs = model.evaluate(noise, return_dict=True, verbose=0)
    assert logs["loss"] - logs["reconstruction_loss"] == pytest.approx(2 * each, rel=1e-4)


def products(kernel, lags):
    """Inner products of filters (length, filters) at all lags up to ``lags``, by NumPy."""
    padded = [np.pad(kernel, ((lag, lags - lag), (0, 0))) for lag in range(lags + 1)]
    return [shifted.T @ padded[0] for shifted in padded]


@pytest.mark.parametrize("lags", [0, 2, None])
def test_coherence_is_the_sum_of_squared_products_less_the_identity(lags, rng):
    kernel = rng.standard_normal((5, 1, 3))
    kernel /= np.linalg.norm(kernel, axis=0)
    first, *shifted = products(kernel[:, 0], 4 if lags is None else lags)
    expected = np.square(first - np.eye(3)).sum() + 2 * sum(np.square(p).sum() for p in shifted)
    assert gradient_of(Coherence(0.5, lags=lags), kernel)[0] == pytest.approx(0.5 * expected)


@pytest.mark.parametrize("given", [{"weight": -1.0}, {"weight": "much"}, {"lags": -1}, {"lags": (1, -2)}])
def test_coherence_refuses_negative_numbers(given):
    with pytest.raises(ValueError, match="non-negative"):
        Coherence(**given)


def test_coherence_refuses_lags_of_other_axes():
    with pytest.raises(ValueError, match="axes of the filters"):
        Coherence(lags=(1, 1))(np.ones((5, 1, 2), "float32"))
