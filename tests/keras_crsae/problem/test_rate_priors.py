"""The Gamma prior: loss against its formula in float64, closed form against the loss, the prior counted once."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_crsae as kc
from keras_crsae.problem import RatePrior, rate_priors

OPTIONS = [{}, dict(strength=0.7), dict(shape=4.0), dict(rate=0.3), dict(shape=4.0, rate=0.3)]


def by_hand(lambda_reg, norms, positions, shape, rate):
    """sum_c [lambda a_c - N_e log lambda - (r - 1) log lambda + delta lambda], one lambda for all where it is one."""
    if len(lambda_reg) == 1:
        norms, positions = norms.sum(keepdims=True), positions * len(norms)
    terms = lambda_reg * norms - positions * np.log(lambda_reg) - (shape - 1) * np.log(lambda_reg) + rate * lambda_reg
    return np.sum(terms)


@pytest.mark.parametrize("count", [3, 1], ids=["one a filter", "shared"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_loss_gradient_and_closed_form(rng, count, options):
    prior, norms = kc.GammaPrior(**options), 9 * rng.random(3)
    start, mean = rng.random(count) + 1, rng.random(count) + 1
    shape, rate = (np.asarray(v, float) for v in prior.shape_and_rate(mean, 20.0))
    value = tf.Variable(start)
    with tf.GradientTape() as tape:
        loss = prior.loss(value, tf.constant(norms), 20.0, mean)
    np.testing.assert_allclose(loss, by_hand(start, norms, 20.0, shape, rate))
    slope = [(by_hand(start + e, norms, 20.0, shape, rate) - by_hand(start - e, norms, 20.0, shape, rate)) / 2e-6
             for e in 1e-6 * np.eye(count)]
    np.testing.assert_allclose(tape.gradient(loss, value), slope, rtol=1e-5)
    best = np.asarray(prior.closed_form(tf.constant(norms), 20.0, mean, shared=count == 1))
    assert best.shape == (count,)
    least = by_hand(best, norms, 20.0, shape, rate)
    for step in 1e-3 * np.eye(count):
        assert by_hand(best + step, norms, 20.0, shape, rate) > least < by_hand(best - step, norms, 20.0, shape, rate)


def test_strength_is_counted_in_code_positions():
    assert kc.GammaPrior(strength=2.0).shape_and_rate(mean=4.0, positions=100) == (200.0, 50.0)
    assert kc.GammaPrior(rate=5.0).shape_and_rate(mean=4.0, positions=100) == (20.0, 5.0)
    assert kc.GammaPrior(shape=8.0).shape_and_rate(mean=4.0, positions=100) == (8.0, 2.0)
    assert kc.GammaPrior(shape=8.0, rate=3.0).shape_and_rate(mean=4.0, positions=100) == (8.0, 3.0)


def test_a_stronger_prior_holds_lambda_nearer_to_its_mean():
    ends = [float(kc.GammaPrior(strength=s).closed_form(np.zeros(1), 956.0, np.full(1, 4.0), shared=False)[0]) / 4
            for s in (0.1, 1.0, 10.0)]
    np.testing.assert_allclose(ends, [11.0, 2.0, 1.1], rtol=1e-2)


@pytest.mark.parametrize("name", ["mean", "strength", "rate", "shape"])
@pytest.mark.parametrize("wrong", [0, -1.0, "1", float("inf")])
def test_values_that_are_not_positive_are_refused(name, wrong):
    with pytest.raises(ValueError, match=f"`{name}` must be a positive finite number"):
        kc.GammaPrior(**{name: wrong})


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_config_gives_the_same_prior(options):
    prior = kc.GammaPrior(mean=2.0, **options)
    loaded = rate_priors.get(keras.saving.serialize_keras_object(prior))
    assert isinstance(loaded, kc.GammaPrior) and loaded.get_config() == prior.get_config()


def test_a_prior_without_closed_form_is_refused_where_it_is_needed():
    assert RatePrior().closed_form(np.ones(1), 10, np.ones(1), shared=False) is None
    with pytest.raises(ValueError, match="RatePrior has no `closed_form`.*lambda_learning='em'"):
        kc.CRsAE(2, 5, lambda_prior=RatePrior(), lambda_learning="em_closed_form")


def test_models_take_an_object_a_name_or_a_config():
    prior = kc.GammaPrior(strength=3.0)
    for spec in (prior, keras.saving.serialize_keras_object(prior)):
        assert kc.CRsAE(2, 5, lambda_prior=spec).lambda_prior.strength == 3.0
    assert kc.CRsAE(2, 5, lambda_prior="gamma").get_config()["lambda_prior"] == "gamma"
    with pytest.raises(ValueError, match="Expected a prior of lambda"):
        kc.CRsAE(2, 5, lambda_prior=3.0)
