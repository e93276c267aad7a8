"""Filters that died or became copies begin anew from what the model does not explain."""

import logging
import warnings

import keras
import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.data.simulate import simulate_spikes, spike_templates
from keras_crsae.training.callbacks.revive_filters import ReviveFilters, worst_windows

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


def dying(**options):
    """A model of the first template, and of a comb that nothing above the noise resembles."""
    comb = np.resize([1.0, -1.0], 15)[:, None, None]
    return model_of(np.concatenate([TEMPLATES[..., :1], comb], axis=-1), lambda_init=6.0, **options)


def test_a_dead_filter_begins_anew_and_learns_what_was_not_explained(signal, caplog):
    left = dying(rate=2e-2)
    quietly(left, signal, epochs=8)
    revive = ReviveFilters(signal, until=4)
    model = dying(rate=2e-2)
    with caplog.at_level(logging.INFO, "keras_crsae"):
        history, _ = quietly(model, signal, epochs=8, callbacks=[revive])
    assert (revive.revived[0][1], revive.revived[0][2]) == (1, "dead") and "Filter 1 (dead)" in caplog.text
    assert history["revived_filters"][0] == 1.0

    def error(one):
        return np.max(kc.metrics.dictionary_error(TEMPLATES, np.asarray(one.dictionary.kernel)))

    assert error(left) > 0.8 and error(model) < 0.5
    assert np.abs(model.encode(signal)[..., 1]).sum() > 0


def test_identical_filters_are_said_and_revived(signal):
    twins = np.concatenate([TEMPLATES[..., :1]] * 2, axis=-1)
    left = model_of(twins)
    _, said = quietly(left, signal, epochs=2)
    assert any("Filters 0 and 1 are identical" in text for text in said)
    np.testing.assert_array_equal(left.dictionary.kernel[..., 0], left.dictionary.kernel[..., 1])
    model, revive = model_of(twins), ReviveFilters(signal)
    quietly(model, signal, epochs=2, callbacks=[revive])
    assert revive.revived[0][2] == "copy"
    assert abs(float(np.sum(model.dictionary.kernel[..., 0] * model.dictionary.kernel[..., 1]))) < 0.9


def test_moments_of_a_revived_filter_are_zero_and_the_step_size_follows(signal):
    model = dying()
    quietly(model, signal)
    assert ReviveFilters(signal).revive(model) == [(1, "dead")]
    moments = [np.asarray(v) for v in model.optimizer.variables if tuple(v.shape) == (15, 1, 2)]
    assert moments and all((m[..., 1] == 0).all() and (m[..., 0] != 0).any() for m in moments)
    assert float(model.step_size) == pytest.approx(1 / float(model.dictionary.largest_eigenvalue()), rel=1e-5)


def test_worst_windows_do_not_overlap_and_come_in_order(rng):
    residual = 0.01 * rng.standard_normal((2, 30, 20, 1))
    residual[1, 4:7, 5:8] += 3
    residual[0, 20:23, 1:4] += 2
    first, second = worst_windows(residual, (3, 3), 2)
    np.testing.assert_array_equal(first, residual[1, 4:7, 5:8])
    np.testing.assert_array_equal(second, residual[0, 20:23, 1:4])
    assert len(worst_windows(np.ones((1, 7, 1)), (3,), 9)) <= 3 and worst_windows(np.zeros((1, 7, 1)), (3,), 1) == []


@pytest.mark.parametrize("options", [dict(least=1.0), dict(copies=0.0)])
def test_unfit_options_of_revival_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ReviveFilters(np.zeros((1, 20, 1)), **options)


def test_masked_data_are_refused_since_a_residual_has_no_mask(signal):
    with pytest.raises(ValueError, match="`data` is a masked array"):
        ReviveFilters(np.ma.masked_greater(signal, 1.0))
