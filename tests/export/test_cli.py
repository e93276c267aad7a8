"""The command line ``crsae-onnx``, on files."""

import numpy as np
import pytest
from crsae_onnx.cli import main

import keras_crsae as kc


@pytest.fixture
def files(tmp_path, rng):
    model = kc.CRsAE(2, 7, iterations=10, lambda_init=0.7, seed=0)
    model.build((None, None, 1))
    model.save(tmp_path / "m.keras")
    signal = 3 * rng.standard_normal((1, 50, 1)).astype("float32")
    np.save(tmp_path / "y.npy", signal)
    return tmp_path, model, signal


def test_convert_validate_run_and_info(files, capsys):
    folder, model, signal = files
    keras_file, onnx_file, code = (str(folder / n) for n in ("m.keras", "e.onnx", "z.npy"))
    assert main(["convert", keras_file, onnx_file]) == 0
    assert main(["validate", keras_file, onnx_file]) == 0
    assert main(["run", onnx_file, str(folder / "y.npy"), code]) == 0
    np.testing.assert_allclose(np.load(code), model.encode(signal), atol=1e-4)
    assert main(["info", onnx_file]) == 0
    assert '"filters": 2' in capsys.readouterr().out
    assert main(["run", onnx_file, str(folder / "y.npy"), code]) == 2
    assert "overwrite" in capsys.readouterr().err


def test_a_foreign_file_is_one_line_of_error(files, capsys):
    folder, *_ = files
    assert main(["info", str(folder / "y.npy")]) == 2
    error = capsys.readouterr().err
    assert "y.npy" in error and "Traceback" not in error
