"""How far codes are from the optimum of the objective."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from keras import ops

from keras_crsae.backend import double_precision
from keras_crsae.layers.dense_filters import DensePart
from keras_crsae.layers.measured_coding import measured_signal
from keras_crsae.models.call_inputs import CallInputs
from keras_crsae.models.encoding_model import EncodingModel
from keras_crsae.problem.measurements import mask_or_identity, observation_mask
from keras_crsae.problem.objective import Problem, dual_objective, objective
from keras_crsae.typing import Tensor

#: Of conjugate gradients, that bring a residual into the dual's feasible set where dense filters have no penalty.
_PROJECTION_STEPS = 200


class Convergence(NamedTuple):
    """How far each signal's code is from the optimum; float64 arrays (batch,)."""

    objective: np.ndarray  #: 1/2 ||y - D z||^2 + sigma^2 sum_c lambda_c ||z_c||_1, or that of the likelihood
    gap: np.ndarray  #: duality gap: the optimum is lower by at most this
    remaining: np.ndarray  #: gap / (objective of the zero code - objective): bounds the share of the drop to come


def convergence(model: EncodingModel, inputs: CallInputs, code: np.ndarray, baseline: Tensor | None) -> Convergence:
    """Objective, duality gap and share of the drop to come of a code.

    Args:
        model: a built model.
        inputs: the call's signal and options.
        code: (batch, *positions, filters).
        baseline: None, or eta of the zero code.

    Raises:
        ValueError: a support, a code of another shape, a likelihood or prior without a dual.
    """
    if inputs.support is not None:
        raise ValueError("`convergence` bounds the optimum over all codes, and `support` forbids most. Omit it.")
    space = model.measurement.signal_space(inputs.signal.shape[1:-1])
    expected = (len(inputs.signal), *model.dictionary.code_space(space), model.filters)
    if code.shape != expected:
        raise ValueError(f"`code` must have shape {expected} for a signal {inputs.signal.shape}. "
                         f"Received: {code.shape}")
    with double_precision():
        return _convergence(model, inputs, code, baseline)


def _convergence(model: EncodingModel, inputs: CallInputs, code: np.ndarray, baseline: Tensor | None) -> Convergence:
    """As ``convergence`` after its checks."""
    space = model.measurement.signal_space(inputs.signal.shape[1:-1])
    signal, code = (ops.cast(array, model.variable_dtype) for array in (inputs.signal, code))
    observed = observation_mask(inputs.mask, signal)
    if model.measurement.is_mask:
        padded, observed = model.encoder.pad_to_strides(signal, observed)
        measurement = mask_or_identity(observed)
    else:
        phi = model.measurement.of_batch(inputs.operator, model.variable_dtype)
        padded, measurement = signal, measured_signal(phi, model.dictionary, space, observed)
    prior = model.encoder.cell.code_prior  # that of dense filters, too
    problem = Problem(model.likelihood, prior, measurement, baseline)
    if model.measurement.is_mask and model.likelihood.quadratic:
        padded = problem.measurement.forward(padded)
    weight = model.encoder.cell.penalty_weight(inputs.sigma, inputs.dispersion)
    eta = ops.cast(model.dictionary(code), model.variable_dtype)
    zero = objective(problem, padded, ops.zeros_like(code), ops.zeros_like(eta), weight)
    value = objective(problem, padded, code, eta, weight)
    lower = _dual_with_dense_filters(model, padded, observed, eta, weight) if model.dense_filters else \
        dual_objective(problem, padded, eta, model.dictionary.adjoint, weight)
    gap = ops.maximum(value - lower, 0.0)
    return Convergence(*(ops.convert_to_numpy(v) for v in (value, gap, gap / ops.maximum(zero - value, 1e-30))))


def _dual_with_dense_filters(model: EncodingModel, signal: Tensor, observed: Tensor | None, eta: Tensor,
                             weight: Tensor) -> Tensor:
    """As ``dual_objective`` where the last filters are dense.

    Dense filters A with a penalty r/2 ||x||^2 add -||A^T u||^2 / (2 r) to the dual; without one they ask for A^T u = 0,
    which the residual is brought to by a fit of A to it, to the rounding of that fit.

    Args:
        model: built, with dense filters.
        signal: (batch, *space, channels), of whole strides, 0 where a sample is missing.
        observed: None, or 0/1 of signal's shape.
        eta: D z.
        weight: penalty weight of every filter.
    """
    cell = model.encoder.cell
    dense = DensePart(model.dictionary, cell.dense_filters, cell.dense_weight)
    dual = signal - eta if observed is None else observed * (signal - eta)
    if not dense.ridge:
        dual = dense.residual(dual, observed, _PROJECTION_STEPS)
    excess = cell.sparse_prior.dual_excess(dense.adjoint_of_sparse(dual))
    if excess is None:
        raise ValueError(f"The code prior {type(cell.sparse_prior).__name__} has no dual excess, so there is no bound "
                         "of the optimum. Give its class a method `dual_excess`, or compare codes after more "
                         "iterations.")
    axes = tuple(range(1, len(signal.shape)))
    least = 1.0 / ops.maximum(ops.max(excess / weight[..., :dense.sparse_filters], axis=axes), 1e-30)
    correlation = model.dictionary.adjoint(dual, dense.kernel()) if dense.ridge else ops.zeros_like(dual)
    y, dual, correlation, least = (ops.cast(v, "float64") for v in (signal, dual, correlation, least))
    slope, curvature = ops.sum(y * dual, axes), ops.sum(ops.square(dual), axes)
    if dense.ridge:
        curvature += ops.sum(ops.square(correlation), axes) / dense.ridge
    scale = ops.clip(slope / ops.maximum(curvature, 1e-30), 0.0, least)
    return scale * slope - 0.5 * ops.square(scale) * curvature
