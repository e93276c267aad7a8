"""``keras-crsae train-denoiser``: images -> a denoiser."""

import json

import imageio.v3 as iio
import numpy as np
import pytest

from keras_crsae.cli import main
from keras_crsae.cli.train_denoiser import noise_range
from keras_crsae.metrics import psnr
from keras_crsae.models.serialization import load_crsae

SMALL = ["--filters", "16", "--kernel-size", "6", "--strides", "3", "--iterations", "4", "--window", "24"]


@pytest.fixture
def inside(tmp_path, monkeypatch, rng, disc):
    """Work in a folder with noisy.png and three images in photos."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for i in range(3):
        iio.imwrite(tmp_path / "photos" / f"{i}.png", (255 * np.rot90(disc, i).clip(0, 1)).astype("uint8"))
    noisy = disc + 25 / 255 * rng.standard_normal(disc.shape)
    iio.imwrite(tmp_path / "noisy.png", (255 * noisy.clip(0, 1)).round().astype("uint8"))
    return tmp_path


def test_a_noise_level_is_one_number_or_two():
    assert noise_range("51") == 0.2 and noise_range("51-102") == (0.2, 0.4)


def test_a_denoiser_is_trained_from_a_folder(inside, disc, capsys):
    assert main(["train-denoiser", "photos", "--output", "m.keras", "--sigma", "25", "--steps", "60", *SMALL]) == 0
    assert "m.keras: 16 filters" in capsys.readouterr().out
    assert load_crsae("m.keras").lambda_learning == "backprop"
    assert main(["denoise", "noisy.png", "o.png", "--model", "m.keras", "--sigma", "25"]) == 0
    noisy, made = (iio.imread(f) / 255 for f in ("noisy.png", "o.png"))
    assert psnr(disc, made) > psnr(disc, noisy) + 3


def test_training_goes_on_from_its_checkpoint_and_without_clean_images(inside):
    ask = ["train-denoiser", "noisy.png", "--noisy", "--unsupervised", "--low-pass", "2", "--sigma", "10-30",
           "--checkpoint", "c.keras", *SMALL]
    assert main([*ask, "--output", "m.keras", "--steps", "3"]) == 0
    assert main([*ask, "--output", "n.keras", "--steps", "5"]) == 0
    assert load_crsae("n.keras").lambda_learning == "em"
    assert json.loads((inside / "c.json").read_text())["record"]["steps"] == 5


def test_invalid_requests_are_refused(inside, refused):
    ask = ["train-denoiser", "photos", "--output", "m.keras", *SMALL]
    assert "10-60" in refused(*ask, "--sigma", "60-10")
    assert "10-60" in refused(*ask, "--sigma", "300")
    (inside / "empty").mkdir()
    assert "no images" in refused("train-denoiser", "empty", "--output", "m.keras")
    assert "No file" in refused("train-denoiser", "nowhere", "--output", "m.keras")
    assert "must end in .keras" in refused("train-denoiser", "photos", "--output", "m.onnx")
    assert "smaller crops" in refused(*ask, "--steps", "1", "--window", "64")
    assert not (inside / "m.keras").exists()
