"""Lambda of null data: exact tails where they can be computed."""

import math

import numpy as np
import pytest
from scipy import stats

from keras_crsae.problem import Binomial, Gaussian, Poisson
from keras_crsae.problem.null_values import null_lambda

ONE_TAP = np.array([0.0, 1.0, 0.0]).reshape(3, 1, 1)


@pytest.mark.parametrize("signed", [False, True])
def test_for_the_gaussian_it_is_donohos_but_for_the_margin(signed, rng):
    filters = rng.standard_normal((9, 2, 3))
    filters /= np.linalg.norm(filters, axis=(0, 1))
    found = null_lambda(Gaussian(), filters, 500, 0.0, 1 / 0.3**2, signed)
    assert found == pytest.approx(math.sqrt(2 * math.log(4 * 1500 * (2 if signed else 1))) / 0.3, rel=1e-5)


@pytest.mark.parametrize("rate", [1e-3, 0.05, 1.0, 50.0, 1e3])
def test_counts_of_one_sample_pass_it_as_seldom_as_chernoff_says(rate):
    """The filter is one tap, so that a correlation is a count."""
    found = null_lambda(Poisson(), ONE_TAP, 1000, np.log([rate]), 1.0)
    assert stats.poisson.sf(found + rate, rate) <= 1 / 4000
    assert stats.poisson.sf(0.8 * found + rate - 1, rate) > 1 / 4000
    trials = 2000
    found = null_lambda(Binomial(), ONE_TAP, 1000, np.log([rate / (trials - rate)]), trials)
    assert stats.binom.sf(found + rate, trials, rate / trials) <= 1 / 4000
    assert stats.binom.sf(0.8 * found + rate - 1, trials, rate / trials) > 1 / 4000


def test_what_no_count_can_pass_is_the_largest_possible():
    assert null_lambda(Binomial(), ONE_TAP, 1000, 0.0, 3.0) == pytest.approx(1.5)


def test_of_many_signals_the_one_that_varies_most_counts(rng):
    filters = rng.standard_normal((9, 2, 3))
    filters /= np.linalg.norm(filters, axis=(0, 1))
    baseline, size = rng.normal(-1, 1, (18, 1, 2)), rng.uniform(1, 9, 18)
    varied = np.argsort(size * np.exp(baseline).max(axis=(1, 2)))[-3:]
    each = [null_lambda(Poisson(), filters, 500, baseline[i], size[i]) for i in varied]
    assert null_lambda(Poisson(), filters, 500, baseline, size) == pytest.approx(max(each))
    assert null_lambda(Poisson(), filters, 500, baseline[:1], size) == pytest.approx(
        null_lambda(Poisson(), filters, 500, baseline[0], size.max()))
