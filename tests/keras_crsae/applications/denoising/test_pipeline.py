"""Images lose their noise, and keep shape, dtype and range."""

import numpy as np
import pytest
from crsae_onnx.core.cycle_spinning import average_over_shifts

import keras_crsae as kc
from keras_crsae.applications.denoising import denoise
from keras_crsae.metrics import psnr
from keras_crsae.models.denoiser import Denoiser

NOISE = 0.1


def picture(height=48, width=56):
    rows, columns = np.mgrid[:height, :width] / 48
    return (0.5 + 0.25 * np.sin(6 * rows + 3 * columns) + 0.2 * ((rows - 0.5) ** 2 + (columns - 0.5) ** 2 < 0.08)
            ).clip(0, 1)


def model_of(strides=2, channels=1):
    model = kc.CRsAE(24, 8, strides=strides, rank=2, iterations=15, shrinkage="soft", sigma=0.05,
                     lambda_init=2.5 / 0.05, seed=0)
    model.adapt(np.random.default_rng(0).random((2, 20, 20, channels)), init="dct")
    return model


@pytest.fixture(scope="module")
def model():
    return model_of()


@pytest.fixture
def noisy(rng):
    return picture() + NOISE * rng.standard_normal((48, 56))


@pytest.mark.parametrize("strides", [1, 2, (2, 3)])
def test_noise_is_removed_at_any_stride(noisy, strides):
    clean = denoise(noisy, model_of(strides), sigma=NOISE)
    assert psnr(picture(), clean) > psnr(picture(), noisy) + 6


def test_estimated_sigma_serves_as_well_as_the_true_one(noisy, model):
    given, estimated = (psnr(picture(), denoise(noisy, model, sigma=s)) for s in (NOISE, None))
    assert estimated > given - 0.5


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_dtype_shape_and_range_are_kept(noisy, model, dtype, channels):
    image = np.broadcast_to(noisy.clip(0, 1).reshape(48, 56, *(1 for _ in channels)), (48, 56, *channels))
    top = np.iinfo(dtype).max if dtype.startswith("u") else 1
    clean = denoise((image * top).astype(dtype), model, sigma=NOISE)
    assert clean.dtype == dtype and clean.shape == image.shape
    expected = denoise(noisy.clip(0, 1), model, sigma=NOISE)
    expected = np.broadcast_to(expected.reshape(48, 56, *(1 for _ in channels)), clean.shape)
    np.testing.assert_allclose(clean / top, expected, atol=2e-2 if dtype == "uint8" else 1e-3)


def test_a_colour_model_takes_all_colours_at_once(rng):
    clean = np.stack([picture(), picture()[::-1], picture()[:, ::-1]], axis=-1)
    noisy = clean + NOISE * rng.standard_normal(clean.shape)
    made = denoise(noisy, model_of(channels=3), sigma=NOISE)
    assert made.shape == clean.shape and psnr(clean, made) > psnr(clean, noisy) + 3


def test_the_threshold_follows_the_noise_level(noisy, model):
    """Twice the contrast and twice the noise give twice the detail."""
    half = 0.5 + 0.25 * (noisy - 0.5)
    full = 0.5 + 0.5 * (noisy - 0.5)
    one, two = (denoise(i, model, sigma=s) - 0.5 for i, s in ((half, 0.25 * NOISE), (full, 0.5 * NOISE)))
    np.testing.assert_allclose(two, 2 * one, atol=1e-4)


def test_a_power_of_sigma_raises_the_threshold_of_strong_noise(noisy, tmp_path):
    """Told sigma, a model of power p does what one of power 0 does told sigma * (sigma / 0.1) ** p; its file, too."""
    from crsae_onnx import SparseEncoder
    from crsae_onnx.convert import convert
    from crsae_onnx.file_format.description import describe

    plain, powered = (Denoiser(24, 8, strides=4, iterations=8, sigma=1.0, lambda_init=1.5, sigma_power=p, seed=0)
                      for p in (0.0, 0.5))
    for model in (plain, powered):
        model.adapt(np.random.default_rng(0).random((2, 20, 20, 1)), init="dct")
    for sigma in (0.05, 0.1, 0.2):
        expected = denoise(noisy, plain, sigma=sigma * (sigma / 0.1) ** 0.5)
        np.testing.assert_allclose(denoise(noisy, powered, sigma=sigma), expected, atol=1e-6)
    path = convert(powered, tmp_path / "m.onnx")
    np.testing.assert_allclose(denoise(noisy, SparseEncoder(path), sigma=0.2), expected, atol=1e-4)
    assert "level * (level / 0.1) ** 0.5" in describe(path)[1]


def test_file_and_export_give_what_the_model_gives(noisy, model, tmp_path):
    from crsae_onnx import SparseEncoder
    from crsae_onnx.convert import convert

    model.save(tmp_path / "m.keras")
    convert(model, tmp_path / "m.onnx")
    expected = denoise(noisy, model, sigma=NOISE)
    np.testing.assert_allclose(denoise(noisy, str(tmp_path / "m.keras"), sigma=NOISE), expected, atol=1e-5)
    np.testing.assert_allclose(denoise(noisy, SparseEncoder(tmp_path / "m.onnx"), sigma=NOISE), expected, atol=1e-4)


def test_shift_averaging_is_the_mean_over_moved_images(rng):
    """A reconstruction that keeps every second pixel of a padded image keeps a quarter of each pixel."""
    image = rng.random((1, 9, 10, 1)).astype("float32")

    def comb(y):
        kept = np.zeros_like(y)
        kept[:, ::2, ::2] = y[:, ::2, ::2]
        return kept

    np.testing.assert_allclose(average_over_shifts(comb, image, (4, 4), (2, 2)), image / 4, rtol=1e-6)


def test_tiles_leave_no_seam(rng, model):
    """Tiles equal the one-piece result, with all shifts and with few, at sizes that no stride divides."""
    noisy = np.tile(picture(), (3, 3))[:137, :151] + NOISE * rng.standard_normal((137, 151))
    for shifts in (None, 2):
        whole = denoise(noisy, model, sigma=NOISE, shifts=shifts, tile=None)
        for tile in (61, 64):
            np.testing.assert_allclose(denoise(noisy, model, sigma=NOISE, shifts=shifts, tile=tile), whole, atol=1e-3)
    assert np.abs(whole - noisy).max() > 0.05


def test_a_tile_is_all_that_is_computed_at_a_time(model, monkeypatch):
    """Memory does not grow with the image: no call sees more than a tile, its halo and padding."""
    seen, original = [], kc.CRsAE.reconstruct

    def spy(self, signal, **options):
        seen.append(signal.shape)
        return original(self, signal, **options)

    monkeypatch.setattr(kc.CRsAE, "reconstruct", spy)
    denoise(np.random.default_rng(0).random((300, 90)), model, sigma=NOISE, tile=50)
    assert len(seen) >= 12 and max(max(shape[1:3]) for shape in seen) <= 50 + 2 * 24 + 2 * 8
    assert sum(shape[0] for shape in seen) == 6 * 2 * 4  # tiles, shifts


def test_few_shifts_cost_little(noisy, model):
    every, few, one = (psnr(picture(), denoise(noisy, model, sigma=NOISE, shifts=n)) for n in (None, 2, 1))
    assert every > one and every >= few - 0.05 and few > one - 0.1


def test_missing_pixels_are_filled_in(rng, model):
    image = picture(64, 64)
    mask = rng.random(image.shape) > 0.3
    broken = np.where(mask, image, 0.0)
    made = denoise(broken, model, sigma=0.02, mask=mask)
    filled = np.where(mask, broken, broken[mask].mean())
    assert psnr(image[~mask], made[~mask]) > psnr(image[~mask], filled[~mask]) + 6
    other = np.where(mask, image, 0.7)  # what stands at missing pixels has no say
    np.testing.assert_allclose(denoise(other, model, sigma=0.02, mask=mask), made, atol=1e-6)
    assert denoise(broken, model, mask=mask).shape == image.shape  # the noise level is estimated from the rest


def test_a_masked_array_is_denoised_without_its_masked_pixels(rng, model):
    image, missing = picture(30, 30) + NOISE * rng.standard_normal((30, 30)), rng.random((30, 30)) < 0.2
    wrong = image.copy()
    wrong[missing] = np.nan
    made = denoise(np.ma.masked_array(wrong, missing), model, sigma=NOISE)
    assert type(made) is np.ndarray and np.isfinite(made).all()
    np.testing.assert_allclose(made, denoise(np.where(missing, 0.5, image), model, sigma=NOISE, mask=~missing),
                               atol=1e-6)


def test_the_mask_of_a_transparent_image_may_have_its_shape(rng, model):
    image = (255 * rng.random((20, 24, 4))).astype("uint8")
    mask = rng.random((20, 24)) > 0.1
    expected = denoise(image, model, sigma=NOISE, mask=mask)
    for given in (mask[..., None], np.repeat(mask[..., None], 3, -1), np.repeat(mask[..., None], 4, -1)):
        np.testing.assert_array_equal(denoise(image, model, sigma=NOISE, mask=given), expected)
    np.testing.assert_array_equal(expected[..., 3], image[..., 3])


def test_an_exported_file_fills_what_the_model_fills(rng, model, tmp_path):
    from crsae_onnx import SparseEncoder
    from crsae_onnx.convert import convert

    mask = rng.random((30, 30)) > 0.3
    convert(model, tmp_path / "m.onnx")
    np.testing.assert_allclose(denoise(picture(30, 30), SparseEncoder(tmp_path / "m.onnx"), sigma=0.05, mask=mask),
                               denoise(picture(30, 30), model, sigma=0.05, mask=mask), atol=1e-4)


@pytest.mark.parametrize("channels", [2, 4])
def test_transparency_is_kept_as_it_is(noisy, model, channels):
    image = np.repeat(noisy.clip(0, 1)[..., None], channels, axis=-1)
    image[..., -1] = np.linspace(0, 1, 48)[:, None]
    made = denoise((255 * image).astype("uint8"), model, sigma=NOISE)
    np.testing.assert_array_equal(made[..., -1], (255 * image[..., -1]).astype("uint8"))
    assert psnr(picture(), made[..., 0] / 255) > psnr(picture(), noisy) + 5


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 2), (2, 2, 3)])
def test_the_smallest_images_pass(model, shape, rng):
    image = rng.random(shape)
    for sigma in (NOISE, None):
        made = denoise(image, model, sigma=sigma)
        assert made.shape == shape and np.isfinite(made).all()


def test_an_image_without_noise_is_returned_as_a_copy(model):
    flat = np.full((30, 30), 7, np.uint8)
    made = denoise(flat, model)
    np.testing.assert_array_equal(made, flat)
    assert made is not flat


@pytest.mark.parametrize("image, options, words", [
    (np.zeros((20, 20), "int32"), {}, "dtype int32"), (np.zeros((20, 20), complex), {}, "complex"),
    (np.zeros(20), {}, "shape"), (np.zeros((0, 5)), {}, "shape"), (np.full((20, 20), 128.0), {}, "largest level"),
    (np.full((20, 20), np.nan), {}, "NaN"), (np.zeros((20, 20)), {"sigma": 0}, "sigma"),
    (np.zeros((20, 20)), {"sigma": -1}, "sigma"), (np.zeros((20, 20)), {"sigma": 1, "shifts": 5}, "1 to 4"),
    (np.zeros((20, 20)), {"sigma": 1, "tile": 0}, "tile"), (np.zeros((20, 20)), {"mask": np.ones((3, 3))}, "mask"),
    (np.zeros((20, 20)), {"mask": np.zeros((20, 20))}, "mask"),
    (np.zeros((20, 20)), {"mask": np.full((20, 20), 0.5)}, "mask"),
    (np.zeros((20, 20)), {"low_pass": -1, "sigma": 1}, "low_pass")])
def test_bad_input_is_refused(model, image, options, words):
    with pytest.raises(ValueError, match=words):
        denoise(image, model, **options)


def test_models_that_do_not_fit_are_refused():
    image = np.zeros((20, 20))
    signals = kc.CRsAE(2, 7)
    signals.build((None, None, 1))
    for model, words in ((signals, "rank 2"), (kc.CRsAE(2, 7, rank=2), "no filters"), (3, "Received: int"),
                         ("nowhere.keras", "No file"), (model_of(channels=2), "2 channels")):
        with pytest.raises(ValueError, match=words):
            denoise(image, model, sigma=0.1)


def test_strong_noise_is_no_reason_to_refuse(model):
    """A large image under noise of 60 gray levels holds values beyond -1."""
    noisy = picture() + 60 / 255 * np.random.default_rng(0).standard_normal((48, 56))
    noisy[0, 0], noisy[-1, -1] = -1.3, 2.2
    assert np.isfinite(denoise(noisy, model, sigma=60 / 255)).all()


@pytest.mark.parametrize("missing, tile", [(False, 48), (False, 16), (True, 48)])
def test_progress_goes_from_nothing_to_all(noisy, missing, tile):
    told = []
    mask = None if not missing else (np.arange(48 * 56).reshape(48, 56) % 9 > 0)
    denoise(noisy.clip(0, 1), model_of(), sigma=NOISE, mask=mask, tile=tile,
            progress=lambda step, fraction: told.append((step, fraction)))
    fractions = [fraction for _, fraction in told]
    assert fractions[0] == 0.0 and fractions[-1] == pytest.approx(1.0) and fractions == sorted(fractions)
    assert {step for step, _ in told} == {"fill in and denoise" if missing else "denoise"} and len(told) > 2 - (
        tile == 48 and not missing)
