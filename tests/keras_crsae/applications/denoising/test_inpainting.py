"""Holes are filled: better than a smooth surface does, in whatever form the image comes, and wide ones are reported."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from crsae_onnx import SparseEncoder

from keras_crsae import zoo
from keras_crsae.applications.denoising import denoise, inpainting
from keras_crsae.data import photographs
from keras_crsae.data.images import gray_photograph
from keras_crsae.metrics import psnr

SIZE = 96
SETTINGS = inpainting.InpaintingParameters()


def random_mask(share, shape=(SIZE, SIZE)):
    return np.random.default_rng(0).random(shape) >= share


def line_mask(width, shape=(SIZE, SIZE)):
    """Lines across the image, every 25 pixels, some of them slanted."""
    rows, columns = np.indices(shape)
    return ((rows + columns // 3) % 25 >= width) & ((columns + rows // 8) % 31 >= width)


MASKS = {"random 10 %": random_mask(0.1), "random 50 %": random_mask(0.5), "lines of 1": line_mask(1),
         "lines of 3": line_mask(3)}


@pytest.fixture(scope="module")
def encoder():
    return SparseEncoder(zoo.path_of("denoise-gray", zoo.ENCODER))


@pytest.fixture(scope="module")
def photograph():
    return gray_photograph("camera.png")[120:120 + SIZE, 180:180 + SIZE, 0]


def biharmonic(image, mask):
    from skimage.restoration import inpaint_biharmonic

    return inpaint_biharmonic(image, ~mask, channel_axis=-1 if image.ndim == 3 else None)


def missing_psnr(clean, made, mask):
    return psnr(clean[~mask], np.clip(made, 0, 1)[~mask])


@pytest.mark.parametrize("kind", MASKS)
def test_a_mask_gives_a_filled_image_better_than_biharmonic(photograph, encoder, kind):
    """Without a noise level; the observed pixels, which have next to no noise, hardly change."""
    mask = MASKS[kind]
    broken = np.where(mask, photograph, 0)
    made = denoise(broken, encoder, mask=mask)
    assert missing_psnr(photograph, made, mask) > missing_psnr(photograph, biharmonic(broken, mask), mask) + 0.1
    assert np.sqrt(np.mean((made - photograph)[mask] ** 2)) < 2 / 255
    np.testing.assert_array_equal(denoise(broken, encoder, sigma=0, mask=mask, shifts=1)[mask], photograph[mask])


@pytest.mark.parametrize("kind", MASKS)
def test_noisy_images_are_filled_and_denoised(photograph, encoder, kind):
    """At least as good as biharmonic on the noisy image, denoised or not; observed pixels lose their noise, too."""
    mask, sigma = MASKS[kind], 25 / 255
    broken = np.where(mask, photograph + sigma * np.random.default_rng(1).standard_normal(mask.shape), 0)
    made = denoise(broken, encoder, sigma=sigma, mask=mask)
    surface = biharmonic(broken, mask)
    other = denoise(surface, encoder, sigma=sigma)
    assert missing_psnr(photograph, made, mask) > max(missing_psnr(photograph, fill, mask) for fill in (surface, other))
    assert missing_psnr(photograph, made, ~mask) > missing_psnr(photograph, other, ~mask) - 0.2


@pytest.mark.parametrize("model, dtype", [("denoise-color", "uint8"), ("denoise-gray", "uint16")])
def test_colours_and_whole_numbers_are_filled(model, dtype):
    clean = photographs(["coffee.png"])[0][150:150 + SIZE, 200:200 + SIZE] / 255
    mask, top = MASKS["lines of 3"], np.iinfo(dtype).max
    image = np.rint(np.where(mask[..., None], clean, 0) * top).astype(dtype)
    made = denoise(image, SparseEncoder(zoo.path_of(model, zoo.ENCODER)), sigma=0, mask=mask)
    assert made.dtype == dtype and made.shape == image.shape
    np.testing.assert_array_equal(made[mask], image[mask])
    surface = biharmonic(image / top, mask)
    assert missing_psnr(clean, made / top, mask) > missing_psnr(clean, surface, mask)


def test_a_colour_may_miss_pixels_of_its_own():
    clean = photographs(["coffee.png"])[0][150:150 + SIZE, 200:200 + SIZE] / 255
    mask = np.random.default_rng(0).random(clean.shape) > 0.5
    made = denoise(clean * mask, SparseEncoder(zoo.path_of("denoise-color", zoo.ENCODER)), sigma=0, mask=mask)
    assert missing_psnr(clean, made, mask) > 26


def test_keras_and_the_exported_file_fill_alike(photograph, encoder):
    """The file needs no input for a mask."""
    mask = MASKS["lines of 3"]
    made, expected = (denoise(photograph * mask, model, mask=mask, shifts=4) for model in (encoder, "denoise-gray"))
    np.testing.assert_allclose(made, expected, atol=1e-3)


def test_what_stands_at_missing_pixels_has_no_influence_and_tiles_leave_no_seam(photograph, encoder):
    mask = MASKS["random 50 %"]
    made = denoise(photograph * mask, encoder, sigma=0, mask=mask, shifts=8)
    np.testing.assert_array_equal(denoise(np.where(mask, photograph, 0.9), encoder, 0.0, mask=mask, shifts=8), made)
    np.testing.assert_allclose(denoise(photograph * mask, encoder, 0.0, mask=mask, shifts=8, tile=50), made, atol=1e-3)


def test_filling_takes_no_more_than_ten_denoises(photograph, encoder):
    """Counted in images that the encoder is given."""
    class Counter:
        info, images = encoder.info, 0

        def reconstruct(self, batch, **options):
            self.images += len(batch)
            return encoder.reconstruct(batch, **options)

    plain, filling = Counter(), Counter()
    denoise(photograph, plain, sigma=0.1)
    denoise(photograph, filling, sigma=0.1, mask=MASKS["random 10 %"])
    assert filling.images <= 4 * plain.images


def test_wide_holes_are_reported_with_their_width_and_the_filters(photograph, encoder):
    mask = np.ones((SIZE, SIZE), bool)
    mask[20:50, 30:47] = False
    with pytest.warns(UserWarning, match="17 pixels across.*12 x 12"):
        made = denoise(photograph * mask, encoder, mask=mask, shifts=1)
    assert 0.2 < made[20:50, 30:47].mean() / photograph[20:50, 30:47].mean() < 5
    mask[:] = True
    mask[20:32, 30:47] = mask[60:71, 20:22] = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        denoise(photograph * mask, encoder, mask=mask, shifts=1)


@pytest.mark.parametrize("missing", [np.s_[0], np.s_[-2:], np.s_[:, :3], np.s_[1:, 1:], np.s_[5, 5], np.s_[:0]])
def test_any_hole_is_filled(photograph, encoder, missing):
    image, mask = photograph[:20, :23], np.ones((20, 23), bool)
    mask[missing] = False
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The widest hole")
        made = denoise(image * mask, encoder, sigma=0, mask=mask, shifts=1)
    assert np.isfinite(made).all()
    np.testing.assert_array_equal(made[mask], image[mask])
    if (~mask).any() and mask.mean() > 0.5:
        assert np.abs(made - image)[~mask].mean() < 0.15


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 2)])
def test_the_smallest_images_pass(encoder, shape, rng):
    mask = np.ones(shape)
    mask.flat[0] = shape == (1, 1)
    assert np.isfinite(denoise(rng.random(shape), encoder, mask=mask)).all()


def test_a_denoiser_that_knows_nothing_does_no_harm(photograph):
    for mask in MASKS.values():
        planes, observed = (photograph * mask)[None, ..., None], mask[None, ..., None].astype("float32")
        made = inpainting.inpaint(planes, observed, lambda filled, *_: np.zeros_like(filled), 0.0)[0, ..., 0]
        surface = missing_psnr(photograph, biharmonic(photograph * mask, mask), mask)
        assert missing_psnr(photograph, made, mask) > surface - 0.15


def test_surfaces_are_those_that_they_are_called(photograph):
    """The biharmonic one is scikit-image's; the Laplacian of the harmonic one is 0."""
    mask = MASKS["lines of 3"]
    made = inpainting.biharmonic_fill((photograph * mask)[None, ..., None], mask[None, ..., None])[0, ..., 0]
    np.testing.assert_allclose(made.clip(0, 1)[5:-5, 5:-5], biharmonic(photograph * mask, mask)[5:-5, 5:-5],
                               atol=0.02)
    plane = np.add.outer(np.arange(9.0), 2 * np.arange(9.0))[None, ..., None]
    seen = np.ones(plane.shape, bool)
    seen[:, 3:6, 3:6] = False
    np.testing.assert_allclose(inpainting.harmonic_fill(plane * seen, seen), plane, atol=1e-2)


def test_held_out_pixels_are_like_the_missing_ones():
    for mask in MASKS.values():
        seen = mask[None, ..., None]
        held_out = inpainting.held_out_pixels(seen, SETTINGS)
        assert not (held_out & ~seen).any() and SETTINGS.least_held_out_pixels < held_out.sum() < 0.2 * seen.sum()
    wide, narrow = (inpainting._mean_depth(held, seen & ~held) for seen in (MASKS["lines of 3"], MASKS["lines of 1"])
                    for seen in [seen[None, ..., None]] for held in [inpainting.held_out_pixels(seen, SETTINGS)])
    assert wide > narrow + 0.2


def test_weights_choose_the_fill_that_held_out_pixels_confirm(rng):
    truth = rng.random((1, 40, 40, 1))
    held_out = rng.random(truth.shape) < 0.2
    far, near = truth + rng.standard_normal(truth.shape), truth + 1e-3
    even = np.array([0.5, 0.5])
    np.testing.assert_allclose(inpainting.fill_weights(truth, [far, near], held_out, even, SETTINGS), [0, 1], atol=0.01)
    alone = replace(SETTINGS, prior_strength=0.0)
    weights = inpainting.fill_weights(truth, [truth - 0.1, truth + 0.3], held_out, even, alone)
    np.testing.assert_allclose(weights, [0.75, 0.25], atol=1e-3)
    assert inpainting.fill_weights(truth, [far, near], held_out & False, even, SETTINGS) is even


def test_no_more_is_removed_than_there_is_noise(rng):
    clean = rng.random((1, 50, 50, 1)).astype("float32")
    seen, smooth = np.ones(clean.shape, bool), np.full_like(clean, 0.5)
    np.testing.assert_array_equal(inpainting.without_noise(clean, smooth, seen, 0.0), clean)
    np.testing.assert_allclose(inpainting.without_noise(clean, smooth, seen, 1.0), smooth, atol=1e-6)
    little = inpainting.without_noise(clean, smooth, seen, 0.03) - clean
    assert 0 < np.sqrt(np.mean(little**2)) < 0.01


def test_the_width_of_a_hole_is_that_of_its_thickest_part():
    observed = np.ones((1, 30, 30, 1))
    assert inpainting.widest_hole(observed) == 0
    observed[:, 4, :] = 0
    assert inpainting.widest_hole(observed) == 1
    observed[:, 10:19, 5:25] = 0
    assert inpainting.widest_hole(observed) == 9
