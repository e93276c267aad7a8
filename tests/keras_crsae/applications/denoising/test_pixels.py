"""From an image of any kind to planes in [0, 1], and back."""

import numpy as np
import pytest

from keras_crsae.applications.denoising.pixels import (
    as_mask,
    as_unit_image,
    from_planes,
    restore_format,
    split_alpha,
    to_planes,
)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 1), (6, 7, 3)])
def test_the_format_survives_the_way_there_and_back(rng, dtype, shape):
    white = np.iinfo(dtype).max if dtype.startswith("u") else 1
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


def test_channels_that_do_not_fit_are_refused(rng):
    with pytest.raises(ValueError, match="3 channels. Received: 2"):
        to_planes(rng.random((4, 5, 2)), 3)


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
