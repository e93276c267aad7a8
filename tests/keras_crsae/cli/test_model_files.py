"""``keras-crsae export``, ``info`` and ``zoo``."""

import json
import os

import numpy as np
import pytest
from crsae_onnx import SparseEncoder

import keras_crsae as kc
from keras_crsae import zoo
from keras_crsae.cli import main
from keras_crsae.data.images import write_image
from keras_crsae.models.serialization import load_crsae


def test_export_validates_and_info_describes_both_files(inside, recording, capsys, refused):
    assert main(["export", str(inside / "m.keras"), "e.onnx", "--validate"]) == 0
    assert "equal to Keras" in capsys.readouterr().out
    signal = recording[None, :500, None]
    expected = load_crsae(inside / "m.keras").encode(signal)
    np.testing.assert_allclose(SparseEncoder("e.onnx").encode(signal), expected, atol=1e-4 * expected.max())
    for name in ("e.onnx", str(inside / "m.keras")):
        assert main(["info", name]) == 0
        text = capsys.readouterr().out
        assert text.startswith(name) and "kernel size" in text
        assert main(["info", name, "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["filters"] == 3 and facts["kernel_size"] == [21]
    assert "exists" in refused("export", inside / "m.keras", "e.onnx")
    assert main(["export", str(inside / "m.keras"), "e.onnx", "--outputs", "code", "--overwrite"]) == 0
    assert SparseEncoder("e.onnx").info["outputs"] == ["code"]


def test_an_export_that_differs_is_not_written(inside, monkeypatch, capsys):
    from crsae_onnx import convert, validate

    def differs(*_, **__):
        raise validate.ValidationError("code: largest relative difference 0.5")

    monkeypatch.setattr(convert, "convert", lambda model, path, **_: path.write_text("a file that differs"))
    monkeypatch.setattr(validate, "validate", differs)
    assert main(["export", str(inside / "m.keras"), "e.onnx", "--validate"]) == 1
    err = capsys.readouterr().err
    assert "difference 0.5" in err and "Traceback" not in err
    assert os.listdir() == []


@pytest.mark.skipif(not zoo.names(), reason="models/ holds no trained model yet: python -m benchmarks.train_zoo")
def test_zoo_lists_names_and_figures(capsys):
    assert main(["zoo"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in zoo.names()) and "dB" in text and str(zoo.folder()) in text
    assert main(["zoo", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == set(zoo.names())


def test_a_preset_of_counts_denoises_counts(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    model = kc.CRsAE(2, (4, 4), strides=2, iterations=3, likelihood="poisson", seed=0)
    model.build((None, None, None, 1))
    model.save("counts.keras")
    write_image("counts.png", rng.poisson(4.0, (20, 21)).astype("uint8"))
    assert main(["export", "counts.keras", "mine"]) == 0
    assert main(["denoise", "counts.png", "o.png", "--noise", "poisson", "--peak", "4", "--model", "mine"]) == 0
    assert SparseEncoder("mine/onnx/model.onnx").info["inputs"] == ["signal", "exposure"]


def test_an_export_to_a_folder_is_a_preset(inside, capsys, refused):
    assert main(["export", str(inside / "m.keras"), "mine"]) == 0
    assert "mine: README.md, model.keras, onnx/model.onnx" in capsys.readouterr().out
    assert SparseEncoder("mine/onnx/model.onnx").info["filters"] == load_crsae("mine/model.keras").filters == 3
    assert "not an empty folder" in refused("export", inside / "m.keras", "mine")
    assert "--outputs" in refused("export", inside / "m.keras", "other", "--outputs", "code")
