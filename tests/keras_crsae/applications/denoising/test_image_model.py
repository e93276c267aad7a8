"""Models in Keras, files and exported encoders look alike to ``denoise``."""

import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.applications.denoising.image_model import as_image_model, zoo_denoiser


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
