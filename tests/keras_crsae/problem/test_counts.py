"""Counts are checked, divided by their size, and compared with what their model says of their variance."""

import numpy as np
import pytest
from keras import ops

from keras_crsae.problem import Binomial, Poisson, pearson_dispersion
from keras_crsae.problem.counts import means

COUNTS = np.array([[0, 3, 1], [2, 0, 5]])[..., None]


@pytest.mark.parametrize("kind", ["uint8", "int64", "float32", "float64"])
def test_counts_of_any_type_pass(kind):
    Poisson().check_counts(COUNTS.astype(kind))
    Binomial(5).check_counts(COUNTS.astype(kind))
    Binomial(1).check_counts(COUNTS > 2)
    Binomial(25).check_counts((np.float32(7) / np.float32(25)) * np.full((1, 4, 1), np.float32(25)))


CASES = {
    "negative": (Poisson(), COUNTS - 1.0, "whole numbers from 0.*no mean subtracted.*Received: -1 at \\(0, 0, 0\\), 2"),
    "negative integers": (Binomial(9), COUNTS - 1, "whole numbers from 0.*Received: -1"),
    "fractional": (Poisson(), COUNTS + 0.25, "whole numbers from 0.*rates times exposure.*likelihood='gaussian'"),
    "not a number": (Poisson(), COUNTS * np.nan, "whole numbers from 0"),
    "proportions": (Binomial(5), COUNTS / 5, ".*look like proportions: give the counts, proportions times trials"),
    "rates": (Poisson(4.0), COUNTS / 4, ".*look like rates: give the counts, rates times exposure"),
    "too many": (Binomial(4), COUNTS, "at most the number of trials.*Received: 5 at \\(1, 2, 0\\), 1 such of 6"),
    "where nothing was exposed": (Poisson([[1.0], [0.0], [1.0]]), COUNTS, "0 where the exposure is 0.*Received: 3"),
    "events without a trial": (Binomial([[1], [0], [1]]), COUNTS > 2, "at most the number of trials.*Received: 1"),
    "complex": (Poisson(), COUNTS * 1j, "whole numbers from 0.*complex"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_count_is_refused_with_the_way_out(case):
    likelihood, data, message = CASES[case]
    with pytest.raises(ValueError, match=f"`signal` must hold counts: {message}"):
        likelihood.check_counts(data)


def test_missing_samples_may_hold_anything():
    data, observed = COUNTS.astype(float), np.ones(COUNTS.shape)
    data[0, 1], observed[0, 1] = -1, 0
    Poisson().check_counts(data, observed=observed)
    with pytest.raises(ValueError, match="`y` must hold counts"):
        Poisson().check_counts(data, name="y")


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [4.0, [[[2.0]], [[5.0]]], [[[2.0], [0.0], [4.0]]]], ids=["all", "signal", "sample"])
def test_means_dispersion_and_weights_are_those_of_the_definitions(size, masked):
    observed = np.array([[1, 0, 1], [1, 1, 1.0]])[..., None] if masked else None
    sizes = np.broadcast_to(size, COUNTS.shape) * (1.0 if observed is None else observed)
    found = means(ops.convert_to_tensor(COUNTS.astype("float64")), np.asarray(size),
                  None if observed is None else ops.convert_to_tensor(observed))
    y = np.divide(COUNTS, sizes, out=np.zeros(COUNTS.shape), where=sizes > 0)
    np.testing.assert_allclose(found.y, y)
    weight = np.broadcast_to(found.weight, COUNTS.shape)
    np.testing.assert_allclose(weight, sizes)
    np.testing.assert_allclose(found.dispersion, 1 / sizes.max(axis=(1, 2)))
    assert (found.observed is None) == (observed is None and np.asarray(size).shape[1:] in ((), (1, 1)))


def test_over_dispersion_is_one_for_the_model_and_more_for_counts_that_vary_more(rng):
    rate = np.exp(rng.normal(0, 0.5, (4, 5000, 1)))
    assert pearson_dispersion(Poisson(2.0), rng.poisson(2 * rate), np.log(rate)) == pytest.approx(1, abs=0.05)
    assert pearson_dispersion(Poisson(), rng.poisson(rate * rng.gamma(2, 0.5, rate.shape)), np.log(rate)) > 1.3
    eta = np.log(rate)
    trials = np.array([5, 10, 15, 20])
    counts = rng.binomial(trials[:, None, None], 1 / (1 + 1 / rate))
    observed = np.arange(5000)[:, None] % 2
    assert pearson_dispersion(Binomial(), counts, eta, trials, observed=observed) == pytest.approx(1, abs=0.05)
    whole = pearson_dispersion(Binomial(20), counts, eta)
    assert pearson_dispersion(Binomial(20), counts, eta, nonzeros=10000) == pytest.approx(2 * whole)
    assert np.isnan(pearson_dispersion(Binomial(20), counts, eta, observed=0))
