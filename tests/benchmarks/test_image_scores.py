"""Scores of images: both peaks, and images of one's own."""

import imageio.v3 as iio
import numpy as np
import pytest

from benchmarks import image_scores
from keras_crsae import zoo
from keras_crsae.applications.denoising import denoise
from keras_crsae.metrics import psnr
from keras_crsae.models.cdlnet import CDLNet
from keras_crsae.models.denoiser import Denoiser


class Keeps:
    """Stands for an encoder that removes nothing."""

    info = {"rank": 2, "channels": 1, "kernel_size": (3, 3), "strides": (1, 1), "sigma": 1.0, "config": {"low_pass": 0}}

    @staticmethod
    def reconstruct(signal):
        return signal


@pytest.fixture
def dark(tmp_path, rng):
    """A picture whose brightest pixel is half of white."""
    image = (rng.random((64, 64)) * 127).astype("uint8")
    image[0, 0], image[1, 1] = 127, 0
    iio.imwrite(tmp_path / "dark.png", image)
    return tmp_path


def test_the_clean_maximum_as_peak_is_told_beside_a_peak_of_one(dark):
    """A result that keeps the noise has the noise's error, and less where it is clipped."""
    made = image_scores.score(Keeps(), str(dark), 0.1)
    _, clean, noisy = next(image_scores.noisy_pairs(str(dark), 0.1))
    error = np.mean(np.square(noisy - clean))
    assert made["psnr_clean_max"] == pytest.approx(20 * np.log10(clean.max()) - 10 * np.log10(error), abs=1e-3)
    clipped = np.mean(np.square(noisy.clip(0, 1) - clean))
    assert made["psnr"] == pytest.approx(-10 * np.log10(clipped), abs=1e-3) and clipped < error


@pytest.mark.parametrize("estimate", [False, True])
@pytest.mark.parametrize("power", [0.0, 0.3, None])
def test_a_score_is_that_of_what_a_user_gets(dark, power, estimate):
    """Also of a power of sigma, and of a CDLNet with threshold offsets, which does not scale with the image."""
    model = CDLNet(4, 5, iterations=3, sigma=0.15, seed=0) if power is None else \
        Denoiser(8, 4, strides=2, iterations=5, sigma=1.0, lambda_init=1.5, sigma_power=power, seed=0)
    model.build((None, None, None, 1))
    if power is None:
        model.scale_filters()
        model.encoder.offsets.assign(0.1 * np.ones(model.encoder.offsets.shape))
    (_, clean, noisy), = image_scores.noisy_pairs(str(dark), 0.15)
    made = denoise(noisy, model, sigma=None if estimate else 0.15)
    found = image_scores.score(model, str(dark), 0.15, estimate=estimate)
    assert found["psnr"] == pytest.approx(psnr(clean, made), abs=2e-3)


@pytest.mark.skipif(not zoo.names(), reason="models/ holds no trained model yet: python -m benchmarks.train_zoo")
def test_images_of_ones_own_are_scored_and_printed(dark, capsys, monkeypatch):
    monkeypatch.setattr(image_scores.common, "limit_threads", lambda count: None)  # TensorFlow runs already
    (row,) = image_scores.main(["denoise-gray-25", "--images", str(dark / "dark.png"), "--shifts", "1"])
    assert row[1] == "25" and row[-1] == 1 and float(row[2]) > float(row[3])
    assert "peak the clean maximum" in capsys.readouterr().out
