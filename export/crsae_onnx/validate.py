"""Keras against onnxruntime: names, shapes, then values."""

import numpy as np

from crsae_onnx.contract import TOLERANCE
from crsae_onnx.runtime import SparseEncoder


class ValidationError(ValueError):
    """The exported file does not compute what the model computes, or the check proves nothing."""


def validate(model, path, shapes=None, tolerance=TOLERANCE, seed=0):
    """Compare a model with its exported file on random signals.

    Args:
        model: ``keras_crsae.CRsAE``.
        path: its ``.onnx`` file.
        shapes: signal shapes (batch, *space, channels); None: four, most of them dividing nothing.
        tolerance: largest difference relative to the largest absolute value of the reference.
        seed: of the signals.

    Returns:
        A list of dicts: output, shape, difference.

    Raises:
        ValidationError: a shape or a value differs, or the reference code is all zero.
    """
    encoder, rng = SparseEncoder(path), np.random.default_rng(seed)
    size, channels = model.dictionary.kernel_size, model.dictionary.channels
    shapes = shapes or [(b, *(k + extra for k in size), channels) for b, extra in ((1, 0), (2, 37), (3, 64), (1, 101))]
    scale = float(model.sigma) * max(1.0, float(np.max(model.lambda_reg)) * float(model.sigma))
    report = []
    for shape in shapes:
        signal = (3 * scale * rng.standard_normal(shape)).astype("float32")
        reference = {"code": model.encode(signal), "reconstruction": np.asarray(model(signal))}
        if not np.any(reference["code"]):
            raise ValidationError(f"The reference code is all zero for shape {shape}: comparing it proves nothing. "
                                  "Lower lambda or validate on stronger signals.")
        for name in encoder.info["outputs"]:
            expected = reference[name]
            got = encoder.encode(signal) if name == "code" else encoder.reconstruct(signal)
            if got.shape != expected.shape:
                raise ValidationError(f"{name} for signal {shape}: Keras gives {expected.shape}, the file {got.shape}.")
            difference = float(np.max(np.abs(got - expected)) / np.max(np.abs(expected)))
            if not difference <= tolerance:
                raise ValidationError(f"{name} for signal {shape}: largest relative difference {difference:.2e}, "
                                      f"tolerated {tolerance:.0e}.")
            report.append({"output": name, "shape": shape, "difference": difference})
    return report
