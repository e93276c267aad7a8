"""The command line ``crsae-onnx``, on files."""

import json

import numpy as np
from crsae_onnx.cli import main

import keras_crsae as kc


def test_validate_prints_a_table_and_fails_on_another_model(made, tmp_path, capsys):
    folder, *_ = made
    assert main(["validate", str(folder / "m.keras"), str(folder / "e.onnx")]) == 0
    out = capsys.readouterr().out
    assert "reconstruction" in out and "equal to Keras" in out
    other = kc.CRsAE(2, 7, iterations=10, lambda_init=0.7, seed=5)
    other.build((None, None, 1))
    other.save(tmp_path / "other.keras")
    assert main(["validate", str(tmp_path / "other.keras"), str(folder / "e.onnx")]) == 2
    assert "largest relative difference" in capsys.readouterr().err


def test_info_is_readable_and_with_json_complete(files, capsys):
    onnx_file, *_ = files
    assert main(["info", onnx_file]) == 0
    text = capsys.readouterr().out
    assert "2 filters of 7" in text and "signal, sigma" in text and "{" not in text
    assert main(["info", onnx_file, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["filters"] == 2


def refused(capsys, arguments, words):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("crsae-onnx: ") == 1 and "Traceback" not in error


def test_nothing_is_overwritten_unasked(files, made, capsys, tmp_path):
    onnx_file, signal_file, output, *_ = files
    (tmp_path / "z.npy").write_text("mine")
    refused(capsys, ["run", onnx_file, signal_file, output("z.npy")], "--overwrite")
    refused(capsys, ["convert", str(made[0] / "m.keras"), onnx_file], "overwrite")
    assert (tmp_path / "z.npy").read_text() == "mine"
    assert main(["run", onnx_file, signal_file, output("z.npy"), "--overwrite"]) == 0
    assert np.load(output("z.npy")).shape == (1, 244, 2)


def test_bad_files_are_one_line_of_error_and_leave_nothing(files, made, capsys, tmp_path):
    onnx_file, signal_file, output, *_ = files
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    np.save(inputs / "nan.npy", np.full((1, 50, 1), np.nan))
    np.save(inputs / "cube.npy", np.zeros((1, 1, 50, 1)))
    (inputs / "text.npy").write_text("no array")
    (inputs / "m.keras").write_bytes(b"no zip")
    for arguments, words in (
            (["info", signal_file], "y.npy is not an ONNX file"), (["info", output("none.onnx")], "No file"),
            (["run", onnx_file, str(inputs / "nan.npy"), output("z.npy")], "NaN"),
            (["run", onnx_file, str(inputs / "cube.npy"), output("z.npy")], "shape"),
            (["run", onnx_file, str(inputs / "text.npy"), output("z.npy")], "text.npy is not a .npy array"),
            (["run", onnx_file, output("none.npy"), output("z.npy")], "No file"),
            (["run", onnx_file, signal_file, signal_file, "--overwrite"], "is the input"),
            (["run", onnx_file, signal_file, output("z.npy"), "--sparse"], ".npz"),
            (["run", onnx_file, signal_file, output("z.txt")], ".npy"),
            (["convert", str(inputs / "m.keras"), output("e.onnx")], "m.keras is not a .keras file, or damaged"),
            (["convert", output("none.keras"), output("e.onnx")], "No file")):
        refused(capsys, arguments, words)
    assert [p.name for p in tmp_path.iterdir()] == ["inputs"]
