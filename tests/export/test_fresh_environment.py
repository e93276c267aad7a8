"""The wheel in an environment that holds only numpy and onnxruntime."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
from crsae_onnx.convert import convert

import keras_crsae as kc

ROOT = Path(__file__).parents[2]
SCRIPT = """
import importlib.util, sys
import numpy as np
from crsae_onnx import SparseEncoder
assert not any(importlib.util.find_spec(n) for n in ("tensorflow", "keras", "tf2onnx", "onnx", "scipy"))
from crsae_onnx.cli import main
encoder, signal = SparseEncoder(sys.argv[1]), np.load(sys.argv[2])
code = encoder.encode(signal)
np.testing.assert_allclose(encoder.encode(signal, sparse=True, window=20).to_dense(), code, atol=1e-5)
np.save(sys.argv[3], code)
assert main(["info", sys.argv[1]]) == 0
assert main(["convert", "m.keras", "f.onnx"]) == 2
"""


def test_wheel_encodes_without_tensorflow(tmp_path, rng):
    model = kc.CRsAE(2, 7, iterations=10, lambda_init=0.7, seed=0)
    model.build((None, None, 1))
    convert(model, tmp_path / "e.onnx")
    model.save(tmp_path / "m.keras")
    signal = 3 * rng.standard_normal((2, 61, 1)).astype("float32")
    np.save(tmp_path / "y.npy", signal)
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "numpy", "onnxruntime"], check=True)
    subprocess.run([*pip, "--no-deps", str(ROOT)], check=True)
    files = [str(tmp_path / n) for n in ("e.onnx", "y.npy", "z.npy")]
    (tmp_path / "home").mkdir()
    home = {name: str(tmp_path / "home") for name in ("HOME", "USERPROFILE", "XDG_CACHE_HOME", "LOCALAPPDATA")}
    clean = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run([str(python), "-c", SCRIPT, *files], check=True, cwd=tmp_path, capture_output=True, text=True,
                          env={**clean, **home})
    assert not list((tmp_path / "home").iterdir())  # onnxruntime would keep a database of its use there
    assert "2 filters of 7" in done.stdout and "keras-crsae[export]" in done.stderr
    code = np.load(tmp_path / "z.npy")
    assert np.any(code)
    np.testing.assert_allclose(code, model.encode(signal), atol=1e-4 * np.abs(code).max())
