"""A model in plain numbers, for exporters: what ``CRsAE.export_spec`` and ``CRsAE.export_reference`` return."""

from __future__ import annotations

import json
from typing import Any

import keras
import numpy as np
from crsae_onnx.core.spec import EncoderSpec
from crsae_onnx.core.spec_parts import LayerSpec, StepSearch
from crsae_onnx.core.version import package_version
from keras import ops

from keras_crsae.layers import UnrolledCoding
from keras_crsae.layers.solver_loop import LOOP_BODY
from keras_crsae.solvers import Backtracking

__all__ = ["encoder_spec", "reference_model"]


def encoder_spec(model: Any) -> EncoderSpec:
    """The encoder and decoder of a model as NumPy values.

    Args:
        model: built ``CRsAE``.

    Raises:
        ValueError: a model without weights, or values that are not finite.

    Example:
        >>> import keras_crsae as kc
        >>> from keras_crsae.models.export_spec import encoder_spec
        >>> model = kc.CRsAE(filters=3, kernel_size=9, iterations=20)
        >>> model.build((None, None, 1))
        >>> spec = encoder_spec(model)
        >>> spec.kernel.shape, spec.iterations
        ((9, 1, 3), 20)
    """
    if not model.built:
        raise ValueError("The model has no weights yet: call model.build((None, None, channels)) or fit it first.")
    if not model.encoder.solver.exports:
        raise ValueError(f"The solver {type(model.encoder.solver).__name__} has no form in an exported graph. "
                         "Encode with Keras, or export a model with solver='fista'.")
    if model.encoder.top_k is not None:
        raise ValueError("top_k, the largest values of a code alone, has no form in an exported graph. Encode with "
                         "Keras, or export a model with top_k=None and select values of its codes.")
    dictionary, encoder, analysis = model.dictionary, model.encoder, model.encoder.analysis
    layers = tuple(LayerSpec(*parameters) for parameters in encoder.parameters_of_iterations()) \
        if isinstance(encoder, UnrolledCoding) else ()
    counts = _counts(model)
    return EncoderSpec(
        kernel=_unit_kernel(dictionary), decoder_kernel=_unit_kernel(model.decoder),
        adjoint_kernel=None if analysis is None or layers else _unit_kernel(analysis),
        subspace=dictionary.channel_subspace() if model.decoder is dictionary and not layers else None,
        layers=layers, strides=dictionary.strides, block=encoder.block, step_size=float(model.step_size),
        lambda_reg=ops.convert_to_numpy(model.lambda_reg), sigma=float(model.sigma),
        code_prior=model.code_prior.onnx, likelihood=model.likelihood.onnx,
        **counts, search=_search(model), momentum=np.array(encoder.solver.momentum(encoder.iterations), np.float32),
        tolerance=encoder.tolerance, check_every=LOOP_BODY, active=encoder.active,
        config=json.loads(json.dumps(model.get_config(), default=str)),
        versions={"keras-crsae": package_version(), "keras": keras.__version__, "backend": keras.backend.backend()})


def _counts(model: Any) -> dict[str, Any]:
    """Size and baseline of counts; nothing where the data are none."""
    cell = model.encoder.cell
    if cell.likelihood.size_name is None:
        return {}
    if model.encoder.baseline_scope == "signal":
        raise ValueError("Each signal of this model has a baseline of its own (baseline_scope='signal'), found with "
                         "its code, which an exported graph does not do. Encode with Keras, or export a model with "
                         "baseline_scope='channel'; a file with the input 'baseline' takes one of each signal.")
    return {"size": cell.likelihood.size, "baseline": ops.convert_to_numpy(cell.baseline)}


def _search(model: Any) -> StepSearch | None:
    """How signals find their step sizes, where the solver is one that searches."""
    solver, cell = model.encoder.solver, model.encoder.cell
    if not solver.adaptive:
        return None
    if type(solver) is not Backtracking or cell.likelihood.size_name is None:
        raise ValueError(f"The solver {type(solver).__name__} has no form in an exported graph with the likelihood "
                         f"{type(cell.likelihood).__name__}. Encode with Keras, or export a model with solver='fista'.")
    return StepSearch(**solver.get_config(), by_data=cell.finds_steps)


def reference_model(model: Any, tolerance: float | None = None) -> Any:
    """The model, or a copy that computes as its exported file does: in float32, every position, with ``tolerance``.

    Args:
        model: built ``CRsAE``.
        tolerance: of the file.

    Returns:
        A model of the same class and weights.
    """
    if model.encoder.tolerance == tolerance and not model.encoder.active and model.compute_dtype == "float32":
        return model
    options: dict[str, Any] = {"tolerance": tolerance, "active": False, "dtype": "float32"}
    if tolerance is not None:
        options["unroll"] = False
    if model.encoder.solver.active:
        options["solver"] = "fista"
    copy = type(model).from_config({**model.get_config(), **options})
    copy.build((None,) * (model.rank + 1) + (model.dictionary.channels,))
    copy.set_weights(model.get_weights())
    return copy


def _unit_kernel(layer: Any) -> np.ndarray:
    return ops.convert_to_numpy(layer.unit_kernel()).astype(np.float32)
