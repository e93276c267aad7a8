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


def test_noisy_images_alone_teach_by_an_estimate_of_the_error(inside):
    ask = ["train-denoiser", "noisy.png", "--noisy", "--unsupervised", "--loss", "sure", "--sigma", "25", *SMALL]
    assert main([*ask, "--output", "m.keras", "--steps", "2"]) == 0
    model = load_crsae("m.keras")
    assert model.training_settings["loss"] == "sure" and model.lambda_learning == "backprop"


def test_invalid_requests_are_refused(inside, refused):
    ask = ["train-denoiser", "photos", "--output", "m.keras", *SMALL]
    assert "Give both" in refused(*ask, "--loss", "sure")
    assert "backprop" in refused(*ask, "--unsupervised", "--lambda-learning", "backprop")
    assert "--sigma X" in refused(*ask, "--loss", "sure", "--unsupervised", "--noisy")
    assert "10-60" in refused(*ask, "--sigma", "60-10")
    assert "10-60" in refused(*ask, "--sigma", "300")
    (inside / "empty").mkdir()
    assert "no images" in refused("train-denoiser", "empty", "--output", "m.keras")
    assert "No file" in refused("train-denoiser", "nowhere", "--output", "m.keras")
    assert "must end in .keras" in refused("train-denoiser", "photos", "--output", "m.onnx")
    assert "smaller crops" in refused(*ask, "--steps", "1", "--window", "64")
    assert not (inside / "m.keras").exists()


def test_a_denoiser_of_counts_is_trained_and_used(inside, disc, capsys, refused):
    ask = ["train-denoiser", "photos", "--noise", "poisson", "--output", "c.keras", "--steps", "30", *SMALL]
    assert main([*ask, "--peak", "2-6", "--learning-rate", "0.003"]) == 0
    assert load_crsae("c.keras").training_settings["peak"] == [2.0, 6.0]
    counts = np.random.default_rng(0).poisson(4 * disc.clip(0, 1)).astype("uint8")
    iio.imwrite("counts.png", counts)
    capsys.readouterr()
    assert main(["denoise", "counts.png", "o.png", "--noise", "poisson", "--model", "c.keras", "--peak", "4"]) == 0
    assert "white is 4 counts" in capsys.readouterr().out
    made = iio.imread("o.png")
    assert made.dtype == np.uint16 and psnr(disc, made / 65535) > psnr(disc, counts / 4) + 3
    assert main(["denoise", "counts.png", "e.jpg", "--noise", "poisson", "--model", "c.keras"]) == 0
    assert "estimated" in capsys.readouterr().out and iio.imread("e.jpg").dtype == np.uint8
    assert "--peak" in refused("denoise", "counts.png", "p.png", "--noise", "poisson", "--sigma", "9")
    assert "noise='poisson'" in refused("denoise", "counts.png", "p.png", "--peak", "4")
    assert "1-8" in refused(*ask, "--peak", "8-1", "--overwrite")
    assert "peak" in refused(*ask, "--sigma", "25", "--overwrite")
