"""The noise of images comes from the areas that hold some."""

import numpy as np
import pytest
from crsae_onnx.core.image_noise import diagonal_haar, image_noise_std
from crsae_onnx.core.signals import robust_std

SIDE, SIGMA = 320, 25.0


@pytest.fixture(scope="module")
def noisy():
    """A smooth scene of gray levels with noise of 25, none of it beyond 0 or 255."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    scene = 128 + 15 * np.sin(rows / 40) + 15 * np.cos(columns / 30)
    return (scene + SIGMA * np.random.default_rng(0).standard_normal(scene.shape))[..., None]


def bordered(image, shape, share):
    """``share`` of an image without noise."""
    image, side = image.copy(), len(image)
    rows = round(share * side)
    if shape == "one side":
        image[:rows] = 0
    elif shape == "letterbox":
        image[:rows // 2], image[side - (rows - rows // 2):] = 0, 0
    elif shape == "pillars":
        image[:, :rows // 2], image[:, side - (rows - rows // 2):] = 255, 255
    elif shape == "frame":
        width = round(side * (1 - np.sqrt(1 - share)) / 2)
        inner = image[width:side - width, width:side - width].copy()
        image[:] = 40
        image[width:side - width, width:side - width] = inner
    elif shape == "circle":
        row, column = np.mgrid[:side, :side] - side / 2
        image[row**2 + column**2 > (1 - share) * side**2 / np.pi] = 0
    else:  # levels
        image[:rows // 2], image[rows // 2:rows, :100], image[rows // 2:rows, 100:] = 10, 0, 37
    return image


def as_stored(image, kind):
    """In [0, 1], as ``denoise`` sees a file of a kind."""
    if kind == "float":
        return image / 255
    white = np.iinfo(kind).max
    return (np.rint(image * (white / 255)).clip(0, white) / np.float32(white)).astype(np.float32)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float"])
@pytest.mark.parametrize("shape", ["one side", "letterbox", "pillars", "frame", "circle", "levels"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.2, 0.4, 0.6, 0.8])
def test_borders_have_no_say(noisy, kind, shape, share):
    if shape == "circle" and share < 0.2:
        share = 0.25  # a smaller corner does not exist
    image = as_stored(bordered(noisy, shape, share), kind)
    assert 255 * image_noise_std(image[None]) == pytest.approx(SIGMA, rel=0.05)


@pytest.mark.parametrize("level", [255, 275, 330])
def test_a_burnt_out_sky_has_no_say(noisy, level):
    rng = np.random.default_rng(1)
    image = noisy.copy()
    image[:130] = level + SIGMA * rng.standard_normal((130, SIDE, 1))
    assert 255 * image_noise_std(as_stored(image, "uint8")[None]) == pytest.approx(SIGMA, rel=0.05)
    image[:130] = 255 - image[:130]
    assert 255 * image_noise_std(as_stored(image, "uint8")[None]) == pytest.approx(SIGMA, rel=0.05)


def test_colours_stacks_and_missing_pixels(noisy):
    rng = np.random.default_rng(2)
    colour = 128 + SIGMA * rng.standard_normal((SIDE, SIDE, 3))
    colour[:100], colour[..., 2] = 0, 60
    assert 255 * image_noise_std(as_stored(colour, "uint8")[None]) == pytest.approx(SIGMA, rel=0.05)
    stack = 128 + SIGMA * rng.standard_normal((20, 64, 64, 1))
    stack[3:9], stack[10:, :40, :40] = 0, 255
    assert 255 * image_noise_std(as_stored(stack, "uint8")) == pytest.approx(SIGMA, rel=0.05)
    for share in (0.1, 0.3, 0.5):
        image = as_stored(bordered(noisy, "letterbox", 0.4), "uint8")
        image[rng.random(image.shape) < share] = np.nan
        assert 255 * image_noise_std(image[None]) == pytest.approx(SIGMA, rel=0.08)


@pytest.mark.parametrize("sigma", [0.5, 0.7, 1.0, 1.5, 2.0, 5.0])
@pytest.mark.parametrize("border", [0, 120])
def test_rounding_does_not_move_it(sigma, border):
    rows, columns = np.mgrid[:SIDE, :SIDE]
    scene = 50 + 0.137 * rows + 0.071 * columns
    image = np.rint(scene + sigma * np.random.default_rng(3).standard_normal(scene.shape))
    image[:border] = 0
    for unit in (1.0, 255, 65535):  # as float32, as denoise has it
        scaled = (image / unit)[None, ..., None].astype("float32")
        assert unit * image_noise_std(scaled) == pytest.approx(sigma, rel=0.05)


def test_noise_of_floats_is_what_it_was_to_the_bit(noisy):
    for kind in (np.float32, np.float64):
        for image in (noisy, noisy[:33, :21], noisy[:12, :17]):
            image = image.astype(kind)[None]
            assert image_noise_std(image) == float(robust_std(diagonal_haar(image), center=0.0))


def test_what_holds_no_noise_has_none():
    rows, columns = np.mgrid[:200, :200]
    drawn = np.full((200, 200), 255.0)
    drawn[(rows - 90)**2 + (columns - 70)**2 < 2500], drawn[150:170, 30:180] = 30, 120  # large shapes on white
    for image in (np.zeros((200, 200)), 5.0 * rows + 3.0 * columns, drawn):
        assert image_noise_std(image[None, ..., None]) == pytest.approx(0.0, abs=1e-9)
    assert image_noise_std(np.full((1, 9, 9, 1), np.nan)) == image_noise_std(np.zeros((1, 1, 9, 1))) == 0.0


def test_a_part_of_large_images_will_do():
    rng = np.random.default_rng(4)
    for shape in ((1, 3100, 2900, 1), (140, 256, 256, 1)):
        image = rng.standard_normal(shape, dtype=np.float32)
        assert image_noise_std(image) == float(robust_std(diagonal_haar(image), center=0.0))
        image[:, :, :shape[2] * 3 // 5] = 2
        assert image_noise_std(image) == pytest.approx(1, rel=0.02)
