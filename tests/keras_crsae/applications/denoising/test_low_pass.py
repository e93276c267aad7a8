"""The slow part of images and the rest."""

import numpy as np
import pytest

from keras_crsae.applications.denoising import split_low_pass


@pytest.fixture
def images(rng):
    rows = np.mgrid[:40, :44][0] / 40
    return (rows + 0.1 * rng.standard_normal((40, 44)))[None, ..., None]


def test_the_parts_add_up_and_the_slow_one_is_smooth(images):
    slow, rest = split_low_pass(images)
    np.testing.assert_allclose(slow + rest, images, atol=1e-6)
    assert np.diff(slow, axis=2).std() < 0.2 * np.diff(images, axis=2).std()


def test_without_a_blur_the_slow_part_is_zero(images):
    slow, rest = split_low_pass(images, 0)
    assert not slow.any()
    np.testing.assert_array_equal(rest, images.astype("float32"))


def test_missing_pixels_have_no_influence(images, rng):
    mask = (rng.random(images.shape) > 0.3).astype("float32")
    one, other = images * mask, images * mask + 1e3 * (1 - mask)
    np.testing.assert_array_equal(split_low_pass(one, 2.0, mask)[0], split_low_pass(other, 2.0, mask)[0])
    constant = np.full(images.shape, 0.5)
    np.testing.assert_allclose(split_low_pass(constant * mask, 2.0, mask)[0], 0.5, atol=1e-5)


@pytest.mark.parametrize("width", [-1.0, np.inf])
def test_an_impossible_width_is_refused(images, width):
    with pytest.raises(ValueError, match="low_pass"):
        split_low_pass(images, width)
