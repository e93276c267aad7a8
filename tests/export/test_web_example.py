"""The examples shipped with the page are those that its script writes, in the present format of files."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from crsae_onnx import SparseEncoder

SCRIPT = Path(__file__).parents[2] / "export" / "web" / "example.py"
SHIPPED = SCRIPT.parent / "example"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example")
    runpy.run_path(str(SCRIPT))["write"](folder)
    return folder


@pytest.mark.parametrize("name", ["recording.npy", "image.npy"])
def test_the_shipped_data_are_those_of_the_script(written, name):
    np.testing.assert_allclose(np.load(SHIPPED / name), np.load(written / name), rtol=1e-5, atol=1e-6)


def test_the_shipped_models_are_those_of_the_script(written):
    for name in ("spikes.onnx", "denoiser.onnx", "denoiser_written_out.onnx"):
        shipped, new = (SparseEncoder(folder / name).info for folder in (SHIPPED, written))
        assert shipped.keys() == new.keys() and shipped["format_version"] == new["format_version"]
        for key in ("name", "filters", "kernel_size", "iterations", "inputs", "outputs", "code_prior", "preprocessing"):
            assert shipped[key] == new[key]
        np.testing.assert_allclose(shipped["penalty_weight"], new["penalty_weight"], rtol=1e-5)
    recording = np.load(SHIPPED / "recording.npy")[None]
    for one, other in zip(*(SparseEncoder(f / "spikes.onnx").spikes(recording) for f in (SHIPPED, written)),
                          strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)
    image = np.load(SHIPPED / "image.npy")[None, ..., None]
    one, *others = (SparseEncoder(f / f"denoiser{form}.onnx").denoise(image, 0.1)
                    for f in (SHIPPED, written) for form in ("", "_written_out"))
    for other in others:
        np.testing.assert_allclose(one, other, atol=1e-5)
