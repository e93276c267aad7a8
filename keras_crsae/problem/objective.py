"""What the encoder minimises, a bound of its minimum from below, and the penalty weight that makes every code zero.

    F(z) = sum_i value(y_i, (Phi D z)_i) + sum_c weight_c sum_j p(z_cj)

Fenchel's dual is to maximise sum_i -f*(-u_i) over u with dual_excess((Phi D)_c^T u) <= weight_c, f* the conjugate of
``value`` by eta. A residual, scaled into that set, is such a u, so its dual value bounds the optimum from below (Kim,
Koh, Lustig, Boyd, Gorinevsky, An interior-point method for large-scale l1-regularized least squares, 2007, section
III). Sums are in float64: a long recording's noise energy swallows float32 digits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from crsae_onnx.core.signals import as_float32, as_signal
from crsae_onnx.core.validation import as_sizes
from keras import ops

from keras_crsae._validation import as_unit_filters
from keras_crsae.operators.convolution import adjoint
from keras_crsae.problem import code_priors, likelihoods
from keras_crsae.problem.code_priors import CodePrior
from keras_crsae.problem.likelihoods import Likelihood
from keras_crsae.problem.measurements import Identity, Measurement
from keras_crsae.typing import Sizes, Tensor


@dataclass(frozen=True)
class Problem:
    """sum_i value(y_i, (Phi D z)_i) + sum_c weight_c p(z_c): likelihood, prior of the code, measurement.

    Example:
        >>> from keras_crsae.problem import Gaussian, Laplace, Problem
        >>> Problem(Gaussian(), Laplace()).measurement.norm
        1.0
    """

    likelihood: Likelihood
    code_prior: CodePrior
    measurement: Measurement = field(default_factory=Identity)

    def residual(self, signal: Tensor, eta: Tensor) -> Tensor:
        """Phi^T residual(y, Phi eta): D^T of it is minus the gradient by the code."""
        if not self.measurement.projection:
            eta = self.measurement.forward(eta)
        return self.measurement.adjoint(self.likelihood.residual(signal, eta))


def objective(problem: Problem, signal: Tensor, code: Tensor, eta: Tensor, penalty_weight: Tensor) -> Tensor:
    """Value of the objective for each signal, (batch,) float64.

    Args:
        problem: likelihood, code prior, measurement.
        signal: the data y, (batch, *space, channels).
        code: (batch, *positions, filters).
        eta: D z, before the measurement.
        penalty_weight: lambda * sigma^2, (filters,) or broadcastable to the code.
    """
    y, eta = ops.cast(signal, "float64"), ops.cast(eta, "float64")
    value = problem.likelihood.value(y, problem.measurement.forward(eta))
    return _sum(_observed(problem, value)) + _sum(problem.code_prior.penalty(code, penalty_weight))


def dual_objective(problem: Problem, signal: Tensor, eta: Tensor, correlate: Callable[[Tensor], Tensor],
                   penalty_weight: Tensor) -> Tensor:
    """Lower bound of the optimum for each signal, (batch,) float64; tight at the optimum.

    Args:
        problem, signal, eta, penalty_weight: as for ``objective``.
        correlate: D^T, from a residual of signal's shape to the code's shape.

    Raises:
        ValueError: the likelihood or the code prior has no dual.
    """
    likelihood, prior = problem.likelihood, problem.code_prior
    residual = _observed(problem, likelihood.residual(signal, problem.measurement.forward(eta)))
    correlation = correlate(problem.measurement.adjoint(residual))
    largest = _largest_scale(prior, correlation, penalty_weight)
    least = -_largest_scale(prior, -correlation, penalty_weight)
    y, u = ops.cast(signal, "float64"), ops.cast(residual, "float64")
    scale = ops.clip(likelihood.dual_scale(y, u), least, largest)
    scale = ops.reshape(scale, (-1,) + (1,) * (len(u.shape) - 1))
    value = likelihood.dual_value(y, scale * u)
    if value is None:
        raise ValueError(f"The likelihood {type(likelihood).__name__} has no dual value, so there is no bound of the "
                         "optimum. Give its class a method `dual_value`, or compare codes after more iterations.")
    return _sum(_observed(problem, value))


def _largest_scale(prior: CodePrior, correlation: Tensor, penalty_weight: Tensor) -> Tensor:
    """Largest factor of a dual point that keeps it feasible, (batch,) float64."""
    excess = prior.dual_excess(correlation)
    if excess is None:
        raise ValueError(f"The code prior {type(prior).__name__} has no dual excess, so there is no bound of the "
                         "optimum. Give its class a method `dual_excess`, or compare codes after more iterations.")
    largest = ops.max(excess / penalty_weight, axis=tuple(range(1, len(correlation.shape))))
    return 1.0 / ops.maximum(ops.cast(largest, "float64"), 1e-30)


def lambda_max(signal: Tensor, filters: Tensor, strides: Sizes = 1, code_prior: CodePrior | str = "soft",
               likelihood: Likelihood | str = "gaussian") -> float:
    """Smallest penalty weight, lambda * sigma^2, with an all-zero code: the largest dual excess of D^T residual.

    For the Gaussian likelihood and the prior "soft" it is the largest |D^T y|, in the signal's unit.

    Args:
        signal: (batch, *space, channels).
        filters: (*kernel_size, channels, filters); normalised here.
        strides: int or tuple.
        code_prior, likelihood: object or registered name.

    Raises:
        ValueError: shapes that do not match, NaN or infinite values, an all-zero filter, an unknown name.

    Example:
        >>> import numpy as np
        >>> from keras_crsae import lambda_max
        >>> lambda_max(np.ones((1, 8, 1)), np.ones((4, 1, 1)))
        2.0
    """
    filters = as_float32(filters, "filters")
    rank = filters.ndim - 2
    if rank not in (1, 2):
        raise ValueError("`filters` must have shape (kernel_size, channels, filters) or "
                         f"(height, width, channels, filters). Received: shape {filters.shape}")
    filters = as_unit_filters(filters, (None,) * filters.ndim)
    signal = ops.convert_to_tensor(as_signal(signal, rank, filters.shape[-2], filters.shape[:rank], "signal"))
    correlation = adjoint(zero_residual(likelihoods.get(likelihood), signal), ops.convert_to_tensor(filters),
                          as_sizes(strides, rank, "strides"))
    excess = code_priors.get(code_prior).dual_excess(correlation)
    if excess is None:
        raise ValueError(f"The code prior {code_prior!r} has no dual excess, so its largest useful penalty weight is "
                         "unknown. Give its class a method `dual_excess`.")
    return max(float(ops.max(excess)), 0.0)


def zero_residual(likelihood: Likelihood, signal: Tensor) -> Tensor:
    """Residual of the zero code, of signal's shape."""
    baseline = likelihood.initial_baseline(signal)
    return likelihood.residual(signal, ops.broadcast_to(ops.cast(baseline, signal.dtype), ops.shape(signal)))


def _observed(problem: Problem, values: Tensor) -> Tensor:
    observed = problem.measurement.observed
    return values if observed is None else ops.cast(observed, values.dtype) * values


def _sum(array: Tensor) -> Tensor:
    """Sum over all but the batch axis, in float64."""
    return ops.sum(ops.cast(array, "float64"), axis=tuple(range(1, len(array.shape))))
