"""From an image of any kind to planes in [0, 1], and back."""

import numpy as np
import pytest
from PIL import Image

from keras_crsae.applications.denoising.pixels import (
    as_mask,
    as_noise_level,
    as_unit_image,
    estimate_sigma,
    from_planes,
    restore_format,
    split_alpha,
    split_mask,
    to_planes,
)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "float32", "float64", ">f4"])
@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 1), (6, 7, 3)])
def test_the_format_survives_the_way_there_and_back(rng, dtype, shape):
    white = np.iinfo(dtype).max if "u" in dtype else 1
    image = (white * rng.random(shape)).astype(dtype)
    unit = as_unit_image(image)
    assert unit.dtype == np.float32 and unit.ndim == 3 and 0 <= unit.min() and unit.max() <= 1
    back = restore_format(unit, image)
    assert back.dtype == dtype and back.shape == shape
    np.testing.assert_allclose(back, image, rtol=1e-5, atol=1e-6 if white == 1 else 1)


@pytest.mark.parametrize("colours, channels, planes", [
    (3, 1, (3, 4, 5, 1)), (3, 3, (1, 4, 5, 3)), (1, 1, (1, 4, 5, 1))])
def test_a_gray_model_takes_each_colour_by_itself(rng, colours, channels, planes):
    image = rng.random((4, 5, colours))
    batch = to_planes(image, channels)
    assert batch.shape == planes
    np.testing.assert_array_equal(from_planes(batch, colours), image)


def test_a_colour_model_takes_a_gray_image_as_equal_colours(rng):
    image = rng.random((4, 5, 1))
    batch = to_planes(image, 3)
    assert batch.shape == (1, 4, 5, 3) and (batch == image).all()
    np.testing.assert_allclose(from_planes(batch + [-0.3, 0.0, 0.3], 1), image)


def test_channels_that_do_not_fit_are_refused(rng):
    with pytest.raises(ValueError, match="3 channels. Received: 2"):
        to_planes(rng.random((4, 5, 2)), 3)
    with pytest.raises(ValueError, match="Received: 5 channels.*of a stack"):  # (images, height, width), say
        to_planes(rng.random((3, 4, 5)), 1)
    assert to_planes(rng.random((3, 4, 5)), 5).shape == (1, 3, 4, 5)


@pytest.mark.parametrize("channels, model, colours", [(2, 1, 1), (4, 3, 3), (4, 1, 3), (4, 4, 4), (3, 1, 3)])
def test_transparency_is_the_last_of_two_or_four_channels(rng, channels, model, colours):
    image = rng.random((4, 5, channels))
    kept, alpha = split_alpha(image, model)
    assert kept.shape[-1] == colours and (alpha is None) == (colours == channels)


def test_a_mask_covers_all_channels():
    assert as_mask(np.eye(4, dtype=bool), (4, 4, 3)).shape == (4, 4, 3)
    for mask in (np.zeros((4, 4)), np.full((4, 4), 2), np.ones((3, 3))):
        with pytest.raises(ValueError, match="`mask` must hold 0 and 1"):
            as_mask(mask, (4, 4, 3))


def test_a_mask_that_is_not_understood_says_why():
    eye = np.eye(4, dtype=np.uint8)
    np.testing.assert_array_equal(as_mask(Image.fromarray(eye > 0), (4, 4)), eye)
    for mask in (255 * eye, Image.fromarray(255 * eye), Image.fromarray(255 * eye).convert("P")):
        with pytest.raises(ValueError, match="values from 0 to 255. Give mask > 0|shape"):
            as_mask(mask, (4, 4))
    with pytest.raises(ValueError, match="every pixel is masked"):
        estimate_sigma(np.ma.masked_all((4, 4)))
    with pytest.raises(ValueError, match="read_image"):
        estimate_sigma("photograph.png")


@pytest.mark.parametrize("sigma, zero", [(25, False), (0, False), (-1, True), (float("nan"), True), ("0.1", False)])
def test_noise_in_gray_levels_is_refused(sigma, zero):
    """25 in place of 25 / 255 would leave one gray level of the whole image."""
    with pytest.raises(ValueError, match=r"25 / 255. Received: sigma=25" if sigma == 25 else "positive finite"):
        as_noise_level(sigma, zero)
    assert as_noise_level(0, True) == 0 and as_noise_level(0.1) == 0.1


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4)])
def test_a_mask_of_a_transparent_image_has_its_shape_or_a_smaller_one(shape):
    mask = np.ones(shape, bool)
    mask[1, 2] = False
    made = as_mask(mask, (4, 5, 3), (4, 5, 4))
    assert made.shape == (4, 5, 3) and made.sum() == 57 and not made[1, 2].any()
    with pytest.raises(ValueError, match=r"shape \(4, 5, 4\) or \(4, 5\)"):
        as_mask(np.ones((4, 5, 2)), (4, 5, 3), (4, 5, 4))


def test_a_masked_array_is_an_image_and_its_mask():
    image = np.arange(6.0).reshape(2, 3) / 6
    assert split_mask(image)[1] is None and split_mask(np.ma.masked_array(image))[1] is None
    missing = np.array([[1, 0, 0], [0, 0, 0]], bool)
    plain, mask = split_mask(np.ma.masked_array(image, missing))
    assert type(plain) is np.ndarray and np.array_equal(plain, image) and np.array_equal(mask, ~missing)
    other = np.array([[1, 1, 0], [1, 1, 1]])
    for given in (other, other[..., None]):
        np.testing.assert_array_equal(split_mask(np.ma.masked_array(image, missing), given)[1], ~missing & (other > 0))
    assert split_mask(image, other)[1] is other


def test_missing_pixels_may_hold_anything():
    image = np.full((4, 5, 3), 0.5)
    image[0, 0], image[1, 1], image[2, 2] = np.nan, -9999.0, np.inf
    mask = np.ones((4, 5), bool)
    mask[[0, 1, 2], [0, 1, 2]] = False
    assert 0 <= as_unit_image(image, mask).min() and as_unit_image(image, mask).max() <= 1
    mask[2, 2] = True
    with pytest.raises(ValueError, match="mark them as missing"):
        as_unit_image(image, mask)


@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
def test_transparency_borders_and_missing_pixels_have_no_noise(rng, channels):
    shape = (200, 160) if channels is None else (200, 160, channels)
    image = rng.normal(120, 25, shape)
    image[:90] = 0
    if channels in (2, 4):
        image[..., -1] = rng.integers(0, 256, (200, 160))
    mask = rng.random((200, 160)) > 0.1
    for kind, white in (("uint8", 255), ("float32", 1)):
        unit = (image * (white / 255)).clip(0, white).astype(kind)
        assert 255 * estimate_sigma(unit) == pytest.approx(25, rel=0.05)
        hidden = np.ma.masked_array(unit, np.zeros(shape, bool))
        hidden[~mask] = np.ma.masked
        assert 255 * estimate_sigma(hidden) == pytest.approx(25, rel=0.08)
        assert estimate_sigma(hidden) == estimate_sigma(unit, mask)
