"""Crops of counts: the noise is that of Poisson counts of the peak, each batch depends on its number alone."""

import numpy as np
import pytest

from keras_crsae.data.streams.photon_crops import count_crops, peak_range, photon_crops
from keras_crsae.problem.anscombe import ZERO, anscombe, anscombe_mean, inverse_anscombe


def batch(images, peak, start=0, count=8, seed=0):
    made, clean = next(iter(photon_crops(images, 32, count, peak, seed=seed, start=start)))
    return made["signal"].numpy(), made["sigma"].numpy(), clean.numpy()


def test_the_signal_is_transformed_counts_in_units_of_the_images_range():
    gray = np.full((64, 64, 1), 200, "uint8")
    gray[:, ::2] = 100
    signal, sigma, clean = batch([gray], 3.0)
    assert clean.max() == 1 and sorted(set(clean.ravel().tolist())) == [0.5, 1]
    np.testing.assert_allclose(sigma, 1 / (anscombe(3.0) - ZERO), rtol=1e-5)
    counts = ((signal / sigma[:, None, None, None] + ZERO) / 2) ** 2 - 3 / 8
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-3)
    for level in (0.5, 1.0):
        found = signal[clean == level]
        expected = (anscombe_mean(3 * level) - ZERO) * sigma[0]
        assert abs(found.mean() - expected) < 5 * found.std() / np.sqrt(found.size)
        assert float(inverse_anscombe(found.mean() / sigma[0] + ZERO)) == pytest.approx(3 * level, rel=0.05)


def test_peaks_of_a_range_are_even_in_their_logarithm():
    batches = photon_crops([np.ones((40, 40, 1))], 32, 8, (1, 8)).take(40)
    sigma = np.concatenate([made["sigma"] for made, _ in batches])
    peak = ((ZERO + 1 / sigma) / 2) ** 2 - 3 / 8
    assert peak.min() >= 0.999 and peak.max() <= 8.001
    assert np.mean(peak < np.sqrt(8)) == pytest.approx(0.5, abs=0.12)


def test_a_batch_depends_on_seed_and_number_alone():
    images = [np.random.default_rng(0).random((50, 60, 1))]
    first, again, other, seeded = (batch(images, (1, 8), start=i, seed=s) for i, s in ((3, 0), (3, 0), (4, 0), (3, 1)))
    np.testing.assert_array_equal(first[0], again[0])
    assert np.any(first[0] != other[0]) and np.any(first[0] != seeded[0])


def test_invalid_peaks_and_black_images_are_refused():
    assert peak_range(4) == (4, 4) and peak_range([1, 8]) == (1, 8)
    for peak in (0, -1, (8, 1), (1, 2, 3), None):
        with pytest.raises(ValueError, match="peak"):
            peak_range(peak)
    with pytest.raises(ValueError, match="Image 1 is black"):
        photon_crops([np.ones((40, 40, 1)), np.zeros((40, 40, 1))], 32, 2, 4)


def test_counts_as_they_are_belong_to_the_same_crops():
    images = [np.random.default_rng(0).random((50, 60, 1))]
    counts, rate = next(iter(count_crops(images, 32, 4, (1, 8), seed=2, start=5)))
    signal, sigma, clean = batch(images, (1, 8), start=5, count=4, seed=2)
    peak = counts["exposure"].numpy()
    np.testing.assert_allclose(sigma, 1 / (anscombe(peak) - ZERO), rtol=1e-5)
    np.testing.assert_allclose(rate, peak[:, None, None, None] * clean, rtol=1e-6)
    expected = (anscombe(counts["signal"].numpy()) - ZERO) * sigma[:, None, None, None]
    np.testing.assert_allclose(signal, expected, atol=1e-5)
