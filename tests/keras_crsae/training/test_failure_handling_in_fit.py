"""Every fault that data and options can bring ends in a recovery or in one message that names it."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_crsae as kc
from keras_crsae.data.simulate import simulate_spikes, spike_templates
from keras_crsae.training.failure_handling import SIGMA_FLOOR

TEMPLATES = spike_templates(15, 2)


@pytest.fixture(scope="module")
def signal():
    return simulate_spikes(TEMPLATES, windows=24, samples=120, events_per_window=2, seed=4).signal


def model_of(filters, rate=1e-2, compiled=None, **options):
    options = {"gradient": "decoder", "iterations": 8, "lambda_learning": None, **options}
    model = kc.CRsAE(filters.shape[-1], filters.shape[0], seed=0, **options)
    model.set_dictionary(filters)
    model.compile(keras.optimizers.Adam(rate), **(compiled or {}))
    return model


def quietly(model, *given, **fitting):
    """History and the texts of the warnings."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        history = model.fit(*given, **{"verbose": 0, "batch_size": 4, **fitting}).history
    return history, [str(w.message) for w in said if w.category is UserWarning]


def test_a_bad_batch_can_be_skipped_and_changes_nothing(signal):
    """In executions of two steps, of which one is bad; ``test_arrays_with_bad_values...`` skips single steps."""
    batches = signal.reshape(6, 4, 120, 1).astype("float32")
    broken = batches.copy()
    broken[2, 1, 50] = np.inf
    options = dict(lambda_learning="em", sigma_learning=True)
    good, bad = (model_of(TEMPLATES, compiled=dict(nonfinite=policy, steps_per_execution=2), **options)
                 for policy in ("stop", "skip"))
    first, _ = quietly(good, tf.data.Dataset.from_tensor_slices(np.delete(batches, 2, axis=0)), batch_size=None)
    second, said = quietly(bad, tf.data.Dataset.from_tensor_slices(broken), batch_size=None)
    assert float(bad.training_state.skipped_batches) == 1 and any("1 batches were skipped" in text for text in said)
    for a, b in zip((*good.optimizer.variables, good.dictionary.kernel, good.lambda_reg, good.sigma),
                    (*bad.optimizer.variables, bad.dictionary.kernel, bad.lambda_reg, bad.sigma), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(first["loss"], second["loss"], rtol=1e-5)  # the epoch's mean is that of good batches


def test_arrays_with_bad_values_are_refused_or_their_batches_skipped(signal):
    broken = signal.astype("float32")
    broken[0, 3] = np.nan
    with pytest.raises(ValueError, match="1 NaN or infinite values"):
        model_of(TEMPLATES).fit(broken, verbose=0)
    model = model_of(TEMPLATES, compiled=dict(nonfinite="skip"))
    history, said = quietly(model, broken, epochs=2)
    assert float(model.training_state.skipped_batches) == 2 and np.isfinite(history["loss"]).all()
    assert any("2 batches were skipped" in text for text in said)


def test_an_epoch_of_bad_batches_alone_stops_training(signal):
    model = model_of(TEMPLATES, compiled=dict(nonfinite="skip"))
    model.adapt(signal)
    with pytest.raises(FloatingPointError, match="all 6 batches of epoch 1 were skipped"):
        model.fit(np.full_like(signal, np.nan), batch_size=4, verbose=0)
    np.testing.assert_allclose(model.dictionary.kernel, TEMPLATES, atol=1e-6)


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="'stop', 'skip'"):
        kc.CRsAE(2, 9).compile("adam", nonfinite="ignore")


@pytest.mark.parametrize("iterations", [30, 400])  # merely huge; beyond float32
def test_a_step_size_that_explodes_is_estimated_anew(signal, iterations):
    model = model_of(TEMPLATES, step_size=2.0, iterations=iterations)
    history, said = quietly(model, signal)
    safe = 1 / float(model.dictionary.largest_eigenvalue())
    assert safe < 1 and float(model.step_size) == pytest.approx(safe, rel=1e-5)
    assert float(model.training_state.step_rescues) == 1
    assert any("let the iterations explode in 1 batches" in text for text in said)
    reference, _ = quietly(model_of(TEMPLATES, iterations=iterations), signal)
    assert history["loss"][0] == pytest.approx(reference["loss"][0], rel=0.2)
    again, said = quietly(model, signal)
    assert not said and again["loss"][0] < 2 * reference["loss"][0]


def test_a_small_step_size_of_the_users_own_is_left_alone(signal):
    model = model_of(TEMPLATES, step_size=0.05)
    assert quietly(model, signal)[1] == [] and float(model.step_size) == pytest.approx(0.05)


def test_lambda_at_its_ceiling_is_said(signal):
    model = model_of(TEMPLATES, lambda_learning="em_closed_form", lambda_prior=kc.GammaPrior(mean=1e4, strength=9.0))
    _, said = quietly(model, signal)
    assert any("lambda was held at half of lambda_max in 6 steps" in text for text in said)
    np.testing.assert_allclose(model.lambda_reg, np.full(2, float(model.training_state.lambda_ceiling)), rtol=1e-5)


def test_lambda_at_its_lower_bound_is_said(signal):
    model = kc.CRsAE(2, 15, iterations=8, lambda_learning="backprop", gradient="truncated", seed=0)
    model.set_dictionary(TEMPLATES)
    model.compile(keras.optimizers.Adam(1e-3), keras.optimizers.SGD(1e3))
    _, said = quietly(model, signal)
    assert any("lambda fell to its lower bound, 1e-06" in text for text in said)


def test_sigma_stays_above_the_floor_in_data_without_noise():
    clean = np.tile(np.sin(np.arange(120) / 5.0)[None, :, None], (8, 1, 1)).astype("float32")
    sine = np.sin(np.arange(15) / 5.0)[:, None, None]
    model = model_of(np.concatenate([sine, sine[::-1] + 0.3], axis=-1), sigma=0.1, sigma_learning=True, sigma_rate=1.0,
                     iterations=60, lambda_init=0.1)
    zeros = np.zeros_like(clean)
    _, said = quietly(model, zeros)
    assert float(model.sigma) == pytest.approx(0.1)  # silence tells nothing of the noise
    for _ in range(3):
        model.sigma.assign(1e-3)
        history, said = quietly(model, clean, epochs=3)
    floor = SIGMA_FLOOR * np.sqrt(np.mean(clean**2))
    assert float(model.sigma) >= 0.99 * floor and np.isfinite([v for h in history.values() for v in h]).all()


def test_all_zero_codes_name_the_lambda_that_gives_the_first_one(signal):
    model = model_of(TEMPLATES, rate=1e-9, lambda_init=1e3, sigma=2.0)
    _, said = quietly(model, signal)
    largest = kc.lambda_max(signal, TEMPLATES)
    text, = [t for t in said if "All codes are zero" in t]
    assert f"lambda_max = {largest:.3g}" in text and f"lambda below {largest / 4:.3g}" in text
    model.lambda_reg.assign(np.full(2, 0.99 * largest / 4))
    assert np.count_nonzero(model.encode(signal)) > 0
