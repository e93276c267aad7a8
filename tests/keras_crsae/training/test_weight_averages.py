"""Averaged weights end on the unit sphere, with a step size of their own, in the variables that they belong to."""

import keras
import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.training.weight_averages import RestoreConstraints, with_constraints


@pytest.fixture(scope="module")
def signal():
    return np.random.default_rng(0).standard_normal((8, 60, 1)).astype("float32")


def compiled(signal, optimizer=None, lambda_optimizer=None, **options):
    """A model whose filters move far in each step, so that averages of them are short."""
    model = kc.CRsAE(3, 9, iterations=4, sigma=0.5, lambda_init=1.0, seed=0,
                     **{"gradient": "decoder", "lambda_learning": None, **options})
    model.adapt(signal)
    model.compile(optimizer or keras.optimizers.Adam(0.5, use_ema=True, ema_momentum=0.8), lambda_optimizer)
    return model


def norms(layer):
    kernel = np.asarray(layer.kernel)
    return np.sqrt(np.sum(np.square(kernel), axis=tuple(range(kernel.ndim - 1))))


def check(model):
    for layer in model.dictionaries:
        np.testing.assert_allclose(norms(layer), 1.0, atol=1e-5)
    assert float(model.step_size) == pytest.approx(1 / float(model.dictionary.largest_eigenvalue()), rel=1e-4)


@pytest.mark.parametrize("options", [{}, dict(tied=False), dict(tied=False, gradient="unrolled")], ids=str)
def test_averages_at_the_end_of_fit_have_norm_one_and_their_own_step_size(signal, options):
    plain = compiled(signal, keras.optimizers.Adam(0.5), **options)
    model = compiled(signal, **options)
    averages = []
    last = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: averages.append(
        [np.array(v) for v in model.optimizer.variables if "average" in v.name]))
    for trained in (model, plain):
        trained.fit(signal, batch_size=2, epochs=2, verbose=0, callbacks=[last] if trained is model else None)
    check(model)
    # Each variable of the optimiser has its own average, in unit norm, whatever stands between them in the model.
    assert len(averages[-1]) == len(model.dictionary_variables)
    for variable, average in zip(model.dictionary_variables, averages[-1], strict=True):
        unit = average / np.sqrt(np.sum(np.square(average), axis=(0, 1)))
        assert np.abs(np.sqrt(np.sum(np.square(average), axis=(0, 1))) - 1).max() > 1e-3
        np.testing.assert_allclose(variable, unit, atol=1e-5)
    np.testing.assert_array_equal(model.lambda_reg, plain.lambda_reg)
    assert np.abs(model.dictionary_variables[-1] - plain.dictionary_variables[-1]).max() > 1e-2


def test_overwritten_weights_and_weight_decay_stay_on_the_sphere(signal):
    model = compiled(signal, keras.optimizers.AdamW(0.5, weight_decay=0.3, use_ema=True, ema_momentum=0.5,
                                                    ema_overwrite_frequency=2))
    model.fit(signal, batch_size=2, verbose=0)
    check(model)
    model.train_on_batch(signal)
    check(model)


@pytest.mark.parametrize("on_epoch", [False, True])
def test_swapped_weights_are_evaluated_saved_and_swapped_back_with_their_own_step_size(signal, tmp_path, on_epoch):
    model, seen = compiled(signal), []

    class Look(keras.callbacks.Callback):
        def on_test_batch_begin(self, batch, logs=None):
            seen.append((float(model.step_size), 1 / float(model.dictionary.largest_eigenvalue())))

        on_train_batch_begin = on_test_batch_begin

    model.fit(signal, validation_data=(signal, None), batch_size=4, epochs=2, verbose=0,
              callbacks=[keras.callbacks.SwapEMAWeights(swap_on_epoch=on_epoch), Look(),
                         keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras"),
                         keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True)])
    assert len(seen) == 6
    np.testing.assert_allclose(*np.transpose(seen), rtol=1e-4)
    check(model)
    for epoch in (1, 2):
        loaded = keras.saving.load_model(tmp_path / f"{epoch}.keras")
        check(loaded)
        code = loaded.encode(signal)
        loaded.load_weights(tmp_path / f"{epoch}.weights.h5")
        check(loaded)
        np.testing.assert_array_equal(loaded.encode(signal), code)


def test_evaluate_with_swapped_weights_uses_their_step_size(signal):
    model = compiled(signal)
    for _ in range(3):
        model.train_on_batch(signal)
    kernel = np.array(model.dictionary.kernel)
    average = next(v for v in model.optimizer.variables if "average" in v.name)
    expected = compiled(signal)
    expected.set_dictionary(np.array(average))
    loss = model.evaluate(signal, verbose=0, callbacks=[keras.callbacks.SwapEMAWeights()])[0]
    assert loss == pytest.approx(expected.evaluate(signal, verbose=0)[0], rel=1e-4)
    np.testing.assert_allclose(model.dictionary.kernel, kernel, atol=1e-5)
    check(model)


def test_the_average_of_lambda_is_taken_at_the_end(signal):
    model = compiled(signal, keras.optimizers.Adam(1e-3),
                     keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.5), lambda_learning="em")
    model.fit(signal, batch_size=2, verbose=0)
    average = next(v for v in model.lambda_optimizer.variables if "average" in v.name)
    np.testing.assert_allclose(model.lambda_reg, average, rtol=1e-6)


def test_a_fit_without_a_step_leaves_the_filters(signal):
    model = compiled(signal)
    kernel = np.array(model.dictionary.kernel)
    model.fit(signal, epochs=1, initial_epoch=1, verbose=0)
    np.testing.assert_array_equal(model.dictionary.kernel, kernel)


def test_the_callback_follows_those_of_the_user():
    swap = keras.callbacks.SwapEMAWeights()
    assert with_constraints(None) is None and with_constraints([]) == []
    for given in (swap, [swap], (swap,)):
        first, last = with_constraints(given)
        assert first is swap and isinstance(last, RestoreConstraints)
