"""First lambdas and sample weights: what is taken, in which form, and what is refused."""

import numpy as np
import pytest

from keras_crsae._validation import as_lambda, as_sample_weight, as_unit_filters, with_observed

SIGNAL = np.zeros((2, 50, 3), np.float32)


@pytest.mark.parametrize("value, shared, expected", [
    ("donoho", False, "donoho"), (2, False, 2.0), (np.float32(0.5), True, 0.5), ([1, 2, 3], False, [1.0, 2.0, 3.0]),
    (np.array([4.0]), False, [4.0]), ([3, 3, 3], True, 3.0)])
def test_a_first_lambda_is_a_word_a_number_or_one_a_filter(value, shared, expected):
    assert as_lambda(value, 3, shared) == expected


@pytest.mark.parametrize("value", ["high", 0, -1, np.nan, np.inf, None, [1, 2], [1, -2, 3], [[1, 2, 3]], {}])
def test_other_lambdas_are_refused(value):
    with pytest.raises(ValueError, match="`lambda_init` must be 'donoho', a positive number or one a filter"):
        as_lambda(value, 3, shared=False)


def test_several_lambdas_cannot_be_shared():
    with pytest.raises(ValueError, match="lambda_shared=True.*several"):
        as_lambda([1, 2, 3], 3, shared=True)


@pytest.mark.parametrize("weight, shape", [
    ([1.0, 2.0], (2,)), (np.ones((2, 1)), (2,)), (np.ones((2, 50)), (2, 50, 1)),
    (np.ones((2, 50, 3), bool), (2, 50, 3)),
    (np.ones((2, 1, 3)), (2, 1, 3))])
def test_a_weight_is_one_a_signal_or_a_mask(weight, shape):
    result = as_sample_weight(weight, SIGNAL)
    assert result.shape == shape and result.dtype == np.float32


def test_no_weight_stays_none():
    assert as_sample_weight(None, SIGNAL) is None


@pytest.mark.parametrize("weight, words", [
    ([1.0, np.nan], "finite"), (["a", "b"], "finite real numbers"), ([0.0, 0.0], "at least one positive"),
    ([1.0, -1.0], "non-negative"), (np.ones(3), r"weights of shape \(2,\). Received: shape \(3,\)"),
    (np.ones((1, 50, 3)), "0/1 mask of the data's shape"),
    (np.full((2, 50, 3), 0.5), "0 or 1. Received values from 0.5"),
    (np.zeros((2, 50, 3)), "every sample as missing")])
def test_other_weights_are_refused_by_name(weight, words):
    with pytest.raises(ValueError, match=words) as caught:
        as_sample_weight(weight, SIGNAL, "mask")
    assert "`mask`" in str(caught.value)


def test_filters_are_put_on_the_unit_sphere(rng):
    filters = as_unit_filters(rng.integers(1, 9, (5, 1, 3)), (5, None, 3))
    assert filters.dtype == np.float32
    np.testing.assert_allclose(np.square(filters).sum(axis=(0, 1)), 1, rtol=1e-6)
    for bad, words in ((np.zeros((5, 1, 3)), "none of them all zero"), (np.ones((4, 1, 3)), r"\(5, 'any', 3\)"),
                       (np.ones((5, 1, 3), complex), "real numbers"), (np.full((5, 1, 3), np.nan), "finite")):
        with pytest.raises(ValueError, match=words):
            as_unit_filters(bad, (5, None, 3))


def test_the_mask_of_a_masked_array_joins_the_mask_that_is_given():
    signal, observed = np.zeros((2, 3, 1)), np.array([[[1], [0], [1]], [[1], [1], [1]]], bool)
    given = np.array([[1, 1, 1], [0, 1, 1]])
    assert with_observed(given, None, signal) is given
    assert with_observed(None, observed, signal).dtype == np.float32
    np.testing.assert_array_equal(with_observed(given, observed, signal)[..., 0], [[1, 0, 1], [0, 1, 1]])
    with pytest.raises(ValueError, match=r"takes the place of `sample_weight`.*shape \(2,\)"):
        with_observed([1.0, 2.0], observed, signal)


def test_masked_values_of_what_takes_no_mask_are_refused():
    masked = np.ma.masked_equal([[[1.0]], [[0.0]]], 0.0)
    with pytest.raises(ValueError, match="`sample_weight` is a masked array"):
        as_sample_weight(masked, np.zeros((2, 1, 1)))
    with pytest.raises(ValueError, match="`filters` is a masked array"):
        as_unit_filters(masked, (2, 1, 1))
