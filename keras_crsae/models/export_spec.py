"""A model in plain numbers, for exporters: what ``CRsAE.export_spec`` and ``CRsAE.export_reference`` return."""

from __future__ import annotations

import json
from typing import Any

import keras
import numpy as np
from crsae_onnx.core.measurement_spec import MeasurementSpec
from crsae_onnx.core.spec import EncoderSpec
from crsae_onnx.core.spec_parts import LayerSpec, StepSearch
from crsae_onnx.core.version import package_version
from keras import ops

from keras_crsae.layers import UnrolledCoding
from keras_crsae.layers.solver_loop import LOOP_BODY
from keras_crsae.problem import Blur, Identity, Mask, Matrix, Subsample
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
    counts, measurement = _counts(model), _measurement(model)
    return EncoderSpec(
        kernel=_unit_kernel(dictionary), decoder_kernel=_unit_kernel(model.decoder),
        adjoint_kernel=None if analysis is None or layers else _unit_kernel(analysis),
        subspace=_subspace(model),
        layers=layers, strides=dictionary.strides, block=encoder.block, step_size=float(model.step_size),
        lambda_reg=_rates(model), sigma=float(model.sigma),
        code_prior=encoder.cell.code_prior.onnx, likelihood=model.likelihood.onnx, **_of_filters(encoder.cell),
        **counts, search=_search(model), momentum=np.array(encoder.solver.momentum(encoder.iterations), np.float32),
        tolerance=encoder.tolerance, check_every=LOOP_BODY, active=encoder.active,
        config=_config(model), measurement=measurement,
        versions={"keras-crsae": package_version(), "keras": keras.__version__, "backend": keras.backend.backend()})


def _subspace(model: Any) -> np.ndarray | None:
    """What the filters of encoder and decoder span of the channels, where a graph may iterate on that alone."""
    plain = model.decoder is model.dictionary and isinstance(model.measurement, Identity) \
        and not isinstance(model.encoder, UnrolledCoding)
    return model.dictionary.channel_subspace() if plain else None


def _config(model: Any) -> dict[str, Any]:
    """The model's configuration as plain JSON; of a measurement its name alone: its numbers are in the graph."""
    config = {**model.get_config()}
    if not isinstance(model.measurement, Identity):
        config["measurement"] = repr(model.measurement)
    return json.loads(json.dumps(config, default=str))


def _measurement(model: Any) -> MeasurementSpec | None:
    """What of the signal the data are."""
    measurement = model.measurement
    if isinstance(measurement, Identity):
        return None
    if isinstance(measurement, Subsample):
        rank = model.rank
        factor, offset = (tuple(np.broadcast_to(v, rank).tolist()) for v in (measurement.factor, measurement.offset))
        return MeasurementSpec("subsample", factor=factor, offset=offset)
    if isinstance(measurement, Blur):
        return MeasurementSpec("blur", kernel=measurement.kernel, padding=tuple(measurement.padding))
    if isinstance(measurement, Matrix):
        matrix = measurement.matrix if isinstance(measurement.matrix, np.ndarray) else measurement.matrix.toarray()
        steps = None if measurement.count is None else _step_sizes(model)
        return MeasurementSpec("matrix", matrix=matrix, signal_shape=measurement.signal_shape, step_sizes=steps)
    way_out = "convert the model without it, inputs=('signal', 'mask'), and give the mask with each signal" \
        if isinstance(measurement, Mask) else "encode with Keras"
    raise ValueError(f"The measurement {measurement!r} has no form in an exported graph: {way_out}.")


def _step_sizes(model: Any) -> np.ndarray:
    """The step size of each matrix of a stack, as the encoder takes it for a batch that it measured."""
    cell = model.encoder.cell
    if cell.step_size_init != "auto":
        return np.full(model.measurement.count, float(cell.step_size))
    kernel, own = cell.dictionary.unit_kernel(), float(cell.step_size)
    largest = [float(model.measurement.of_batch(i, "float32").largest_eigenvalue(
        kernel, cell.dictionary.strides, lambda: 1.0 / own)) for i in range(model.measurement.count)]
    return np.maximum(own, 1.0 / np.array(largest))


def _rates(model: Any) -> np.ndarray:
    """lambda of each filter, or of all: a shared one is 0 of dense filters, too."""
    rates = ops.convert_to_numpy(model.lambda_reg)
    dense = model.encoder.cell.dense_filters
    if not dense:
        return rates
    sparse = model.filters - dense
    return np.append(np.broadcast_to(rates[:sparse], sparse), np.zeros(dense))


def _of_filters(cell: Any) -> dict[str, Any]:
    """Signs of the filters' codes where they differ, and the penalty of dense filters."""
    ridge = None
    if cell.dense_weight:
        ridge = np.zeros(cell.dictionary.filters)
        ridge[cell.dictionary.filters - cell.dense_filters:] = cell.dense_weight
    by_filter = cell.code_prior.onnx == "signed_by_filter"
    return {"signs": cell.code_prior.signs if by_filter else None, "ridge": ridge}


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
