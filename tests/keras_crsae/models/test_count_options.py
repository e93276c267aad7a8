"""Options of models of counts: what fits together, and what is refused with the way out."""

import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.models import count_options
from keras_crsae.problem import Binomial, Poisson


@pytest.mark.parametrize("options, words", [
    (dict(likelihood="poisson", trials=3), "divided by `exposure`"),
    (dict(trials=3), "likelihood='binomial'"),
    (dict(likelihood=Poisson(2.0), exposure=3), "brings its exposure along"),
    (dict(likelihood="poisson", exposure=-1.0), "`exposure`"),
    (dict(likelihood="binomial", trials=2.5), "`trials`"),
    (dict(likelihood="poisson", sigma="estimate"), r"variance of Poisson counts.*overdispersion"),
    (dict(likelihood="binomial", sigma_learning=True), "variance of Binomial counts"),
    (dict(likelihood="poisson", sigma=2.0), "`sigma` does not exist"),
    (dict(likelihood="poisson", active=True), "active"),
    (dict(baseline=1.0), "baseline belongs to counts"),
    (dict(likelihood="poisson", baseline=np.nan), "eta of the zero code"),
    (dict(likelihood="poisson", baseline="mean"), "eta of the zero code"),
    (dict(likelihood="poisson", baseline=[0.0, 1.0], baseline_scope="shared"), "one baseline for all channels"),
    (dict(likelihood="poisson", baseline=0.0, baseline_scope="signal"), "omit `baseline`"),
    (dict(likelihood="poisson", baseline_scope="trial"), "`baseline_scope` must be one of")])
def test_options_that_do_not_fit_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        kc.CRsAE(2, 9, **options)


@pytest.mark.parametrize("kind", [kc.Denoiser, kc.models.baselines.LCSC, kc.models.baselines.TLAE])
def test_models_of_gaussian_noise_refuse_counts(kind):
    with pytest.raises(ValueError, match="Gaussian noise.*CRsAE for counts"):
        kind(4, (5, 5), likelihood="poisson")


def test_a_name_and_a_size_are_an_object():
    assert count_options.as_likelihood("binomial", trials=25).size == 25
    model = kc.CRsAE(2, 9, likelihood="poisson", exposure=[[2.0, 4.0]])
    assert isinstance(model.likelihood, Poisson) and model.get_config()["likelihood"] != "poisson"
    assert kc.CRsAE.from_config(model.get_config()).likelihood.size.tolist() == [[2.0, 4.0]]
    assert isinstance(kc.CRsAE(2, 9, likelihood=Binomial(3)).likelihood, Binomial)


@pytest.mark.parametrize("likelihood, strength", [("gaussian", 1.0), ("poisson", 10.0), (Binomial(3), 10.0)])
def test_lambda_of_counts_stays_near_its_first_value_unless_a_prior_is_given(likelihood, strength):
    model = kc.CRsAE(2, 9, likelihood=likelihood)
    assert model.lambda_prior.strength == strength
    assert kc.CRsAE.from_config(model.get_config()).lambda_prior.strength == strength
    given = [kc.CRsAE(2, 9, likelihood=likelihood, lambda_prior=p) for p in ("gamma", kc.GammaPrior(strength=1.0))]
    assert [kc.CRsAE.from_config(m.get_config()).lambda_prior.strength for m in given] == [1.0, 1.0]


@pytest.mark.parametrize("scope", ["channel", "shared"])
def test_the_first_baseline_is_that_of_the_mean(rng, scope):
    counts = rng.poisson([0.2, 3.0], (6, 50, 2))
    exposure = np.array([1.0, 1.0, 1.0, 1.0, 2.0, 2.0])
    model = kc.CRsAE(2, 9, likelihood="poisson", baseline_scope=scope)
    model.adapt(counts, exposure=exposure)
    axes = (0, 1) if scope == "channel" else None
    mean = counts.sum(axis=axes) / (exposure.sum() * (50 if scope == "channel" else 100))
    np.testing.assert_allclose(np.exp(model.baseline.numpy()), np.broadcast_to(mean, (2,)), rtol=1e-5)


def test_a_given_baseline_is_kept(rng):
    model = kc.CRsAE(2, 9, likelihood="poisson", baseline=[-1.0, 0.5])
    model.adapt(rng.poisson(1.0, (3, 50, 2)))
    np.testing.assert_allclose(model.baseline.numpy(), [-1.0, 0.5])
    with pytest.raises(ValueError, match="one for each of 3 channels"):
        kc.CRsAE(2, 9, likelihood="poisson", baseline=[-1.0, 0.5]).build((None, None, 3))


@pytest.mark.parametrize("init", ["windows", "energy"])
def test_first_filters_come_from_counts_above_the_baseline(rng, init):
    counts = rng.poisson(5.0, (3, 50, 1))
    model = kc.CRsAE(2, 9, likelihood="poisson", seed=0)
    model.adapt(counts, init=init)
    assert np.abs(model.dictionary.kernel.numpy().sum(axis=0)).max() < 2.5  # windows of a constant would give 3
