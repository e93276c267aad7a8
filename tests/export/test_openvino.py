"""Files without control flow in OpenVINO, Intel's run time: the same numbers."""

import numpy as np
import pytest
from crsae_onnx import SparseEncoder
from crsae_onnx.convert import convert

import keras_crsae as kc
from keras_crsae import zoo

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install '.[openvino]'.")


def computed(path, **given):
    """All outputs in OpenVINO, in float32 (its default is bfloat16 where the processor has it)."""
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return {output.any_name: value for output, value in compiled(given).items()}


def compare(path, signal, **given):
    made = computed(path, signal=signal, **given)
    expected = SparseEncoder(path).run(list(made), signal, **given)
    for name, value in expected.items():
        assert np.abs(made[name] - value).max() <= 1e-4 * np.abs(value).max()
        assert value.any()


@pytest.mark.parametrize("name", zoo.names())
def test_a_zoo_model_computes_the_same(name, tmp_path, rng):
    path = convert(zoo.load_model_from_zoo(name), tmp_path / "e.onnx", loop=False)
    info = SparseEncoder(path).info
    for extra in (3, 61):
        shape = (2, *(k + (2000 if info["rank"] == 1 else 0) + extra for k in info["kernel_size"]), info["channels"])
        compare(path, (3 * info["sigma"] * rng.standard_normal(shape)).astype(np.float32))


@pytest.mark.parametrize("options", [
    dict(filters=3, kernel_size=9, strides=2), dict(filters=3, kernel_size=9, shrinkage="soft"),
    dict(filters=4, kernel_size=(5, 3), rank=2, strides=(2, 1)), dict(filters=4, kernel_size=5, rank=2)])
def test_masks_and_noise_levels_act_the_same(options, tmp_path, rng):
    model = kc.CRsAE(**options, iterations=8, lambda_init=0.7, seed=0)
    model.build((None,) * (model.rank + 1) + (2,))
    path = convert(model, tmp_path / "e.onnx", inputs=("signal", "mask", "sigma"))
    shape = (2, *(k + 20 for k in model.kernel_size), 2)
    compare(path, (3 * rng.standard_normal(shape)).astype(np.float32),
            mask=(rng.random(shape) < 0.8).astype(np.float32), sigma=np.float32([0.8, 1.2]))


def test_images_are_denoised_the_same(tmp_path, rng):
    path = convert(kc.load_model_from_zoo("denoise-gray"), tmp_path / "e.onnx", outputs=("denoised",),
                   inputs=("signal", "sigma"), loop=False)
    compare(path, rng.random((1, 40, 51, 1), dtype=np.float32), sigma=np.float32([0.1]))
