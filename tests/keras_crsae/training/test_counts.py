"""Counts at the door: sizes, and the means that the encoder works on."""

import numpy as np
import pytest
from keras import ops

from keras_crsae.problem import Binomial, Gaussian, Poisson
from keras_crsae.training import counts

COUNTS = np.array([[[0.0], [2.0], [5.0]], [[1.0], [0.0], [3.0]]], "float32")


@pytest.mark.parametrize("likelihood, given, words", [
    (Gaussian(), {"trials": 3}, "likelihood='binomial'"), (Gaussian(), {"exposure": 3}, "likelihood='poisson'"),
    (Poisson(), {"trials": 3}, "divided by `exposure`"), (Binomial(), {"exposure": 3}, "divided by `trials`")])
def test_the_size_of_another_likelihood_is_refused(likelihood, given, words):
    with pytest.raises(ValueError, match=words):
        counts.given_size(likelihood, **given)


@pytest.mark.parametrize("size, shape", [(5, (2, 1, 1)), ([5, 6], (2, 1, 1)), (np.full((2, 3), 5), (2, 3, 1)),
                                         (np.full((3, 1), 5), (2, 3, 1))])
def test_a_size_of_a_call_has_the_axes_of_the_counts(size, shape):
    assert counts.as_call_size(Binomial(), size, COUNTS.shape).shape == shape


@pytest.mark.parametrize("size", [[5, 6, 7, 8], -1, 2.5, np.nan])
def test_a_size_that_does_not_fit_is_refused(size):
    with pytest.raises(ValueError, match="`trials`"):
        counts.as_call_size(Binomial(), size, COUNTS.shape)


def test_counts_are_divided_and_their_samples_weighed():
    plain = counts.as_means(Poisson(exposure=2.0), ops.array(COUNTS))
    np.testing.assert_allclose(plain.signal, COUNTS / 2)
    assert plain[1:] == (None, None, None)  # nothing that would slow the encoder down
    size = np.array([[[1.0], [2.0], [4.0]], [[8.0], [8.0], [0.0]]], "float32")
    counted = COUNTS * (size > 0)
    found = counts.as_means(Poisson(), ops.array(counted), size)
    np.testing.assert_allclose(found.signal, np.where(size > 0, counted / np.maximum(size, 1), 0))
    np.testing.assert_allclose(found.observed, size / [[[4.0]], [[8.0]]])
    np.testing.assert_allclose(found.dispersion, [0.25, 0.125])
    np.testing.assert_allclose(found.size, [4, 8])


def test_what_cannot_be_a_count_is_nan_unless_it_is_missing():
    wrong = ops.array([[[-1.0], [0.5], [4.0], [3.0]]])
    found = ops.convert_to_numpy(counts.as_means(Binomial(trials=3), wrong).signal)
    np.testing.assert_array_equal(np.isnan(found).ravel(), [True, True, True, False])
    seen = ops.array([[[0.0], [0.0], [0.0], [1.0]]])
    found = counts.as_means(Binomial(trials=3), wrong, None, seen).signal
    np.testing.assert_allclose(found.numpy().ravel(), [0, 0, 0, 1])


def test_expected_counts_need_not_be_whole():
    np.testing.assert_allclose(counts.divided(Binomial(4), ops.array([[[0.5]]])), [[[0.125]]])


def test_data_that_are_no_counts_stay_as_they_are():
    signal = ops.array(COUNTS - 0.5)
    assert counts.as_means(Gaussian(), signal) == (signal, None, None, None)
