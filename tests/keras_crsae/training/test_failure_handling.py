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
    compiled = {k: options.pop(k) for k in ("steps_per_execution", "jit_compile", "lambda_optimizer") if k in options}
    model = kc.CRsAE(2, 9, iterations=4, sigma=0.5, lambda_init=2.0, gradient=gradient, seed=0, **options)
    model.adapt(signals[0], init="windows")
    model.compile(keras.optimizers.Adam(1e-2), **compiled)
    return model


def state(model):
    state = model.training_state
    lasting = {id(v) for v in (state.failed_stage, state.progress, state.order_seed)}
    return [keras.ops.convert_to_numpy(v) for v in [*(w for w in model.weights if id(w) not in lasting),
                                                    *model.optimizer.variables, *model.lambda_optimizer.variables]]


@pytest.mark.parametrize("compiled", [{}, dict(steps_per_execution=3), dict(steps_per_execution=3, jit_compile=True)],
                         ids=str)
@pytest.mark.parametrize("value", [np.nan, 1e30])
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
