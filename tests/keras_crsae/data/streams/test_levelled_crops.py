"""Crops in the images' unit come with their noise level, of any kind of noise."""

import numpy as np
import pytest
import tensorflow as tf

from keras_crsae.data.streams.levelled_crops import levelled_crops
from keras_crsae.data.streams.noisy_crops import noisy_crops


def first(data):
    signal, target, weight = next(iter(data))
    return tuple(np.asarray(part) for part in (signal["signal"], signal["sigma"], target, weight))


@pytest.fixture
def images(rng):
    return [rng.random((40, 50, 1)).astype("float32"), rng.random((36, 33, 1)).astype("float32")]


def test_they_are_the_noisy_crops_in_another_unit(images):
    noisy, clean = next(iter(noisy_crops(images, 24, 8, sigma=(0.1, 0.4), seed=3, start=2)))
    signal, sigma, target, weight = first(levelled_crops(images, 24, 8, sigma=(0.1, 0.4), seed=3, start=2))
    np.testing.assert_allclose(signal / sigma[:, None, None, None], noisy, atol=1e-5)
    np.testing.assert_allclose(target / sigma[:, None, None, None], clean, atol=1e-5)
    np.testing.assert_allclose(weight, (0.1 / sigma) ** 2, rtol=1e-5)
    assert sigma.min() >= 0.1 and sigma.max() <= 0.4 and sigma.std() > 0.01


def test_another_noise_says_what_it_is(images):
    def doubled(crops, level, seed):
        return crops + 2 * level * tf.random.stateless_normal(tf.shape(crops), seed), crops, 2 * level

    signal, sigma, target, _ = first(levelled_crops(images, 32, 16, sigma=0.1, noise=doubled))
    np.testing.assert_allclose(sigma, 0.2, rtol=1e-6)
    assert (signal - target).std() == pytest.approx(0.2, rel=0.05)


def test_pairs_and_noisy_images_get_no_more_noise(images):
    noisy = [image + 0.1 for image in images]
    signal, sigma, target, _ = first(levelled_crops(noisy, 24, 4, sigma=0.1, clean=images))
    np.testing.assert_allclose(signal - target, 0.1, atol=1e-6)
    signal, _, target, _ = first(levelled_crops(images, 24, 4, sigma=0.1, noise=None, target="noisy"))
    np.testing.assert_array_equal(signal, target)
    assert sigma.tolist() == pytest.approx([0.1] * 4)
