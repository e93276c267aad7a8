"""``keras-crsae zoo``, ``train-denoiser`` and what ``denoise`` takes beside a model file."""

import json

import imageio.v3 as iio
import numpy as np
import pytest

from keras_crsae import zoo
from keras_crsae.cli import main
from keras_crsae.metrics import psnr
from keras_crsae.models.serialization import load_crsae

SMALL = ["--filters", "16", "--kernel-size", "6", "--strides", "3", "--iterations", "4", "--window", "24"]


def scene(size=48):
    rows, columns = np.mgrid[:size, :size] / size
    return (0.5 + 0.25 * np.sin(20 * rows + 9 * columns) + 0.2 * ((rows - 0.5) ** 2 + (columns - 0.5) ** 2 < 0.08))


NEEDS_ZOO = pytest.mark.skipif(not zoo.names(),
                               reason="models/ holds no trained model yet: python -m benchmarks.train_zoo")


@pytest.fixture
def inside(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for i in range(3):
        iio.imwrite(tmp_path / "photos" / f"{i}.png", (255 * np.rot90(scene(), i).clip(0, 1)).astype("uint8"))
    noisy = scene() + 25 / 255 * rng.standard_normal((48, 48))
    iio.imwrite(tmp_path / "noisy.png", (255 * noisy.clip(0, 1)).round().astype("uint8"))
    return tmp_path


def refused(capsys, *arguments):
    try:
        status = main(list(map(str, arguments)))
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    return capsys.readouterr().err


@NEEDS_ZOO
def test_zoo_lists_names_and_figures(capsys):
    assert main(["zoo"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in zoo.names()) and "dB" in text and str(zoo.folder()) in text
    assert main(["zoo", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == set(zoo.names())


@NEEDS_ZOO
def test_a_zoo_name_denoises(inside, capsys):
    assert main(["denoise", "noisy.png", "o.png", "--model", "denoise-gray-25", "--sigma", "25", "--shifts", "8"]) == 0
    noisy, made = (iio.imread(f) / 255 for f in ("noisy.png", "o.png"))
    assert psnr(scene(), made) > psnr(scene(), noisy) + 4
    assert "denoise-gray-25" in refused(capsys, "denoise", "noisy.png", "p.png", "--model", "nothing-like-it")


@NEEDS_ZOO
def test_one_pixel_and_wrong_files_of_every_kind(inside, capsys):
    """A file of one pixel is an image; a text, half an image and a stack of pages are none, whatever their names."""
    iio.imwrite("pixel.png", np.full((1, 1), 40, "uint8"))
    ask = ["denoise", "pixel.png", "o.png", "--model", "denoise-gray-25", "--sigma", "25"]
    assert main(ask) == 0 and iio.imread("o.png").shape == (1, 1)
    (inside / "text.png").write_text("no image")
    (inside / "half.png").write_bytes((inside / "noisy.png").read_bytes()[:900])
    iio.imwrite("pages.tif", np.zeros((5, 8, 9), "uint8"))
    (inside / "empty.png").write_bytes(b"")
    for name, words in (("text.png", "cannot be read"), ("half.png", "cannot be read"), ("pages.tif", "no stack"),
                        ("empty.png", "empty.png"), ("absent.png", "No file"), ("photos", "photos")):
        assert words in refused(capsys, *ask[:1], name, "p.png", *ask[3:]), name
    assert not (inside / "p.png").exists()


@NEEDS_ZOO
def test_missing_pixels_are_given_as_an_image(inside, capsys, rng):
    mask = rng.random((48, 48)) > 0.2
    iio.imwrite("mask.png", (255 * mask).astype("uint8"))
    broken = np.where(mask, iio.imread("noisy.png"), 0).astype("uint8")
    iio.imwrite("broken.png", broken)
    ask = ["denoise", "broken.png", "o.png", "--model", "denoise-gray-25", "--sigma", "25", "--mask", "mask.png"]
    assert main(ask) == 0
    assert psnr(scene()[~mask], iio.imread("o.png")[~mask] / 255) > 15
    iio.imwrite("small.png", np.full((4, 4), 255, "uint8"))
    assert "4 x 4" in refused(capsys, *ask[:2], "q.png", *ask[3:-1], "small.png")
    iio.imwrite("black.png", np.zeros((48, 48), "uint8"))
    assert "black everywhere" in refused(capsys, *ask[:2], "q.png", *ask[3:-1], "black.png")


def test_a_denoiser_is_trained_from_a_folder(inside, capsys):
    assert main(["train-denoiser", "photos", "--output", "m.keras", "--sigma", "25", "--steps", "60", *SMALL]) == 0
    assert "m.keras: 16 filters" in capsys.readouterr().out
    assert load_crsae("m.keras").lambda_learning == "backprop"
    assert main(["denoise", "noisy.png", "o.png", "--model", "m.keras", "--sigma", "25"]) == 0
    noisy, made = (iio.imread(f) / 255 for f in ("noisy.png", "o.png"))
    assert psnr(scene(), made) > psnr(scene(), noisy) + 3


def test_training_goes_on_from_its_checkpoint_and_without_clean_images(inside):
    ask = ["train-denoiser", "noisy.png", "--noisy", "--unsupervised", "--low-pass", "2", "--sigma", "10-30",
           "--checkpoint", "c.keras", *SMALL]
    assert main([*ask, "--output", "m.keras", "--steps", "3"]) == 0
    assert main([*ask, "--output", "n.keras", "--steps", "5"]) == 0
    assert load_crsae("n.keras").lambda_learning == "em"
    assert json.loads((inside / "c.json").read_text())["record"]["steps"] == 5


def test_unfit_requests_are_refused(inside, capsys):
    ask = ["train-denoiser", "photos", "--output", "m.keras", *SMALL]
    assert "10-60" in refused(capsys, *ask, "--sigma", "60-10")
    assert "10-60" in refused(capsys, *ask, "--sigma", "300")
    (inside / "empty").mkdir()
    assert "no images" in refused(capsys, "train-denoiser", "empty", "--output", "m.keras")
    assert "No file" in refused(capsys, "train-denoiser", "nowhere", "--output", "m.keras")
    assert "must end in .keras" in refused(capsys, "train-denoiser", "photos", "--output", "m.onnx")
    assert "smaller crops" in refused(capsys, *ask, "--steps", "1", "--window", "64")
    assert not (inside / "m.keras").exists()
