"""The model's methods have Keras' signatures and work in every form that Keras' own have."""

import inspect

import keras
import numpy as np
import pytest

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
    """Names, order, kinds and defaults; Keras has no annotations, we do."""
    ours, theirs = ([(p.name, p.kind, p.default) for p in inspect.signature(getattr(c, method)).parameters.values()]
                    for c in (model, keras.Model))
    assert ours == theirs


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
