"""A non-finite loss stops fit, says where, and reaches no weight."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_crsae as kc

BATCHES, BAD = 6, 4


@pytest.fixture(scope="module")
def signals():
    return np.random.default_rng(0).standard_normal((BATCHES, 4, 60, 1)).astype("float32")


def fresh(signals, gradient="decoder", **options):
    names = ("steps_per_execution", "jit_compile", "run_eagerly", "lambda_optimizer")
    compiled = {k: options.pop(k) for k in names if k in options}
    if not compiled.keys() - {"lambda_optimizer"}:
        compiled["run_eagerly"] = True  # tracing takes longer than so few steps
    model = kc.CRsAE(2, 9, iterations=4, sigma=0.5, lambda_init=2.0, gradient=gradient, seed=0, **options)
    model.adapt(signals[0], init="windows")
    model.compile(keras.optimizers.Adam(1e-2), **compiled)
    return model


def state(model):
    state = model.training_state
    lasting = {id(v) for v in (state.failed_stage, state.progress, state.order_seed)}
    return [keras.ops.convert_to_numpy(v) for v in [*(w for w in model.weights if id(w) not in lasting),
                                                    *model.optimizer.variables, *model.lambda_optimizer.variables]]


@pytest.mark.parametrize("compiled, value", [(dict(run_eagerly=False), 1e30), (dict(steps_per_execution=3), np.nan),
                                             (dict(steps_per_execution=3, jit_compile=True), 1e30)], ids=str)
def test_a_bad_batch_stops_fit_and_leaves_the_weights_before_it(signals, compiled, value):
    good, bad = fresh(signals, **compiled), fresh(signals, **compiled)
    good.fit(tf.data.Dataset.from_tensor_slices(signals[:BAD]), verbose=0)
    broken = signals.copy()
    broken[BAD, 0, 7] = value
    with pytest.raises(FloatingPointError, match=f"dictionary stage .* batch {BAD} .* epoch 1"):
        bad.fit(tf.data.Dataset.from_tensor_slices(broken), epochs=2, verbose=0)
    for a, b in zip(state(good), state(bad), strict=True):
        assert np.isfinite(b).all()
        np.testing.assert_allclose(a, b, atol=1e-6, rtol=1e-5)


def test_the_failing_stage_is_named_and_training_can_go_on(signals):
    model = fresh(signals, lambda_optimizer=keras.optimizers.SGD(float("nan")))
    before = state(model)
    with pytest.raises(FloatingPointError, match="lambda stage .* batch 0 .*lambda_optimizer"):
        model.fit(signals[0], batch_size=4, verbose=0)
    for a, b in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(a, b)
    model.lambda_optimizer.learning_rate = 1e-3
    history = model.fit(signals[0], batch_size=4, verbose=0).history
    assert np.isfinite(history["lambda_loss"]).all() and int(model.optimizer.iterations) == 1


def broken_batch(signals):
    broken = signals[1].copy()
    broken[0, 7] = np.nan
    return broken


@pytest.mark.parametrize("compiled", [dict(run_eagerly=False), dict(steps_per_execution=3), dict(run_eagerly=True)],
                         ids=str)
def test_train_on_batch_raises_at_a_bad_batch_and_trains_on(signals, compiled):
    model, other = fresh(signals, **compiled), fresh(signals, **compiled)
    before = state(model)
    with pytest.raises(FloatingPointError, match="dictionary stage.*not finite. The model keeps the weights from"):
        model.train_on_batch(broken_batch(signals))
    for a, b in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(a, b)
    for trained in (model, other):
        assert np.isfinite(trained.train_on_batch(signals[0])).all()
    for a, b in zip(state(other), state(model), strict=True):
        np.testing.assert_array_equal(a, b)
    assert int(model.optimizer.iterations) == 1


def test_a_batch_of_which_all_is_missing_is_refused_and_training_goes_on(signals):
    model = fresh(signals)
    with pytest.raises(ValueError, match="marks every sample as missing"):
        model.train_on_batch(signals[0], sample_weight=np.zeros_like(signals[0]))
    kernel = np.array(model.dictionary.kernel)
    model.train_on_batch(signals[0])
    assert np.abs(model.dictionary.kernel - kernel).max() > 1e-4


@pytest.mark.parametrize("graph", [True, False], ids=["graph", "eager"])
def test_a_loop_of_ones_own_trains_on_after_a_bad_batch(signals, graph):
    model, other = fresh(signals), fresh(signals)
    step = (tf.function(model.train_step), tf.function(other.train_step)) if graph else \
        (model.train_step, other.train_step)
    before = state(model)
    assert np.isnan(step[0]((tf.constant(broken_batch(signals)),))["loss"])
    for a, b in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(a, b)
    model.reset_metrics()
    losses = [run((tf.constant(signals[0]),))["loss"] for run in step]
    assert float(losses[0]) == float(losses[1])
    for a, b in zip(state(other), state(model), strict=True):
        np.testing.assert_array_equal(a, b)


class Interrupt(keras.callbacks.Callback):
    """Stops ``fit`` at the bad batch before ``fit`` itself does."""

    def on_train_batch_end(self, batch, logs=None):
        if not np.isfinite(logs["loss"]):
            raise KeyboardInterrupt


@pytest.mark.parametrize("then", ["train_on_batch", "fit", "load", "train_step"])
def test_no_failure_outlives_a_fit_that_was_interrupted(signals, tmp_path, then):
    model = fresh(signals)
    data = tf.data.Dataset.from_tensor_slices(np.stack([broken_batch(signals), signals[2]]))
    with pytest.raises(KeyboardInterrupt):
        model.fit(data, verbose=0, callbacks=[Interrupt()])
    if then == "load":
        model.save(tmp_path / "m.keras")
        model = keras.saving.load_model(tmp_path / "m.keras")
    kernel = np.array(model.dictionary.kernel)
    if then == "fit":
        model.fit(signals[0], verbose=0)
    elif then == "train_step":
        model.train_step((tf.constant(signals[0]),))
    else:
        model.train_on_batch(signals[0])
    assert np.abs(model.dictionary.kernel - kernel).max() > 1e-4


def test_a_model_that_was_saved_beside_a_failure_trains(signals, tmp_path):
    """A callback saves at the bad batch, before ``fit`` raises."""
    model = fresh(signals)

    class Save(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.save(tmp_path / "m.keras")

    with pytest.raises(FloatingPointError):
        model.fit(tf.data.Dataset.from_tensor_slices(broken_batch(signals)[None]), verbose=0, callbacks=[Save()])
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    kernel = np.array(loaded.dictionary.kernel)
    loaded.train_on_batch(signals[0])
    assert np.abs(loaded.dictionary.kernel - kernel).max() > 1e-4


def test_evaluation_of_a_bad_batch_stops_no_training(signals):
    model = fresh(signals)
    with pytest.raises(ValueError, match="NaN or infinite"):
        model.test_on_batch(broken_batch(signals))
    assert np.isnan(model.evaluate(tf.data.Dataset.from_tensor_slices(broken_batch(signals)[None]), verbose=0)[0])
    kernel = np.array(model.dictionary.kernel)
    assert np.isfinite(model.train_on_batch(signals[0])).all()
    assert np.abs(model.dictionary.kernel - kernel).max() > 1e-4
