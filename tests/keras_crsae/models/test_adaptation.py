"""First values that a model takes from data."""

import numpy as np
import pytest
from scipy.signal import fftconvolve

import keras_crsae as kc
from keras_crsae.initializers import donoho_lambda
from keras_crsae.models.adaptation import first_filters, resolve, resolve_counts
from keras_crsae.problem import Binomial, Exponential, Laplace, Poisson
from keras_crsae.problem.counts import means
from keras_crsae.problem.objective import null_residual


@pytest.fixture
def data(rng):
    return (3.0 * rng.standard_normal((4, 500, 1))).astype("float32")


def test_sigma_lambda_and_its_ceiling_follow_from_the_data(data, rng):
    filters = rng.standard_normal((9, 1, 3)).astype("float32")
    found = resolve(data, filters, (1,), "estimate", donoho=True)
    assert found.sigma == pytest.approx(3.0, rel=0.1)
    assert found.lambda_reg == pytest.approx(donoho_lambda(3, 492, found.sigma))
    assert found.lambda_ceiling == pytest.approx(0.5 * kc.lambda_max(data, filters) / found.sigma**2, rel=1e-5)
    assert resolve(data, filters, (1,), 2.0, donoho=False).lambda_reg is None


def test_missing_samples_have_no_part_in_the_ceiling(data, rng):
    filters, mask = rng.standard_normal((9, 1, 3)).astype("float32"), np.ones_like(data)
    loud = data.copy()
    loud[:, 100:140] = 1e3
    mask[:, 100:140] = 0
    found = resolve(loud, filters, (1,), 1.0, donoho=False, mask=mask).lambda_ceiling
    assert found == pytest.approx(0.5 * kc.lambda_max(loud * mask, filters), rel=1e-5)


def test_constant_data_have_no_noise_level():
    with pytest.raises(ValueError, match="noise level of zero"):
        resolve(np.ones((1, 50, 1), "float32"), np.ones((5, 1, 1), "float32"), (1,), "estimate", donoho=False)


@pytest.mark.parametrize("kind", ["dct", "windows", "energy"])
def test_first_filters_have_the_kernels_shape_and_the_same_seed_gives_the_same(data, kind):
    filters = first_filters(kind, data, (9,), 4, seed=1)
    assert filters.shape == (9, 1, 4)
    np.testing.assert_array_equal(filters, first_filters(kind, data, (9,), 4, seed=1))
    if kind != "dct":
        assert not np.array_equal(filters, first_filters(kind, data, (9,), 4, seed=2))


def test_adapt_changes_the_filters_only_on_request(data):
    model = kc.CRsAE(3, 9, seed=0)
    model.build((None, None, 1))
    before = np.array(model.dictionary.kernel)
    model.adapt(data)
    np.testing.assert_array_equal(model.dictionary.kernel, before)
    model.adapt(data, init="windows")
    assert np.abs(np.asarray(model.dictionary.kernel) - before).max() > 0.1
    with pytest.raises(ValueError, match="'dct', 'energy', 'windows'"):
        model.adapt(data, init="best")


def null_counts(rng, mean, size, trials=False, shape=(400, 300, 1)):
    return rng.binomial(size, mean / size, shape) if trials else rng.poisson(mean, shape)


@pytest.mark.parametrize("mean", [0.05, 0.5, 5.0, 50.0])
@pytest.mark.parametrize("likelihood, prior", [(Poisson(), Laplace()), (Poisson(25.0), Exponential()),
                                               (Binomial(60), Exponential())], ids=["one", "25", "binomial"])
def test_codes_of_null_counts_are_zero_in_at_least_nineteen_of_twenty_signals(likelihood, mean, prior, rng):
    """The optimal code is zero where no correlation of the zero code's residual exceeds the penalty weight."""
    counts = null_counts(rng, mean, likelihood.size, likelihood.bounded)
    filters = np.exp(-0.5 * ((np.arange(25)[:, None, None] - [8, 12, 15]) / [1.5, 3.0, 5.0]) ** 2)
    y, observed, dispersion = means(counts.astype("float32"), likelihood.size)
    baseline = np.asarray(likelihood.initial_baseline(y))
    found = resolve_counts(np.asarray(y), filters, (1,), likelihood, True, prior, dispersion, baseline, observed)
    left = np.asarray(null_residual(y, likelihood, observed, baseline, dispersion))[..., 0]
    filters /= np.linalg.norm(filters, axis=0)
    most = np.max([prior.dual_excess(fftconvolve(left, filters[::-1, 0, c][None], "valid", axes=1)) for c in range(3)],
                  axis=(0, 2))
    assert np.mean(most > found.lambda_reg) <= 0.05
    assert np.quantile(most, 0.9) > 0.55 * found.lambda_reg  # nor is it far above what is needed
    assert found.sigma**2 == pytest.approx(1 / likelihood.size)


def test_lambda_of_counts_is_the_largest_of_the_signals_and_the_ceiling_half_of_the_last(rng):
    filters, likelihood = rng.standard_normal((9, 2, 3)), Poisson()
    counts = rng.poisson(np.array([1.0, 30.0])[:, None, None] * np.ones((2, 200, 2)))
    y, observed, dispersion = means(counts.astype("float32"), np.array([1.0, 10.0])[:, None, None])
    baseline = np.asarray(likelihood.initial_baseline(y, 1 / np.asarray(dispersion)[:, None, None], (1,), True))
    each = [resolve_counts(np.asarray(y)[i], filters, (1,), likelihood, True, Laplace(), np.asarray(dispersion)[i],
                           baseline[i]) for i in (slice(2), slice(1), slice(1, 2))]
    assert each[0].lambda_reg == max(e.lambda_reg for e in each[1:]) == each[2].lambda_reg
    assert each[0].lambda_ceiling == pytest.approx(max(e.lambda_ceiling for e in each[1:]))
    expected = kc.lambda_max(counts[1:], filters, likelihood=Poisson(10.0), baseline=baseline[1:])
    assert each[2].lambda_ceiling == pytest.approx(0.5 * expected * 10, rel=1e-5)
    few = resolve_counts(np.asarray(y), filters, (1,), likelihood, False, Laplace(), dispersion, baseline[0, 0],
                         np.zeros(y.shape, "float32"))
    assert few.lambda_reg is None and few.lambda_ceiling == 0
