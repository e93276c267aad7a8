"""The model's methods have Keras' signatures and work in every form that Keras' own have."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_crsae as kc
from keras_crsae.models.baselines import LCSC, TLAE


@pytest.fixture(scope="module")
def signal():
    return np.random.default_rng(3).standard_normal((12, 60, 1)).astype("float32")


def fresh(signal):
    model = kc.CRsAE(2, 9, iterations=4, sigma=0.5, lambda_init=2.0, gradient="decoder", seed=0)
    model.adapt(signal)
    model.compile(keras.optimizers.Adam(1e-2))
    return model


@pytest.mark.parametrize("model", [kc.CRsAE, kc.Denoiser, LCSC, TLAE])
@pytest.mark.parametrize("method", ["fit", "evaluate", "predict", "train_on_batch", "test_on_batch",
                                    "predict_on_batch"])
def test_signatures_are_those_of_keras(model, method):
    """Names, order, kinds and defaults; Keras has no annotations, we do. Trials and others come by name alone."""
    ours, theirs = ([(p.name, p.kind, p.default) for p in inspect.signature(getattr(c, method)).parameters.values()]
                    for c in (model, keras.Model))
    further = {(name, inspect.Parameter.KEYWORD_ONLY, None) for name in ("trials", "exposure", "support", "operator")}
    assert [parameter for parameter in ours if parameter not in further] == theirs


def test_positional_arguments_mean_what_they_mean_in_keras(signal):
    by_position, by_name = fresh(signal), fresh(signal)
    history = by_position.fit(signal, None, 4, 2, 0)
    by_name.fit(signal, batch_size=4, epochs=2, verbose=0)
    assert history.epoch == [0, 1] and int(by_position.optimizer.iterations) == 6
    np.testing.assert_array_equal(by_position.dictionary.kernel, by_name.dictionary.kernel)
    assert by_position.evaluate(signal, None, 4, 0) == by_name.evaluate(signal, batch_size=4, verbose=0)
    scores = by_position.evaluate(signal, None, 4, 0, None, 2, None, True)
    assert scores == by_name.evaluate(signal[:8], batch_size=4, verbose=0, return_dict=True)
    np.testing.assert_array_equal(by_position.predict(signal, 4, 0), by_name.predict(signal, batch_size=4, verbose=0))


def test_single_batches_train_test_and_predict_as_a_fit_of_one_batch(signal):
    one, other = fresh(signal), fresh(signal)
    logs = one.train_on_batch(signal[:4], return_dict=True)
    history = other.fit(signal[:4], batch_size=4, shuffle=False, verbose=0).history
    assert logs["loss"] == pytest.approx(history["loss"][0], rel=1e-6)
    np.testing.assert_allclose(one.dictionary.kernel, other.dictionary.kernel, atol=1e-7)
    assert one.test_on_batch(signal[:4])[0] == pytest.approx(other.evaluate(signal[:4], verbose=0)[0], rel=1e-5)
    np.testing.assert_allclose(one.predict_on_batch(signal[:4]), other.predict(signal[:4], verbose=0), atol=1e-6)


def test_the_dictionaries_of_a_model_are_listed_once_each():
    tied, untied, three = kc.CRsAE(2, 5), kc.CRsAE(2, 5, tied=False), LCSC(2, 5)
    for model in (tied, untied, three):
        model.build((None, None, 1))
    assert tied.dictionaries == (tied.dictionary,)
    assert untied.dictionaries == (untied.dictionary, untied.decoder)
    assert three.dictionaries == (three.analysis, three.dictionary, three.decoder)


def test_losses_of_the_users_own_and_unknown_policies_are_refused():
    for options, words in ((dict(loss="mse"), "its own losses"), (dict(nonfinite="ignore"), "'stop', 'skip'")):
        with pytest.raises(ValueError, match=words):
            kc.CRsAE(2, 9).compile("adam", **options)


def unbuilt():
    model = kc.CRsAE(2, 9, iterations=4, sigma=0.5, lambda_init=2.0, gradient="decoder", seed=0)
    model.compile(keras.optimizers.Adam(1e-2))
    return model


@pytest.mark.parametrize("build", [False, True], ids=["unbuilt", "built"])
def test_train_on_batch_begins_as_fit_does(signal, build):
    one, other = unbuilt(), unbuilt()
    if build:
        one.build((None, None, 1))
    one.train_on_batch(signal)
    other.fit(signal, batch_size=12, verbose=0)
    assert float(one.training_state.adapted) == 1
    for name in ("lambda_reg", "sigma", "step_size"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-6)
    np.testing.assert_allclose(one.dictionary.kernel, other.dictionary.kernel, atol=1e-6)


def dataset(signal):
    return tf.data.Dataset.from_tensor_slices(signal).batch(4)


@pytest.mark.parametrize("run", [
    lambda m, x: m.evaluate(x, verbose=0), lambda m, x: m.evaluate(dataset(x), verbose=0),
    lambda m, x: m.evaluate(iter([(x,), (x,)]), steps=2, verbose=0), lambda m, x: m.test_on_batch(x),
    lambda m, x: m.predict(x, verbose=0), lambda m, x: m.predict_on_batch(x)],
    ids=["evaluate", "dataset", "generator", "test_on_batch", "predict", "predict_on_batch"])
def test_a_model_without_filters_is_built_by_what_it_is_given_and_adapted_by_fit_alone(signal, run):
    model = unbuilt()
    assert np.isfinite(run(model, signal)).all()
    assert model.dictionary.channels == 1 and float(model.training_state.adapted) == 0


@pytest.mark.parametrize("step", ["train_step", "test_step"])
def test_a_step_without_filters_says_what_to_call(signal, step):
    with pytest.raises(ValueError, match="no filters yet: call build, set_dictionary, adapt or fit first"):
        getattr(unbuilt(), step)((tf.constant(signal),))


@pytest.mark.parametrize("method", ["train_on_batch", "test_on_batch", "evaluate"])
def test_a_model_that_is_not_compiled_says_so(signal, method):
    with pytest.raises(ValueError, match=f"Call `compile` before `{method}`"):
        getattr(kc.CRsAE(2, 9), method)(signal)


def test_batches_are_checked_as_those_of_fit(signal):
    model = fresh(signal)
    for wrong, words in ((signal[0], r"Received: shape \(60, 1\)"), (np.zeros((2, 60, 3)), "1 channels"),
                         (signal.astype(complex), "real numbers")):
        for method in (model.train_on_batch, model.test_on_batch, model.predict_on_batch):
            with pytest.raises(ValueError, match=words):
                method(wrong)
    with pytest.raises(ValueError, match="`class_weight` has no meaning"):
        model.train_on_batch(signal, class_weight={0: 1.0})


def test_masked_arrays_train_and_are_evaluated_with_their_mask(signal):
    mask = np.random.default_rng(0).random(signal.shape) < 0.8
    masked = np.ma.masked_where(~mask, np.where(mask, signal, np.nan))
    one, other, zeros = unbuilt(), unbuilt(), np.where(mask, signal, 0)
    options = dict(batch_size=4, epochs=2, verbose=0)
    with_mask = other.fit(zeros, sample_weight=mask, validation_data=(zeros, zeros, mask), **options).history
    by_itself = one.fit(masked, validation_data=(masked, None), **options).history
    for name, values in with_mask.items():
        np.testing.assert_allclose(by_itself[name], values, rtol=1e-6)
    assert one.evaluate(masked, verbose=0) == other.evaluate(zeros, sample_weight=mask, verbose=0)
    assert one.train_on_batch(masked) == other.train_on_batch(zeros, sample_weight=mask)
    adapted = unbuilt()
    adapted.adapt(masked[:4])
    expected = unbuilt()
    expected.adapt(zeros[:4], mask=mask[:4])
    assert float(adapted.training_state.lambda_ceiling) == float(expected.training_state.lambda_ceiling)


def test_the_loss_of_a_loop_of_ones_own_is_the_reconstruction_loss(signal):
    model = fresh(signal)
    loss = float(model.compute_loss(signal, y_pred=model(signal)))
    assert loss == pytest.approx(model.evaluate(signal, verbose=0)[0], rel=1e-5)
    assert float(model.compute_loss(signal, 2 * signal, signal)) == pytest.approx(np.mean(np.square(signal)), rel=1e-5)


def test_an_optimizer_that_scales_losses_is_refused():
    with pytest.raises(ValueError, match="LossScaleOptimizer.*Give `optimizer` its inner optimizer"):
        kc.CRsAE(2, 9).compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()))
