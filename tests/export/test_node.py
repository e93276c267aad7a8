"""The example in JavaScript: spikes of a raw recording and a denoised image, with no code beside the file."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from crsae_onnx import SparseEncoder
from crsae_onnx.convert import convert

import keras_crsae as kc
from keras_crsae.data.simulate import simulate_spikes, spike_templates

EXAMPLE = Path(__file__).parents[2] / "examples" / "node"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")),
                                                   reason="Node.js and npm are not installed.")]


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """A function that runs the example on an array and gives its outputs."""
    folder = tmp_path_factory.mktemp("node") / "example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules"))
    # Its install script only fetches CUDA libraries, from elsewhere; the CPU's are inside the package.
    subprocess.run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, check=True,
                   capture_output=True, timeout=300)

    def run(path, array, *options):
        (folder / "input").write_bytes(np.ascontiguousarray(array, "<f4").tobytes())
        subprocess.run(["node", "run.mjs", str(path), "input", "output.json", "x".join(map(str, array.shape)),
                        *map(str, options)], cwd=folder, check=True, capture_output=True, timeout=120)
        made = json.loads((folder / "output.json").read_text())
        return {name: np.array(t["data"]).reshape(t["dims"]) for name, t in made.items()}

    return run


def test_spikes_from_javascript_equal_those_from_python(node, tmp_path):
    model = kc.CRsAE(3, 21, iterations=60, sigma=1.0, lambda_init=3.0)
    model.set_dictionary(spike_templates(21, 3))
    path = convert(model, tmp_path / "e.onnx", outputs=("spikes",), spikes=6.0)
    signal = simulate_spikes(spike_templates(21, 3), windows=2, samples=2000, events_per_window=20, seed=2).signal
    index, unit, amplitude = SparseEncoder(path).spikes(signal)
    made = node(path, signal)
    assert len(unit) > 20
    np.testing.assert_array_equal(made["spike_index"], index)
    np.testing.assert_array_equal(made["spike_unit"], unit)
    np.testing.assert_allclose(made["spike_amplitude"], amplitude, rtol=1e-4)


def test_an_image_denoised_from_javascript_equals_python(node, tmp_path, rng):
    path = convert(kc.load_model_from_zoo("denoise-gray"), tmp_path / "e.onnx", outputs=("denoised",),
                   inputs=("signal", "sigma"))
    noisy = rng.random((1, 40, 51, 1), dtype=np.float32)
    np.testing.assert_allclose(node(path, noisy, 0.1)["denoised"], SparseEncoder(path).denoise(noisy, 0.1), atol=1e-4)
