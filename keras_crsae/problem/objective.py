"""What the encoder minimises, a bound of its minimum from below, and the penalty weight that makes every code zero.

    F(z) = sum_i value(y_i, eta_i) + sum_c weight_c sum_j p(z_cj),    eta = Phi (D z + baseline)

Fenchel's dual is to maximise sum_i [-f*(-u_i) - u_i (Phi baseline)_i] over u with dual_excess((Phi D)_c^T u) <=
weight_c, f* the conjugate of ``value`` by eta. A residual, scaled into that set, is such a u, so its dual value bounds
the optimum from below (Kim, Koh, Lustig, Boyd, Gorinevsky, An interior-point method for large-scale l1-regularized
least squares, 2007, section III). Sums are in float64: a long recording's noise energy swallows float32 digits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from crsae_onnx.core.counts import as_size
from crsae_onnx.core.signals import as_float32, as_signal
from crsae_onnx.core.validation import as_sizes
from keras import ops

from keras_crsae._validation import as_unit_filters
from keras_crsae.operators.convolution import adjoint
from keras_crsae.problem import code_priors, likelihoods
from keras_crsae.problem.code_priors import CodePrior
from keras_crsae.problem.count_likelihoods import CountLikelihood
from keras_crsae.problem.counts import means
from keras_crsae.problem.likelihoods import Likelihood
from keras_crsae.problem.measurements import Identity, Measurement
from keras_crsae.typing import Sizes, Tensor


@dataclass(frozen=True)
class Problem:
    """sum_i value(y_i, eta_i) + sum_c weight_c p(z_c), eta = Phi (D z + baseline).

    Args:
        likelihood, code_prior, measurement: one object each. A ``Mask`` may hold weights in [0, 1]: what each sample's
            value counts.
        baseline: None (nothing is added), or eta of the zero code, broadcastable to the signal.

    Example:
        >>> from keras_crsae.problem import Gaussian, Laplace, Problem
        >>> Problem(Gaussian(), Laplace()).measurement.norm
        1.0
    """

    likelihood: Likelihood
    code_prior: CodePrior
    measurement: Measurement = field(default_factory=Identity)
    baseline: Tensor | None = None

    def predict(self, eta: Tensor) -> Tensor:
        """Phi (eta + baseline). A mask leaves eta as it is: what is missing is left out of the sums instead."""
        if self.baseline is not None:
            eta = eta + ops.cast(self.baseline, eta.dtype)
        return eta if self.measurement.projection else self.measurement.forward(eta)

    def residual(self, signal: Tensor, eta: Tensor) -> Tensor:
        """Phi^T residual(y, Phi (eta + baseline)): D^T of it is minus the gradient by the code."""
        return self.measurement.adjoint(self.likelihood.residual(signal, self.predict(eta)))


def objective(problem: Problem, signal: Tensor, code: Tensor, eta: Tensor, penalty_weight: Tensor) -> Tensor:
    """Value of the objective for each signal, (batch,) float64.

    Args:
        problem: likelihood, code prior, measurement, baseline.
        signal: the data y, (batch, *space, channels).
        code: (batch, *positions, filters).
        eta: D z, before baseline and measurement.
        penalty_weight: lambda * sigma^2, (filters,) or broadcastable to the code.
    """
    y, eta = ops.cast(signal, "float64"), ops.cast(eta, "float64")
    value = problem.likelihood.value(y, problem.predict(eta))
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
    exact = "float64" if not likelihood.quadratic else signal.dtype  # a mean near 0 or 1 keeps its digits
    residual = likelihood.residual(ops.cast(signal, exact), problem.predict(ops.cast(eta, exact)))
    weighted = ops.cast(_observed(problem, residual), signal.dtype)
    correlation = correlate(_back(problem, weighted))
    largest = _largest_scale(prior, correlation, penalty_weight)
    least = -_largest_scale(prior, -correlation, penalty_weight)
    y, u = ops.cast(signal, "float64"), ops.cast(residual, "float64")
    scale = ops.clip(likelihood.dual_scale(*(_root_observed(problem, v) for v in (y, u))), least, largest)
    u = ops.reshape(scale, (-1,) + (1,) * (len(u.shape) - 1)) * u
    value = likelihood.dual_value(y, u)
    if value is None:
        raise ValueError(f"The likelihood {type(likelihood).__name__} has no dual value, so there is no bound of the "
                         "optimum. Give its class a method `dual_value`, or compare codes after more iterations.")
    if problem.baseline is not None:
        value = value - u * problem.predict(ops.zeros_like(ops.cast(eta, "float64")))
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
               likelihood: Likelihood | str = "gaussian", size: Any = None, baseline: Any = None) -> float:
    """Smallest penalty weight, lambda * sigma^2, with an all-zero code: the largest dual excess of D^T residual.

    For the Gaussian likelihood and the prior "soft" it is the largest |D^T y|, in the signal's unit. For counts sigma^2
    is 1 / the largest size, and the residual of the zero code is counts / size - mean(baseline).

    Args:
        signal: (batch, *space, channels); counts where the likelihood is one of counts.
        filters: (*kernel_size, channels, filters); normalised here.
        strides: int or tuple.
        code_prior, likelihood: object or registered name.
        size: exposure or trials of these counts, see ``crsae_onnx.core.counts.as_size``; None: the likelihood's.
        baseline: eta of the zero code, broadcastable to signal; None: the likelihood's, from the mean a channel.

    Raises:
        ValueError: shapes that do not match, NaN or infinite values, an all-zero filter, an unknown name, data that
            are no counts where the likelihood is one of counts.

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
    signal = as_signal(signal, rank, filters.shape[-2], filters.shape[:rank], "signal")
    likelihood, observed, dispersion, scale = likelihoods.get(likelihood), None, None, 1.0
    if isinstance(likelihood, CountLikelihood):
        likelihood.check_counts(signal, size)
        size = as_size(likelihood.size if size is None else size, signal.shape, str(likelihood.size_name),
                       likelihood.bounded, per_signal=size is not None)
        signal, observed, dispersion = means(ops.convert_to_tensor(signal), size)
        scale = 1.0 / float(np.max(size))
    elif size is not None:
        raise ValueError(f"`size` is the exposure or the trials of counts, and the likelihood is "
                         f"{type(likelihood).__name__}. Leave it out, or give likelihood='poisson' or 'binomial'.")
    residual = null_residual(ops.convert_to_tensor(signal), likelihood, observed, baseline, dispersion)
    excess = code_priors.get(code_prior).dual_excess(
        adjoint(residual, ops.convert_to_tensor(filters), as_sizes(strides, rank, "strides")))
    if excess is None:
        raise ValueError(f"The code prior {code_prior!r} has no dual excess, so its largest useful penalty weight is "
                         "unknown. Give its class a method `dual_excess`.")
    return max(scale * float(ops.max(excess)), 0.0)


def null_residual(signal: Tensor, likelihood: Likelihood, observed: Tensor | None = None, baseline: Any = None,
                  dispersion: Tensor | None = None) -> Tensor:
    """What is left of the data by the zero code, of signal's shape; its correlations with filters say what it takes.

    Args:
        signal: y, (batch, *space, channels): counts divided by their size where the likelihood is one of counts.
        likelihood: object.
        observed: None, or the weight of each sample.
        baseline: eta of the zero code; None: the likelihood's, from the mean a channel.
        dispersion: None, or sigma^2 of each signal, (batch,), by which the residual is divided: its correlations are
            then in lambda's unit.
    """
    if baseline is None:
        weight = None
        if likelihood.size_name is not None and (observed is not None or dispersion is not None):
            weight = 1.0 if observed is None else observed
            weight = weight if dispersion is None else weight / _by_signal(dispersion, signal)
        baseline = likelihood.initial_baseline(signal) if weight is None else \
            likelihood.initial_baseline(signal, weight)
    residual = zero_residual(likelihood, signal, baseline)
    residual = residual if observed is None else observed * residual
    return residual if dispersion is None else residual / _by_signal(dispersion, signal)


def zero_residual(likelihood: Likelihood, signal: Tensor, baseline: Tensor | float | None = None) -> Tensor:
    """Residual of the zero code, of signal's shape; a baseline of None is an eta of 0."""
    eta = ops.cast(0.0 if baseline is None else baseline, signal.dtype)
    return likelihood.residual(signal, ops.broadcast_to(eta, ops.shape(signal)))


def _by_signal(values: Tensor, signal: Tensor) -> Tensor:
    """(batch,) as it broadcasts to a signal."""
    return ops.reshape(ops.cast(values, signal.dtype), (-1,) + (1,) * (len(signal.shape) - 1))


def _back(problem: Problem, weighted: Tensor) -> Tensor:
    """Phi^T of a residual that the mask has weighed already."""
    return weighted if problem.measurement.observed is not None and problem.measurement.projection \
        else problem.measurement.adjoint(weighted)


def _observed(problem: Problem, values: Tensor) -> Tensor:
    """Values times their weights; 0 where the weight is 0, whatever the value."""
    observed = problem.measurement.observed
    if observed is None:
        return values
    observed = ops.cast(observed, values.dtype)
    return ops.where(observed > 0, observed * values, 0.0)


def _root_observed(problem: Problem, values: Tensor) -> Tensor:
    """Values times the roots of their weights: sums of products are then weighed."""
    observed = problem.measurement.observed
    return values if observed is None else ops.sqrt(ops.cast(observed, values.dtype)) * values


def _sum(array: Tensor) -> Tensor:
    """Sum over all but the batch axis, in float64."""
    return ops.sum(ops.cast(array, "float64"), axis=tuple(range(1, len(array.shape))))
