"""Half precision: its difference from Keras, its range, and why there is no int8."""

import numpy as np
import onnx
import pytest
from crsae_onnx import SparseEncoder
from crsae_onnx.convert import convert
from crsae_onnx.core.spec import TOLERANCES
from crsae_onnx.file_format import container
from crsae_onnx.validate import validate
from onnx.reference import ReferenceEvaluator

import keras_crsae as kc
from keras_crsae.data.simulate import simulate_spikes, spike_templates

CONFIGS = {"signals": (dict(filters=3, kernel_size=9, iterations=25), 1),
           "two-sided": (dict(filters=3, kernel_size=9, iterations=23, shrinkage="soft", strides=2), 2),
           "images": (dict(filters=4, kernel_size=5, rank=2, iterations=12), 1),
           "strided images": (dict(filters=4, kernel_size=(5, 3), rank=2, strides=(2, 1), iterations=12), 1)}


def built(options, channels=1):
    model = kc.CRsAE(**options, lambda_init=0.7, seed=0)
    model.build((None,) * (model.rank + 1) + (channels,))
    return model


@pytest.fixture(scope="module")
def templates():
    """Similar filters and many iterations: hard for few digits."""
    model = kc.CRsAE(filters=3, kernel_size=45, iterations=100, sigma=1.0, lambda_init=4.0)
    model.set_dictionary(spike_templates(45, 3))
    signal = simulate_spikes(spike_templates(45, 3), windows=1, samples=600, events_per_window=6, seed=3).signal
    return model, np.asarray(signal, np.float32)


def differs(made, expected):
    return float(np.abs(made - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("name", CONFIGS)
def test_half_files_stay_within_their_tolerance_with_every_input(name, tmp_path):
    options, channels = CONFIGS[name]
    model = built(options, channels)
    path = convert(model, tmp_path / "e.onnx", precision="float16", inputs=("signal", "mask", "sigma"))
    assert SparseEncoder(path).info["precision"] == "float16"
    report = validate(model, path)
    assert 1e-6 < report.difference <= TOLERANCES["float16"] / 2
    assert TOLERANCES == {"float32": 1e-4, "float16": 5e-3}


def test_sums_in_half_keep_the_tolerance_too(templates, tmp_path):
    """onnxruntime's CPU drops casts and computes in float32; ONNX's reference computes the convolutions in half, their
    sums included, which no GPU does worse."""
    model, signal = templates
    path = convert(model, tmp_path / "e.onnx", precision="float16")
    code, reconstruction = ReferenceEvaluator(str(path)).run(None, {"signal": signal})
    expected = model.encode(signal)
    assert 1e-5 < differs(code, expected) <= TOLERANCES["float16"]
    assert differs(reconstruction, np.asarray(model.decode(expected))) <= TOLERANCES["float16"]


def test_the_state_of_the_iterations_is_float32(templates, tmp_path):
    proto = onnx.load(convert(templates[0], tmp_path / "e.onnx", precision="float16"))
    loop = next(n for n in proto.graph.node if n.op_type == "Loop").attribute[0].g
    assert {v.type.tensor_type.elem_type for v in loop.output[1:]} == {onnx.TensorProto.FLOAT}
    halves = {n.output[0] for n in loop.node if n.op_type == "Cast" and n.attribute[0].i == onnx.TensorProto.FLOAT16}
    convolutions = [n for n in loop.node if n.op_type == "Conv"]
    assert len(convolutions) == 20 and all(n.input[0] in halves for n in convolutions)
    assert {t.type.tensor_type.elem_type for t in (*proto.graph.input, *proto.graph.output)} == {onnx.TensorProto.FLOAT}


@pytest.mark.parametrize("factor", [1e-9, 1e6])
def test_signals_of_any_unit_neither_overflow_nor_vanish(factor, tmp_path):
    """The largest half number is 65504, the smallest 6e-8."""
    model = built(dict(CONFIGS["signals"][0], sigma=1.0))
    path = convert(model, tmp_path / "e.onnx", precision="float16", inputs=("signal", "sigma"))
    signal = 3 * np.random.default_rng(0).standard_normal((2, 100, 1)).astype("float32")
    expected = model.encode(signal)
    for run in (SparseEncoder(path).encode,
                lambda y, sigma: ReferenceEvaluator(str(path)).run(["code"], {"signal": y, "sigma": sigma})[0]):
        made = run(np.float32(factor) * signal, sigma=np.full(2, factor, np.float32)) / np.float32(factor)
        assert differs(made, expected) < TOLERANCES["float16"]
    assert not SparseEncoder(path).encode(np.zeros((1, 50, 1))).any()


def test_half_files_are_smaller(tmp_path):
    model = built(dict(filters=64, kernel_size=12, rank=2, iterations=10, strides=4, shrinkage="soft"))
    full, half = (len(container.unpack(convert(model, tmp_path / f"{p}.onnx", precision=p).read_bytes())[0])
                  for p in TOLERANCES)  # of the graphs
    assert full - half > 0.4 * 4 * np.asarray(model.dictionary.kernel).size  # bytes: half of each float32, nearly


def test_eight_bits_are_refused_and_rightly(templates, tmp_path):
    model, signal = templates
    with pytest.raises(ValueError, match="no int8"):
        convert(model, tmp_path / "e.onnx", precision="int8")
    rounded = kc.CRsAE.from_config(model.get_config())
    rounded.build((None, None, 1))
    rounded.set_weights(model.get_weights())
    kernel = np.asarray(model.dictionary.kernel)
    step = np.abs(kernel).max(axis=(0, 1), keepdims=True) / 127  # one scale a filter
    rounded.dictionary.kernel.assign(np.round(kernel / step) * step)
    assert differs(rounded.encode(signal), model.encode(signal)) > 1e-2
