"""Keras' own ``model.export``: our models, and a user's functional model that holds our layers, at two shapes each."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_crsae as kc

SHAPES = {1: [(2, 50, 1), (3, 77, 1)], 2: [(1, 20, 23, 2), (2, 31, 30, 2)]}


def crsae(rank):
    model = kc.CRsAE(3, 9 if rank == 1 else (5, 4), iterations=20, lambda_init=0.7, seed=0)
    model.build((None,) * (rank + 1) + (SHAPES[rank][0][-1],))
    return model


def functional(rank):
    cell = kc.SparseCodingCell(kc.ConvDictionary(4, 9 if rank == 1 else (5, 4)), lambda_init=0.3)
    inputs = keras.Input((None,) * rank + (SHAPES[rank][0][-1],))
    code = kc.SparseCoding(cell, iterations=12)(inputs)
    pool = keras.layers.GlobalAveragePooling1D() if rank == 1 else keras.layers.GlobalAveragePooling2D()
    model = keras.Model(inputs, keras.layers.Dense(2)(pool(code)))
    model(np.zeros(SHAPES[rank][0], "float32"))  # Keras exports to ONNX what was called once
    return model


def run_onnx(path):
    import onnxruntime as ort

    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda signal: session.run(None, {name: signal})[0]


def run_saved_model(path):
    saved = tf.saved_model.load(path)  # owns the variables
    return lambda signal: saved.serve(signal)


def run_openvino(path):
    core = pytest.importorskip("openvino", reason="the extra `openvino` is not installed").Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda signal: compiled(signal)[0]  # leaves of the graph follow as further outputs


RUNNERS = {"onnx": ("m.onnx", run_onnx), "tf_saved_model": ("saved", run_saved_model),
           "openvino": ("m.xml", run_openvino)}


@pytest.mark.slow
@pytest.mark.parametrize("form, make, rank", [  # every pair of two of them
    ("onnx", crsae, 1), ("onnx", functional, 2), ("tf_saved_model", crsae, 2), ("tf_saved_model", functional, 1),
    ("openvino", crsae, 1), ("openvino", functional, 2)])
def test_what_keras_exports_computes_the_same_at_every_shape(form, make, rank, tmp_path, rng):
    if form == "openvino":
        pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    name, runner = RUNNERS[form]
    model = make(rank)
    path = str(tmp_path / name)
    model.export(path, format=form, verbose=False)
    run = runner(path)
    for shape in SHAPES[rank]:
        signal = 2 * rng.standard_normal(shape).astype("float32")
        expected = keras.ops.convert_to_numpy(model(signal))
        assert expected.any()
        np.testing.assert_allclose(run(signal), expected, atol=2e-6 * np.abs(expected).max())
