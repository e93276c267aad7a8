"""What all commands share: refusals in one line, exit statuses, no half files."""

import importlib
import os
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.cli import main
from keras_crsae.cli.commands import ACTIONS
from tests.keras_crsae.cli.conftest import SIGNALS


@pytest.mark.parametrize("command", ACTIONS)
def test_every_command_has_its_function(command):
    module, function = ACTIONS[command]
    assert callable(getattr(importlib.import_module(f"keras_crsae.cli.{module}"), function))


def test_invalid_input_is_refused_by_every_command(inside, recording, rng, refused):
    broken = recording.astype("float32")
    broken[1234] = np.nan
    arrays = {"nan": broken, "short": recording[:15], "complex": recording.astype(complex), "two": rng.random((90, 2)),
              "transposed": rng.random((8, 900)), "empty": recording[:0], "deep": np.zeros((2, 2, 30, 30, 1))}
    for name, array in arrays.items():
        np.save(f"{name}.npy", array)
    Path("text.npy").write_text("hello")
    Path("text.png").write_text("hello")
    Path("text.keras").write_text("hello")
    Path("text.onnx").write_text("hello")
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save("other.keras")
    model, photo, before = inside / "m.keras", inside / "photo.keras", sorted(os.listdir())
    train = ["train", "--output", "t.keras", "--filters", "2", "--kernel-size", "21"]
    for name, words in (("nan", "index (1234,)"), ("short", "15 samples"), ("complex", "complex128"),
                        ("transposed", "transpose"), ("empty", "no values"), ("text", "not a .npy"),
                        ("none", "No file")):
        assert words in refused(*train, f"{name}.npy")
        assert words in refused("encode", model, f"{name}.npy", "z.npy")
    assert "different numbers of channels" in refused(*train, "two.npy", inside / "y.npy")
    assert "not both" in refused(*train, inside / "y.npy", inside / "photo.png")
    assert "2 channels" in refused("encode", model, "two.npy", "z.npy")
    assert "shape (2, 2, 30, 30, 1)" in refused("encode", photo, "deep.npy", "z.npy")
    assert "is an image" in refused("encode", model, inside / "photo.png", "z.npy")
    assert "text.png cannot be read" in refused("denoise", "text.png", "o.png", "--model", photo)
    assert "not on images" in refused("denoise", inside / "photo.png", "o.png", "--model", model)
    assert "text.onnx" in refused("denoise", inside / "photo.png", "o.png", "--model", "text.onnx", "--no-progress")
    for file, words in (("text.keras", "not a .keras file"), ("other.keras", "not a CRsAE"), ("none.keras", "No file")):
        assert words in refused("encode", file, inside / "y.npy", "z.npy")
        assert words in refused("export", file, "e.onnx")
        assert words in refused("info", file)
        assert words in refused("denoise", inside / "photo.png", "o.png", "--model", file)
    assert "text.onnx" in refused("info", "text.onnx")
    assert ".keras or .onnx" in refused("info", "nan.npy")
    assert sorted(os.listdir()) == before


def test_invalid_outputs_are_refused_before_work(inside, refused):
    model, y, image = inside / "m.keras", inside / "y.npy", inside / "photo.png"
    Path("z.npy").write_text("mine")
    assert "exists" in refused("encode", model, y, "z.npy")
    assert ".npz" in refused("encode", model, y, "other.npy", "--sparse")
    assert "also an input" in refused("encode", model, y, y, "--overwrite")
    assert "No folder" in refused("export", model, "no/e.onnx")
    assert "must end in .onnx" in refused("export", model, "e.keras")
    assert "must end in .png" in refused("denoise", image, "o.npy", "--model", inside / "photo.keras")
    assert "also an input" in refused("denoise", image, image, "--model", inside / "photo.keras", "--overwrite")
    assert Path("z.npy").read_text() == "mine"


@pytest.mark.parametrize("error, status, words", [
    (KeyboardInterrupt(), 130, "interrupted"), (OSError(28, "No space left on device"), 1, "No space left"),
    (MemoryError(), 1, "out of memory"), (ModuleNotFoundError("no", name="onnx.checker"), 2, "keras-crsae[export]"),
    (FloatingPointError("The loss of batch 3 is nan."), 1, "batch 3")])
def test_what_goes_wrong_in_the_work_is_one_line_and_leaves_no_file(inside, monkeypatch, capsys, error, status, words):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(kc.CRsAE, "fit", fail)
    assert main(["train", str(inside / "y.npy"), "--output", "m.keras", "--no-progress", *SIGNALS]) == status
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1
    assert os.listdir() == []


def test_a_defect_shows_its_traceback(inside, monkeypatch, capsys):
    def fail(*_, **__):
        raise KeyError("inner")

    monkeypatch.setattr(kc.CRsAE, "fit", fail)
    assert main(["train", str(inside / "y.npy"), "--output", "m.keras", *SIGNALS]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err and "report it" in err
