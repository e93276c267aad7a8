"""The examples in C++: spikes of a raw recording and a denoised image, with no code beside the file."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from crsae_onnx import SparseEncoder
from crsae_onnx.convert import convert

import keras_crsae as kc
from keras_crsae.data.simulate import simulate_spikes, spike_templates

EXAMPLES = Path(__file__).parents[2] / "examples" / "cpp"
COMPILER = os.environ.get("CXX", "c++")


def flags():
    """What pkg-config says of onnxruntime; [] where it knows none."""
    if not shutil.which("pkg-config"):
        return []
    said = subprocess.run(["pkg-config", "--cflags", "--libs", "libonnxruntime"], capture_output=True, text=True)
    return said.stdout.split() if said.returncode == 0 else []


pytestmark = [pytest.mark.slow, pytest.mark.skipif(
    not (shutil.which(COMPILER) and flags()),
    reason="A C++ compiler, pkg-config or onnxruntime's headers (Debian 13: libonnxruntime-dev) are not installed.")]


def compiled(name, folder):
    """The program, from the line in its first comment but for warnings."""
    command = [COMPILER, "-std=c++17", "-Wall", "-Wextra", "-Werror", EXAMPLES / f"{name}.cpp", *flags(), "-o",
               folder / name]
    subprocess.run(command, check=True, timeout=600)
    return folder / name


def test_spikes_from_cpp_equal_those_from_python(tmp_path):
    model = kc.CRsAE(3, 21, iterations=60, sigma=1.0, lambda_init=3.0)
    model.set_dictionary(spike_templates(21, 3))
    path = convert(model, tmp_path / "e.onnx", outputs=("spikes",), spikes=6.0)
    signal = simulate_spikes(spike_templates(21, 3), windows=1, samples=4000, events_per_window=40, seed=2).signal
    index, unit, amplitude = SparseEncoder(path).spikes(signal)
    (tmp_path / "recording").write_bytes(np.ascontiguousarray(signal, "<f4").tobytes())
    program = compiled("spikes", tmp_path)
    lines = subprocess.run([program, path, tmp_path / "recording", "1"], check=True, capture_output=True, text=True,
                           timeout=120).stdout.splitlines()
    made = np.array([line.split(",") for line in lines[1:]], float)
    assert lines[0] == "sample,unit,amplitude" and len(unit) > 20
    np.testing.assert_array_equal(made[:, :2], np.stack([index[:, 1], unit], axis=1))
    np.testing.assert_allclose(made[:, 2], amplitude, rtol=1e-4)
    for words in ((), (path, tmp_path / "none", "1"), (path, tmp_path / "recording", "0")):
        refused = subprocess.run([program, *words], capture_output=True, text=True, timeout=120)
        assert refused.returncode == 1 and refused.stderr.count("\n") == 1


def test_an_image_denoised_from_cpp_equals_python(tmp_path, rng):
    path = convert(kc.load_model_from_zoo("denoise-gray"), tmp_path / "e.onnx", outputs=("denoised",),
                   inputs=("signal", "sigma"))
    noisy = rng.random((1, 40, 51, 1), dtype=np.float32)
    (tmp_path / "noisy").write_bytes(noisy.astype("<f4").tobytes())
    words = (path, tmp_path / "noisy", tmp_path / "clean", "40", "51", "1", "0.1")
    subprocess.run([compiled("denoise", tmp_path), *words], check=True, timeout=120)
    clean = np.fromfile(tmp_path / "clean", "<f4").reshape(noisy.shape)
    np.testing.assert_allclose(clean, SparseEncoder(path).denoise(noisy, 0.1), atol=1e-4)
