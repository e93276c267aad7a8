"""The command line ``crsae-onnx``, on files."""

import json

import numpy as np
import pytest
from crsae_onnx.cli import main

import keras_crsae as kc


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model on disk and its export, made by the command line itself."""
    folder = tmp_path_factory.mktemp("cli")
    model = kc.CRsAE(2, 7, iterations=10, lambda_init=0.7, seed=0)
    model.build((None, None, 1))
    model.save(folder / "m.keras")
    signal = (3 * np.random.default_rng(0).standard_normal((1, 250, 1))).astype(np.int16)
    np.save(folder / "y.npy", signal)
    assert main(["convert", str(folder / "m.keras"), str(folder / "e.onnx"), "--inputs", "signal", "sigma"]) == 0
    return folder, model, signal


@pytest.fixture
def files(made, tmp_path):
    """Arguments: the export, the signal, and a function that names an output."""
    folder, model, signal = made
    return str(folder / "e.onnx"), str(folder / "y.npy"), lambda name: str(tmp_path / name), model, signal


def test_run_writes_what_the_model_encodes(files, capsys):
    onnx_file, signal_file, output, model, signal = files
    assert main(["run", onnx_file, signal_file, output("z.npy")]) == 0
    code, expected = np.load(output("z.npy")), model.encode(signal)
    np.testing.assert_allclose(code, expected, atol=1e-5 * expected.max())
    assert "(1, 244, 2)" in capsys.readouterr().out
    assert main(["run", onnx_file, signal_file, output("r.npy"), "--reconstruct", "--sigma", "0.5"]) == 0
    expected = np.asarray(model(signal, sigma=np.float32(0.5)))
    np.testing.assert_allclose(np.load(output("r.npy")), expected, atol=1e-5 * np.abs(expected).max())


def test_sparse_windows_and_progress_give_the_same_code(files, capsys):
    onnx_file, signal_file, output, model, signal = files
    options = ["--sparse", "--window", "30", "--progress"]
    assert main(["run", onnx_file, signal_file, output("z.npz"), *options]) == 0
    stored, expected = np.load(output("z.npz")), model.encode(signal)
    dense = np.zeros(stored["shape"], np.float32)
    dense[stored["index"][:, 0], stored["index"][:, 1], stored["filter"]] = stored["value"]
    np.testing.assert_allclose(dense, expected, atol=1e-5 * expected.max())
    assert "%" in capsys.readouterr().err


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
    assert words in error and error.count("\n") == 1 and "Traceback" not in error


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
    np.save(inputs / "flat.npy", np.zeros(50))
    (inputs / "text.npy").write_text("no array")
    (inputs / "m.keras").write_bytes(b"no zip")
    for arguments, words in (
            (["info", signal_file], "y.npy is not an ONNX file"), (["info", output("none.onnx")], "No file"),
            (["run", onnx_file, str(inputs / "nan.npy"), output("z.npy")], "NaN"),
            (["run", onnx_file, str(inputs / "flat.npy"), output("z.npy")], "shape"),
            (["run", onnx_file, str(inputs / "text.npy"), output("z.npy")], "text.npy is not a .npy array"),
            (["run", onnx_file, output("none.npy"), output("z.npy")], "No file"),
            (["run", onnx_file, signal_file, signal_file, "--overwrite"], "is the input"),
            (["run", onnx_file, signal_file, output("z.npy"), "--sparse"], ".npz"),
            (["run", onnx_file, signal_file, output("z.txt")], ".npy"),
            (["run", onnx_file, signal_file, output("z.npy"), "--window", "0"], "window"),
            (["convert", str(inputs / "m.keras"), output("e.onnx")], "m.keras is not a .keras file, or damaged"),
            (["convert", output("none.keras"), output("e.onnx")], "No file")):
        refused(capsys, arguments, words)
    assert [p.name for p in tmp_path.iterdir()] == ["inputs"]
