"""The door of calls on counts: checked before work starts, divided once."""

import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.models.call_inputs import CallOptions, call_inputs


@pytest.fixture(scope="module")
def model():
    made = kc.CRsAE(2, 9, iterations=5, likelihood="binomial", trials=10, seed=0)
    made.build((None, None, 1))
    return made


@pytest.fixture
def counts(rng):
    return rng.binomial(10, 0.2, (3, 40, 1))


@pytest.mark.parametrize("change, words", [
    (lambda c: c - 1, "whole numbers from 0"), (lambda c: c + 0.5, "whole numbers"), (lambda c: c / 10, "proportions"),
    (lambda c: c + 9, "at most the number of trials"), (lambda c: c[:, :5], "shorter than the kernel"),
    (lambda c: np.where(c > 5, np.nan, c * 1.0) * np.nan, "NaN")])
@pytest.mark.parametrize("call", ["encode", "mean", "linear", "reconstruct", "separate", "convergence",
                                  "overdispersion", "predict", "__call__", "adapt"])
def test_what_is_no_count_is_refused_by_every_call(model, counts, change, words, call):
    with pytest.raises(ValueError, match=words):
        getattr(model, call)(change(counts))


@pytest.mark.parametrize("options, words", [
    (dict(exposure=2.0), "divided by `trials`"), (dict(trials=[10, 10]), "`trials`"), (dict(trials=1), "at most"),
    (dict(sigma=0.5), "no noise level"), (dict(support=np.ones((3, 31, 2))), "code's shape"),
    (dict(support=np.full((3, 32, 2), 0.5)), "0 and 1"), (dict(mask=np.ones((2, 40))), "mask")])
def test_options_that_do_not_fit_are_refused(model, counts, options, words):
    with pytest.raises(ValueError, match=words):
        model.encode(counts, **options)


def test_missing_samples_may_hold_anything(model, counts):
    mask = np.ones(counts.shape)
    mask[:, 20:25] = 0
    code = model.encode(np.where(mask > 0, counts, 0), mask)
    np.testing.assert_array_equal(model.encode(np.where(mask > 0, counts, -7.5), mask), code)
    np.testing.assert_allclose(model.encode(np.ma.masked_array(counts, mask == 0)), code)


def test_sizes_of_signals_and_samples_become_weights(model, counts):
    inputs = call_inputs(counts, CallOptions(trials=[10, 20, 40]), model.layout)
    assert inputs.mask is None
    np.testing.assert_allclose(inputs.signal, counts / np.reshape([10, 20, 40], (3, 1, 1)), rtol=1e-6)
    np.testing.assert_allclose(inputs.dispersion, [0.1, 0.05, 0.025])
    np.testing.assert_array_equal(inputs.entries(slice(1, 2)).dispersion, inputs.dispersion[1:2])
    each = np.full((3, 40), 10)
    each[:, 20:] = 20
    inputs = call_inputs(counts, CallOptions(trials=each), model.layout)
    np.testing.assert_allclose(inputs.mask[:, [0, 30], 0], [[0.5, 1.0]] * 3)


def test_a_dict_gives_what_options_give(model, counts):
    trials = np.array([10, 20, 30])
    given = {"signal": counts, "trials": trials}
    code = model.encode(counts, trials=trials)
    np.testing.assert_array_equal(model.encode(given), code)
    np.testing.assert_allclose(model.predict(given, verbose=0), model.mean(counts, trials=trials), atol=1e-6)
    np.testing.assert_allclose(model(given), model.mean(counts, trials=trials), atol=1e-6)
    with pytest.raises(ValueError, match="twice"):
        model.encode(given, trials=trials)
    with pytest.raises(ValueError, match="'signal'"):
        model.encode({"counts": counts})


def test_the_support_holds_the_code_at_zero_elsewhere(counts):
    support = np.zeros((3, 32), bool)
    support[:, ::7] = True
    for options in (dict(likelihood="binomial", trials=10), {}):
        model = kc.CRsAE(2, 9, iterations=5, seed=0, lambda_init=0.1, **options)
        code = model.encode(counts, support=support)
        assert code.any() and not code[:, ~support[0]].any()
