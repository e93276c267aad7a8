"""Poisson and binomial likelihoods against SciPy, and what the iteration relies on."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy import optimize, special, stats

from keras_crsae.problem import Binomial, Poisson, likelihoods

MAKE = {"poisson": Poisson, "binomial": Binomial}
FUNCTIONS = {"poisson": (np.exp, np.exp), "binomial": (lambda e: np.logaddexp(0, e), special.expit)}


@pytest.fixture(params=MAKE)
def kind(request):
    return request.param


def draw(kind, rng, size, shape=(3, 40, 2)):
    """Counts and natural parameters."""
    eta = rng.normal(-0.5, 1.0, shape)
    size = np.broadcast_to(size, shape)
    mean = size * FUNCTIONS[kind][1](eta)
    counts = rng.poisson(mean) if kind == "poisson" else rng.binomial(size.astype(int), special.expit(eta))
    return counts.astype(float), eta


def log_pmf(kind, counts, eta, size):
    return stats.poisson.logpmf(counts, size * np.exp(eta)) if kind == "poisson" else \
        stats.binom.logpmf(counts, size, special.expit(eta))


@pytest.mark.parametrize("size", [1, 25, np.array([[3], [7]]).repeat(20, 0)], ids=["1", "25", "one a sample"])
def test_the_log_likelihood_is_scipys_and_the_value_differs_by_terms_of_the_counts_alone(kind, size, rng):
    counts, eta = draw(kind, rng, size)
    likelihood = MAKE[kind](size)
    expected = log_pmf(kind, counts, eta, size)
    np.testing.assert_allclose(likelihood.log_likelihood(counts, eta), expected, atol=1e-10)
    np.testing.assert_allclose(MAKE[kind]().log_likelihood(counts, ops.convert_to_tensor(eta), size), expected,
                               atol=1e-10)
    other = eta + rng.normal(size=eta.shape)
    change = log_pmf(kind, counts, other, size) - expected
    values = [size * np.asarray(likelihood.value(counts / size, e)) for e in (eta, other)]
    np.testing.assert_allclose(values[0] - values[1], change, atol=1e-10)


def test_sizes_of_a_call_may_be_one_a_signal(kind, rng):
    counts, eta = draw(kind, rng, np.array([4, 5, 6])[:, None, None])
    np.testing.assert_allclose(MAKE[kind]().log_likelihood(counts, eta, [4, 5, 6])[2],
                               log_pmf(kind, counts[2], eta[2], 6), atol=1e-10)


def test_one_trial_is_logistic_regression(rng):
    y, eta = (rng.random((2, 9, 1)) < 0.3).astype(float), 3 * rng.standard_normal((2, 9, 1))
    np.testing.assert_allclose(Binomial().value(y, eta), np.log1p(np.exp(np.where(y > 0, -eta, eta))), rtol=1e-12)
    np.testing.assert_allclose(-Binomial(1).log_likelihood(y, eta), Binomial(1).value(y, eta), rtol=1e-10)


def test_mean_and_variance_are_derivatives_of_the_log_partition(kind, rng):
    likelihood, eta = MAKE[kind](), rng.normal(0, 2, 50)
    for derivative, of in ((likelihood.mean, likelihood.log_partition), (likelihood.variance, likelihood.mean)):
        slope = (np.asarray(of(eta + 1e-5)) - np.asarray(of(eta - 1e-5))) / 2e-5
        np.testing.assert_allclose(derivative(eta), slope, rtol=1e-6)
    np.testing.assert_allclose(likelihood.link(likelihood.mean(eta)), eta, atol=1e-9)


def test_values_far_out_are_finite():
    eta = np.array([-90.0, -20.0, 0.0, 20.0, 80.0], "float32")
    for y in (0.0, 1.0):
        for name in ("value", "residual"):
            assert np.isfinite(getattr(Binomial(), name)(np.full(5, y, "float32"), eta)).all()
            assert np.isfinite(getattr(Poisson(), name)(np.full(5, y, "float32"), eta)).all()


@pytest.mark.parametrize("eta", [-12.0, -3.0, 0.0, 0.7, 6.0, 12.0])
def test_the_divergence_keeps_its_digits_in_single_precision(kind, eta):
    """Differences of values in float32 are off by more than themselves for changes below 1e-3."""
    change = np.concatenate([s * np.logspace(-8, 2, 201) for s in (1, -1)])
    change = change[np.maximum(eta, 0) + change < 85].astype("float32")  # beyond, e^change is infinite: refused
    eta = np.full_like(change, eta)
    found = np.asarray(MAKE[kind]().bregman(np.zeros_like(change), eta, change))
    exact = exact_divergence(kind, eta.astype("longdouble"), change.astype("longdouble"))
    assert found.dtype == np.float32 and (found >= 0).all()
    normal = exact > 1e-36
    np.testing.assert_allclose(found[normal], exact[normal].astype(float), rtol=2e-4)
    assert (found[~normal] < 1e-35).all()


def exact_divergence(kind, eta, d):
    """By sum of the Taylor series where terms cancel, in extended precision."""
    if kind == "poisson":
        series = sum(d**k / special.factorial(k) for k in range(2, 12))
        return np.exp(eta) * np.where(abs(d) < 0.05, series, np.expm1(d) - d)
    nodes, weights = np.polynomial.legendre.leggauss(60)  # integral of (change - s) A''(eta + s) over s
    if abs(d).max() > 1:  # short pieces
        return np.array([_integral(e, x, nodes, weights) for e, x in zip(eta, d, strict=True)])
    return _integral(eta[0], d, nodes, weights)


def _integral(eta, change, nodes, weights, pieces=64):
    edges = np.linspace(0, 1, pieces + 1)
    s = (edges[:-1, None] + (nodes + 1) / 2 / pieces).ravel().astype("longdouble")
    w = np.tile(weights / 2 / pieces, pieces)
    at = eta + change * s
    return change**2 * np.sum(w * (1 - s) / ((1 + np.exp(at)) * (1 + np.exp(-at))))


def test_the_divergence_is_that_of_the_values(kind, rng):
    likelihood, (counts, eta) = MAKE[kind](), draw(kind, rng, 1)
    change = rng.standard_normal(eta.shape)
    direct = likelihood.value(counts, eta + change) - likelihood.value(counts, eta) + \
        likelihood.residual(counts, eta) * change
    np.testing.assert_allclose(likelihood.bregman(counts, eta, change), direct, rtol=1e-3, atol=1e-12)


def weighed(kind, rng, zeros=False):
    """Counts with sizes of their own and missing samples: y, Dx, weight."""
    size = rng.integers(1, 9, (3, 40, 2)) * (rng.random((3, 40, 2)) > 0.2)
    counts, eta = draw(kind, rng, size)
    counts = 0 * counts if zeros else counts
    y = np.divide(counts, size, out=np.zeros_like(counts), where=size > 0)
    return y, np.maximum(eta, 0), size.astype(float)


@pytest.mark.parametrize("axes", [(0, 1), (1,), (0, 1, 2)], ids=["one a channel", "one a signal", "shared"])
def test_baseline_updates_reach_the_best_baseline_and_never_rise(kind, axes, rng):
    likelihood, (y, eta, weight) = MAKE[kind](), weighed(kind, rng)
    partition, _ = FUNCTIONS[kind]

    def objective(mu):
        return np.sum(weight * (partition(eta + mu) - y * mu), axis=axes, keepdims=True)

    baseline = np.asarray(likelihood.initial_baseline(y, weight, axes, keepdims=True)) + 3.0
    values = [objective(baseline)]
    for _ in range(30 if kind == "binomial" else 1):
        baseline = np.asarray(likelihood.baseline_update(y, eta + baseline, baseline, weight, axes, keepdims=True))
        values.append(objective(baseline))
        assert (values[-1] <= values[-2] + 1e-9).all()
    for place in np.ndindex(baseline.shape):
        best = optimize.minimize_scalar(
            lambda mu, place=place: np.broadcast_to(objective(mu), baseline.shape)[place], (-3, 0)).fun
        assert values[-1][place] == pytest.approx(best, abs=1e-7)


def test_sums_of_replicas_give_the_baseline_of_the_whole_batch(kind, rng):
    likelihood, (y, eta, weight) = MAKE[kind](), weighed(kind, rng)
    mu = np.array([0.3, -0.2])
    whole = likelihood.baseline_update(y, eta + mu, mu, weight, (0, 1))
    parts = [likelihood.baseline_statistics(y[i], eta[i] + mu, weight[i], (0, 1)) for i in (slice(2), slice(2, 3))]
    np.testing.assert_allclose(likelihood.baseline_from(mu, tuple(a + b for a, b in zip(*parts, strict=True))), whole)


def test_the_first_baseline_is_the_link_of_the_mean(kind, rng):
    y, _, weight = weighed(kind, rng)
    mean = np.sum(weight * y, axis=(0, 1)) / weight.sum(axis=(0, 1))
    np.testing.assert_allclose(FUNCTIONS[kind][1](MAKE[kind]().initial_baseline(y, weight)), mean)


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_silent_full_and_missing_data_leave_a_finite_baseline(kind, fill):
    likelihood, y = MAKE[kind](10), np.full((2, 50, 1), fill)
    start = np.asarray(likelihood.initial_baseline(y))
    mean = FUNCTIONS[kind][1](start)
    least = 0.5 / 1000
    np.testing.assert_allclose(mean, least if fill == 0 else 1.0 if kind == "poisson" else 1 - least)
    mu = start
    for _ in range(50):
        mu = np.asarray(likelihood.baseline_update(y, mu + np.zeros_like(y), mu, np.full_like(y, 10), (0, 1)))
    np.testing.assert_allclose(mu, start, atol=1e-6)
    nothing = np.zeros_like(y)
    assert float(likelihood.baseline_update(y, nothing + 5.0, np.array([5.0]), nothing, (0, 1))[0]) == 5.0
    assert float(likelihood.initial_baseline(y, nothing)[0]) == 0.0


def test_the_first_curvature_is_one_number_a_signal(rng):
    y = rng.poisson(3.0, (2, 30, 1)).astype("float32")
    y[0] = 0
    found = np.asarray(Poisson().start_curvature(y, np.log(0.01)))
    np.testing.assert_allclose(found, [0.01, y[1].max() / 2], rtol=1e-5)
    np.testing.assert_allclose(Poisson().start_curvature(y, np.log([[[2.0]], [[50.0]]])), [2, 50], rtol=1e-5)
    found = np.asarray(Poisson().start_curvature(y, np.float32([-3.0])))  # one a channel
    np.testing.assert_allclose(found, [np.exp(-3), y[1].max() / 2], rtol=1e-5)
    varying = np.log(np.broadcast_to([[[2.0]], [[50.0]]], y.shape)).astype("float32")  # one a sample, such as a PSTH
    np.testing.assert_allclose(Poisson().start_curvature(y, varying), [2, 50], rtol=1e-5)
    np.testing.assert_array_equal(Binomial().start_curvature(y, 0.0), [0.25, 0.25])
    np.testing.assert_array_equal(likelihoods.get("gaussian").start_curvature(y, 0.0), [1, 1])


@pytest.mark.parametrize("size", [3, [[1], [2], [0]]], ids=["number", "array"])
def test_sizes_are_saved_and_the_dispersion_is_one_over_the_largest(kind, size):
    made = MAKE[kind](size)
    loaded = likelihoods.get(keras.saving.serialize_keras_object(made))
    assert type(loaded) is MAKE[kind] and loaded.get_config() == made.get_config()
    np.testing.assert_array_equal(loaded.size, made.size)
    assert made.dispersion(7.0) == pytest.approx(1 / np.max(size))
    assert likelihoods.serialize(MAKE[kind]()) == kind and not made.quadratic
    assert made.size_name == {"poisson": "exposure", "binomial": "trials"}[kind]


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), "many", [0, 0], [1, -2]])
def test_sizes_that_are_none_are_refused_when_the_likelihood_is_made(kind, wrong):
    with pytest.raises(ValueError, match="`(exposure|trials)` must (be a number|hold finite).*Received"):
        MAKE[kind](wrong)


def test_trials_are_whole_and_exposures_need_not_be():
    with pytest.raises(ValueError, match="`trials` must hold finite whole numbers above 0.*Received: 2.5"):
        Binomial(2.5)
    assert Poisson(2.5).size == 2.5


def test_what_accepts_a_step_is_near_the_divergence_and_never_small_where_that_is_large():
    d = np.linspace(-30, 30, 1201)
    found = np.asarray(Poisson().step_excess(None, np.zeros_like(d), d))
    share = np.divide(found, np.expm1(d) - d, out=np.ones_like(d), where=d != 0)
    assert np.abs(share[np.abs(d) <= 3] - 1).max() < 0.04 and share.min() > 0.9
    np.testing.assert_allclose(share[np.abs(d) <= 0.5], 1, atol=1e-3)
    for largest in (-3.0, 0.0, 2.0, 12.0):  # of the mean 1
        factor = float(Poisson().excess_factor(np.float32(largest)))
        inside = d[d <= largest]
        assert (found[d <= largest] <= 0.5 * factor * inside**2 * (1 + 1e-6)).all()
