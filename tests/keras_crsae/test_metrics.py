"""Dictionary errors over order, sign and shift; PSNR."""

import math

import numpy as np
import pytest

from keras_crsae.metrics import dictionary_error, match_filters, psnr


def test_order_sign_and_shift_do_not_count(rng):
    true = np.zeros((30, 2, 3))
    true[10:20] = rng.standard_normal((10, 2, 3))
    order, signs, lags = [2, 0, 1], [-1, 1, -1], [3, -4, 0]
    learned = np.stack([s * np.roll(true[..., c], lag, axis=0)
                        for c, s, lag in zip(order, signs, lags, strict=True)], axis=-1)
    np.testing.assert_allclose(dictionary_error(true, learned), 0, atol=1e-6)
    match = match_filters(true, learned)
    assert match.true.tolist() == [0, 1, 2] and match.learned.tolist() == [1, 2, 0]
    assert match.signs.tolist() == [1, -1, -1] and match.lags[:, 0].tolist() == [4, 0, -3]
    np.testing.assert_allclose(match.correlations, 1)


def test_the_error_is_the_sine_of_the_angle_at_the_best_lag():
    true = np.zeros((9, 1, 1))
    true[4] = 1
    learned = np.zeros((9, 1, 1))
    learned[6:8, 0, 0] = 0.8, 0.6
    assert dictionary_error(true, learned) == pytest.approx(0.6)


def test_images_are_shifted_on_both_axes():
    true = np.zeros((6, 6, 1, 1))
    true[1:3, 1:3, 0, 0] = [[1, 2], [3, 4]]
    learned = np.roll(true, (2, 1), axis=(0, 1))
    assert match_filters(true, learned).lags.tolist() == [[-2, -1]]
    np.testing.assert_allclose(dictionary_error(true, learned), 0, atol=1e-6)


def test_each_learned_filter_serves_one_true_one(rng):
    true = rng.standard_normal((9, 1, 2))
    error = dictionary_error(true, true[..., :1])
    assert error[0] == pytest.approx(0, abs=1e-6) and error[1] == 1
    assert dictionary_error(true[..., :1], true).shape == (1,)


def test_filters_of_zero_match_nothing_and_other_shapes_are_refused():
    assert dictionary_error(np.ones((5, 1, 1)), np.zeros((5, 1, 1))).tolist() == [1.0]
    for other in (np.ones((5, 2, 1)), np.ones((5, 5, 1, 1)), np.ones((5, 1))):
        with pytest.raises(ValueError, match="same rank and channels"):
            dictionary_error(np.ones((5, 1, 1)), other)


def test_psnr_is_that_of_a_peak_of_one(rng):
    clean = rng.random((8, 8))
    noisy = clean + rng.normal(0, 0.1, clean.shape)
    assert psnr(clean, noisy) == pytest.approx(10 * math.log10(1 / np.mean((clean - noisy) ** 2)))
    assert psnr(clean, clean) == math.inf and psnr(np.zeros(4), np.full(4, 0.1)) == pytest.approx(20)
