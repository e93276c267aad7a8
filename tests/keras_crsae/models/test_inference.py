"""What models of counts give: means, linear parts, over-dispersion, convergence."""

import numpy as np
import pytest

import keras_crsae as kc


@pytest.fixture(scope="module")
def counts():
    return np.random.default_rng(0).poisson(0.7, (4, 60, 2))


def fitted(counts, **options):
    model = kc.CRsAE(2, 9, iterations=30, likelihood="poisson", seed=0, lambda_init=0.5, **options)
    model.adapt(counts)
    return model


@pytest.mark.parametrize("scope", ["channel", "shared", "signal"])
def test_the_mean_is_the_inverse_link_of_the_linear_part(counts, scope):
    model = fitted(counts, baseline_scope=scope)
    mean, eta = model.mean(counts), model.linear(counts)
    np.testing.assert_allclose(mean, np.exp(eta), rtol=1e-5)
    np.testing.assert_allclose(model.reconstruct(counts), mean)
    np.testing.assert_allclose(model(counts), mean, rtol=1e-4)
    np.testing.assert_allclose(model.predict(counts, verbose=0), mean, rtol=1e-4)
    baseline = eta - model.separate(counts).sum(axis=-1)
    expected = np.ptp(baseline, axis=1 if scope == "signal" else (0, 1))
    np.testing.assert_allclose(expected, 0, atol=1e-5)
    if scope == "shared":
        assert np.ptp(baseline) < 1e-5


def test_decode_gives_the_mean(counts):
    model = fitted(counts)
    np.testing.assert_allclose(model.decode(model.encode(counts)), model.mean(counts), rtol=1e-5)
    zero = model.decode(np.zeros((1, 52, 2)))
    np.testing.assert_allclose(zero, np.broadcast_to(np.exp(model.baseline.numpy()), zero.shape), rtol=1e-6)
    with pytest.raises(ValueError, match="mean"):
        fitted(counts, baseline_scope="signal").decode(np.zeros((1, 52, 2)))


def test_times_more_exposure_is_the_same_code_at_so_many_times_lambda(counts):
    """F = (1 / e) [sum NLL(counts) + lambda p]: e times the counts at e times the exposure and e times lambda."""
    one, three = fitted(counts), fitted(counts)
    three.lambda_reg.assign(3 * one.lambda_reg.value)
    np.testing.assert_allclose(three.encode(3 * counts, exposure=3.0), one.encode(counts), atol=1e-4)


@pytest.mark.parametrize("spread, expected", [(0.0, 1.0), (1.0, 1.7)])
def test_overdispersion_is_found(spread, expected):
    rng = np.random.default_rng(0)
    rate = 0.7 if not spread else rng.gamma(1 / spread, 0.7 * spread, (8, 300, 1))
    counts = rng.poisson(rate, (8, 300, 1))
    model = kc.CRsAE(1, 9, iterations=10, likelihood="poisson", lambda_init=50.0, seed=0)
    model.adapt(counts)
    assert model.overdispersion(counts) == pytest.approx(expected, abs=0.15)
    with pytest.raises(ValueError, match="no counts|that of counts"):
        kc.CRsAE(1, 9).overdispersion(counts)


@pytest.mark.parametrize("options", [dict(likelihood="poisson"), dict(likelihood="binomial", trials=9),
                                     dict(likelihood="poisson", baseline_scope="signal")])
def test_the_gap_closes(counts, options):
    model = kc.CRsAE(2, 9, iterations=300, seed=0, lambda_init=0.5, **options)
    model.adapt(counts)
    found = model.convergence(counts)
    assert (found.remaining < 0.02).all() and (found.objective > 0).all()
