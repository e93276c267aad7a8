"""CRsAE -> ``.onnx``. The FISTA iterations become one ONNX Loop; batch and every spatial axis stay dynamic."""

import json
import os
from pathlib import Path

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from keras import ops

from crsae_onnx.contract import FORMAT_VERSION, INPUT, METADATA_KEY, OPSET, OUTPUTS, axes


def convert(model, path, outputs=OUTPUTS, overwrite=False):
    """Write a built ``CRsAE`` as an ONNX file.

    Args:
        model: ``keras_crsae.CRsAE``, built.
        path: file to write.
        outputs: some of "code", "reconstruction".
        overwrite: replace an existing file.

    Returns:
        The path.

    Raises:
        ValueError: unbuilt model or unknown output.
        FileExistsError: the file exists and ``overwrite`` is False.
    """
    path = Path(path)
    if not model.built:
        raise ValueError("The model has no weights yet: call model.build((None, None, channels)) or fit it first.")
    if not outputs or any(name not in OUTPUTS for name in outputs):
        raise ValueError(f"`outputs` must be some of {OUTPUTS}. Received: {outputs!r}")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists. Choose another name or pass overwrite=True.")
    rank, channels = model.rank, model.dictionary.channels

    def forward(signal):
        code = model.encoder(signal)
        made = {"code": code}
        if "reconstruction" in outputs:
            made["reconstruction"] = model._crop(model.decoder(code), signal)
        return {name: tf.identity(made[name], name=name) for name in outputs}

    signature = tf.TensorSpec((None,) * (rank + 1) + (channels,), tf.float32, name=INPUT)
    proto, _ = tf2onnx.convert.from_function(tf.function(forward, input_signature=[signature]), [signature],
                                             opset=OPSET)
    _name_axes(proto.graph, rank)
    _store(proto, _describe(model, outputs))
    onnx.checker.check_model(proto)
    # Written under a temporary name and renamed: a killed process leaves no half file.
    temporary = path.with_name(path.name + ".part")
    onnx.save(proto, temporary)
    os.replace(temporary, path)
    return path


def _name_axes(graph, rank):
    for tensor in (*graph.input, *graph.output):
        shape = tensor.type.tensor_type.shape
        if len(shape.dim) != rank + 2:
            del shape.dim[:]
            for _ in range(rank + 2):
                shape.dim.add()
        for dim, name in zip(shape.dim, axes(tensor.name, rank), strict=True):
            if not dim.dim_value:
                dim.dim_param = name


def _describe(model, outputs):
    import keras

    coding = model.encoder
    return {
        "format_version": FORMAT_VERSION, "rank": model.rank, "channels": model.dictionary.channels,
        "filters": model.dictionary.filters, "kernel_size": list(model.dictionary.kernel_size),
        "strides": list(model.dictionary.strides), "iterations": coding.iterations,
        "shrinkage": coding.cell.shrinkage, "outputs": list(outputs), "sigma": float(model.sigma),
        "step_size": float(model.step_size), "unit": "that of the training data",
        "lambda_reg": np.asarray(ops.convert_to_numpy(model.lambda_reg), float).tolist(),
        "threshold": np.asarray(ops.convert_to_numpy(coding.cell.threshold()), float).tolist(),
        "config": json.loads(json.dumps(model.get_config(), default=str)),
        "versions": {"keras": keras.__version__, "tensorflow": tf.__version__, "tf2onnx": tf2onnx.__version__,
                     "onnx": onnx.__version__},
    }


def _store(proto, description):
    onnx.helper.set_model_props(proto, {METADATA_KEY: json.dumps(description)})
