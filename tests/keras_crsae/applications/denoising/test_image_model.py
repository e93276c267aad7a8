"""Models in Keras, files and exported encoders look alike to ``denoise``."""

import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.applications.denoising import denoise
from keras_crsae.applications.denoising.image_model import FAST_SHIFTS, ImageModel, as_image_model, zoo_denoiser


@pytest.fixture(scope="module")
def model():
    model = kc.Denoiser(3, 4, strides=(2, 1), iterations=3, sigma=1.0, lambda_init=0.3, low_pass=1.5, sigma_power=0.2)
    model.build((None, None, None, 1))
    return model


class Encoder:
    """Stands for ``crsae_onnx.SparseEncoder``: reconstructs what passes a threshold of ``sigma``."""

    info = {"sigma": 2.0, "rank": 2, "channels": 1, "kernel_size": [4, 4], "strides": [2, 1],
            "config": {"low_pass": 1.5, "sigma_power": 0.2}}

    def reconstruct(self, batch, mask=None):
        return np.where(np.abs(batch) > self.info["sigma"], batch, 0) * (1 if mask is None else mask)


def facts(found):
    return found.rank, found.channels, found.kernel_size, found.strides, found.low_pass, found.sigma_power


def test_a_model_its_file_and_an_encoder_say_the_same(model, tmp_path):
    model.save(tmp_path / "m.keras")
    expected = (2, 1, (4, 4), (2, 1), 1.5, 0.2)
    for given in (model, tmp_path / "m.keras", str(tmp_path / "m.keras"), Encoder()):
        assert facts(as_image_model(given)) == expected


def test_a_plain_crsae_takes_the_usual_blur():
    plain = kc.CRsAE(3, 4, rank=2)
    plain.build((None, None, None, 1))
    assert as_image_model(plain).low_pass == 2.0 and as_image_model(plain).sigma_power == 0.0


def test_an_encoders_threshold_follows_the_images_noise():
    run = as_image_model(Encoder()).reconstruct
    batch = np.array([0.1, 0.5], np.float32).reshape(1, 1, 2, 1)
    np.testing.assert_allclose(run(batch, 0.3).ravel(), [0, 0.5], rtol=1e-6)
    np.testing.assert_allclose(run(batch, 0.05).ravel(), [0.1, 0.5], rtol=1e-6)


def test_a_models_threshold_follows_the_images_noise(model, rng):
    batch = rng.standard_normal((1, 12, 12, 1)).astype("float32")
    run = as_image_model(model).reconstruct
    np.testing.assert_allclose(run(batch, 0.5), model.reconstruct(batch, sigma=0.5), rtol=1e-5)


@pytest.mark.parametrize("other, words", [
    (3, "Received: int"), (kc.CRsAE(2, 7, rank=2), "no filters"), ("nowhere.keras", "No file"), ("nowhere", "no zoo")])
def test_what_is_no_model_of_images_is_refused(other, words):
    with pytest.raises(ValueError, match=words):
        as_image_model(other)


def test_a_model_of_signals_is_refused():
    signals = kc.CRsAE(2, 7)
    signals.build((None, None, 1))
    with pytest.raises(ValueError, match="rank 2"):
        as_image_model(signals)


@pytest.mark.parametrize("shape, name", [((8, 9), "denoise-gray"), ((8, 9, 1), "denoise-gray"),
                                         ((8, 9, 2), "denoise-gray"), ((8, 9, 3), "denoise-color"),
                                         ((8, 9, 4), "denoise-color")])
def test_colours_choose_the_zoo_s_model(shape, name):
    assert zoo_denoiser(np.zeros(shape)) == name


def test_fast_takes_few_shifts_and_best_all_of_them():
    model = ImageModel(lambda batch, level: batch, 2, 1, (8, 8), (4, 4))
    wide = ImageModel(model.reconstruct, 2, 1, (12, 12), (6, 6))
    assert len(wide.at_quality("fast")[1]) == FAST_SHIFTS and len(wide.at_quality("best")[1]) == 36
    assert len(model.at_quality("fast")[1]) == 4 and len(model.at_quality("best")[1]) == 16
    assert model.at_quality("best")[0] is model and len(model.at_quality(None, 3)[1]) == 3
    small = ImageModel(model.reconstruct, 2, 1, (4, 4), (2, 2))
    assert len(small.at_quality("fast")[1]) == 1
    for quality, shifts, words in (("good", None, "one of"), ("fast", 3, "give one of both")):
        with pytest.raises(ValueError, match=words):
            model.at_quality(quality, shifts)


def test_best_at_stride_one_averages_turned_images(rng):
    """A model that smooths along rows alone: of an image and its quarter turn the mean smooths along both."""
    def rows(batch, level):
        return np.cumsum(batch, axis=2)

    image = rng.random((2, 5, 7, 1)).astype("float32")
    best, shifts = ImageModel(rows, 2, 1, (3, 3), (1, 1)).at_quality("best")
    columns = np.cumsum(image, axis=1)  # the rows of the turned image
    np.testing.assert_allclose(best.reconstruct(image, 0.1), (rows(image, 0) + columns) / 2, rtol=1e-5)
    assert len(shifts) == 1


def test_denoise_takes_a_quality(rng):
    model = kc.models.CDLNet(2, 3, iterations=2, seed=0)
    model.adapt(rng.random((1, 20, 20, 1)), init="dct")
    image = rng.random((21, 18))
    plain, fast, best = (denoise(image, model, sigma=0.1, quality=quality) for quality in (None, "fast", "best"))
    np.testing.assert_array_equal(plain, fast)
    turned = np.rot90(denoise(np.rot90(image), model, sigma=0.1), -1)
    np.testing.assert_allclose(best, (plain + turned) / 2, atol=2e-3)  # each result is clipped, their mean is not
    counts = rng.poisson(4.0, (20, 20))
    assert denoise(counts, model, noise="poisson", quality="best").shape == (20, 20)
