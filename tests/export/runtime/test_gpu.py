"""On a GPU: the zoo's files give the CPU's results, in any batch, window and order of shapes.

Needs onnxruntime-gpu and NumPy alone, so that it runs where Keras is not installed:
``pytest -m gpu --noconftest tests/export/runtime/test_gpu.py``.
"""

import warnings
from pathlib import Path

import numpy as np
import pytest

ort = pytest.importorskip("onnxruntime", reason="the extra `runtime` is not installed")

from crsae_onnx import SparseEncoder  # noqa: E402
from crsae_onnx.runtime import sessions  # noqa: E402
from crsae_onnx.runtime.sessions import RunLimits  # noqa: E402

MODELS = Path(__file__).parents[3] / "models"
NAMES = sorted(folder.name for folder in MODELS.iterdir() if (folder / "encoder.onnx").is_file())


def why_not():
    """Why no GPU runs here, or None."""
    if sessions.CUDA not in ort.get_available_providers():
        return "This onnxruntime offers no CUDA provider (extra: runtime)."
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        encoder = SparseEncoder(MODELS / NAMES[0] / "encoder.onnx")
    return None if encoder.provider == sessions.CUDA else f"No GPU answers: {caught[-1].message}"


REASON = why_not()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(REASON is not None, reason=str(REASON))]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def both(name):
    path = MODELS / name / "encoder.onnx"
    encoders = SparseEncoder(path), SparseEncoder(path, providers=[sessions.CPU])
    for encoder in encoders:
        encoder.level.active = False  # signals of any level
    return encoders


def signal_like(encoder, rng, batch, side):
    """White noise of a size for which codes are not empty."""
    info = encoder.info
    scale = 0.5 if info["rank"] == 2 else (300 if encoder.whitening_inside else 30) * info["sigma"]
    shape = (batch, *(side + k for k in info["kernel_size"]), info["channels"])
    return (scale * rng.standard_normal(shape)).astype("f4")


def assert_same(made, expected, tolerance=1e-5):
    np.testing.assert_allclose(made, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_shapes_that_change_from_call_to_call(name, rng):
    gpu, cpu = both(name)
    assert gpu.provider == sessions.CUDA and "on CUDA" in repr(gpu)
    for batch, side in ((1, 0), (2, 61), (3, 17), (1, 2000 // gpu.info["rank"] ** 3), (2, 61)):
        signal = signal_like(cpu, rng, batch, side)
        for made in ("encode", "reconstruct")[:1 if gpu.whitening_inside else 2]:
            assert_same(getattr(gpu, made)(signal), expected := getattr(cpu, made)(signal))
            assert np.any(expected) or side < 100  # small ones may hold no event


def test_tf32_is_off_unless_asked_for(rng):
    name = "crsae-gray-25"
    gpu, cpu = both(name)
    fast = SparseEncoder(MODELS / name / "encoder.onnx", providers=[(sessions.CUDA, {"use_tf32": "1"}), sessions.CPU])
    signal = signal_like(cpu, rng, 1, 200)
    expected, made = cpu.reconstruct(signal), gpu.reconstruct(signal)
    error = [np.abs(e.reconstruct(signal) - expected).max() / np.abs(expected).max() for e in (gpu, fast)]
    assert error[0] < 1e-5 and made.dtype == np.float32
    if error[1] > 1e-5:  # GPUs before Ampere have no TF32
        assert error[1] < 1e-2


def test_windows_of_a_long_recording(rng):
    gpu, cpu = both("spikes-single-channel")
    signal = signal_like(cpu, rng, 1, 3_000_000)
    expected = cpu.encode(signal)
    assert np.count_nonzero(expected) > 1000
    assert_same(gpu.encode(signal), expected)
    assert_same(gpu.encode(signal, window=2**17), expected)
    sparse = gpu.encode(signal[:, :400_000], sparse=True)
    assert_same(sparse.to_dense(), cpu.encode(signal[:, :400_000]))


def test_a_large_batch_whole_and_in_parts(rng):
    gpu, cpu = both("crsae-gray-25")
    signal = signal_like(cpu, rng, 7, 300)
    expected = cpu.reconstruct(signal)
    one = gpu.encode(signal[:1]).size
    for most in (2**25, 4 * one, 3 * one, 1):  # parts of 7, 4, 3 and 1
        limited = SparseEncoder(gpu.path, limits=RunLimits(code_values_gpu=most))
        assert_same(limited.reconstruct(signal), expected)


def test_errors_are_those_of_the_cpu(rng):
    gpu, _ = both("crsae-gray-25")
    signal = signal_like(gpu, rng, 1, 20)
    signal[0, 3, 4, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        gpu.encode(signal)
