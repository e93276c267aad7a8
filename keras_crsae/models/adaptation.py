"""Values that a model takes from data before training: noise level, lambda, its ceiling, first filters (NumPy)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from keras_crsae import initializers
from keras_crsae._validation import as_unit_filters
from keras_crsae.operators.convolution import adjoint, code_length
from keras_crsae.problem import code_priors, likelihoods
from keras_crsae.problem.code_priors import CodePrior
from keras_crsae.problem.count_likelihoods import CountLikelihood
from keras_crsae.problem.likelihoods import Likelihood
from keras_crsae.problem.null_values import null_lambda
from keras_crsae.problem.objective import lambda_max, null_residual
from keras_crsae.typing import Shape

FIRST_FILTERS = ("dct", "energy", "windows")
CEILING_EXAMPLES = 64  # examples that the first ceiling looks at; training raises it where others are stronger


def first_filters(kind: str, data: np.ndarray, kernel_size: Shape, filters: int, seed: int | None = None) -> np.ndarray:
    """First filters (*kernel_size, channels, filters) from data: "windows", "energy" or "dct"."""
    if kind not in FIRST_FILTERS:
        raise ValueError(f"`init` must be None or one of {FIRST_FILTERS}. Received: {kind!r}")
    if kind == "dct":
        return initializers.dct_filters(kernel_size, data.shape[-1], filters)
    rng = np.random.default_rng(seed)
    return initializers.window_filters(data, kernel_size, filters, rng, energy=kind == "energy")


def span(data: np.ndarray, mask: np.ndarray | None) -> str:
    """Shape and range of data, for messages."""
    seen = data[np.isfinite(data) if mask is None else np.isfinite(data) & (mask > 0)]
    return f"shape {data.shape}, " + (f"values from {seen.min():.4g} to {seen.max():.4g}" if seen.size else "no value")


@dataclass(frozen=True)
class Adapted:
    """Noise standard deviation, lambda (None: as it is), and the ceiling under which lambda is held.

    The ceiling is infinite where the code prior has no ``dual_excess``.
    """

    sigma: float
    lambda_reg: float | np.ndarray | None  # one, or one a filter
    lambda_ceiling: float


def resolve(data: np.ndarray, filters: np.ndarray, strides: Shape, sigma: float | str, donoho: bool,
            mask: np.ndarray | None = None, code_prior: CodePrior | str = "soft",
            likelihood: Likelihood | str = "gaussian",
            correlation_problem: Callable[[Any], tuple[Any, Any]] | None = None) -> Adapted:
    """Sigma, lambda and its ceiling for these data.

    Args:
        data: (batch, *space, channels), checked.
        filters: (*kernel_size, channels, filters), the present dictionary.
        strides: tuple of ints.
        sigma: a number, or "estimate" (robust, from the data).
        donoho: True gives lambda Donoho's universal value for N_e of these data.
        mask: None or 0/1 of data's shape.
        code_prior, likelihood: of the model, for the ceiling.
        correlation_problem: of the dictionary, see ``ConvDictionary``; None: signals and filters as they are.

    Raises:
        ValueError: the estimate is zero.
    """
    rank = len(strides)
    level = initializers.robust_sigma(data, rank, mask) if sigma == "estimate" else float(sigma)
    if sigma == "estimate" and not level > 0:
        raise ValueError("sigma='estimate' found a noise level of zero: what is not constant, missing or masked is too "
                         "little, or holds no noise. Give sigma a positive number in the data's unit. Received: "
                         f"{span(data, mask)}.")
    value = None
    if donoho:
        value = initializers.donoho_lambda(filters.shape[-1], _positions(data, filters, strides), level)
    prior, ceiling = code_priors.get(code_prior), math.inf
    if prior.dual_excess(np.zeros((1, 1, 1), np.float32)) is not None:
        observed = (data if mask is None else data * mask)[:CEILING_EXAMPLES]
        if correlation_problem is not None:
            observed, filters = (ops.convert_to_numpy(a) for a in correlation_problem(ops.convert_to_tensor(observed)))
        ceiling = 0.5 * max(lambda_max(observed, sign * filters, strides, prior, likelihood)
                            for sign in (1, -1))  # a filter may still turn round while it learns
    return Adapted(level, value, ceiling / likelihoods.get(likelihood).dispersion(level))


def resolve_counts(means: np.ndarray, filters: np.ndarray, strides: Shape, likelihood: CountLikelihood, donoho: bool,
                   code_prior: CodePrior, dispersion: np.ndarray, baseline: np.ndarray,
                   observed: np.ndarray | None = None) -> Adapted:
    """As ``resolve`` for counts, whose dispersion is known; lambda by ``problem.null_values.null_lambda``.

    Args:
        means: counts divided by their size (``problem.counts.means``), (batch, *space, channels).
        filters: (*kernel_size, channels, filters), the present dictionary.
        strides: tuple of ints.
        likelihood, code_prior: of the model.
        donoho: True gives lambda the largest of Donoho's values for these signals and filters.
        dispersion: 1 / size of each signal, (batch,).
        baseline: eta of the zero code, (channels,) or (batch, 1, ..., channels).
        observed: None or the weight of each sample, of means' shape.

    Returns:
        ``Adapted``; sigma^2 is the dispersion of the likelihood's own size.
    """
    filters, dispersion = as_unit_filters(filters, filters.shape), np.asarray(dispersion, np.float64)
    value, ceiling = None, math.inf
    if donoho:
        value = null_lambda(likelihood, filters, _positions(means, filters, strides), baseline, 1.0 / dispersion,
                            code_prior.signed)
    if code_prior.dual_excess(np.zeros((1, 1, 1), np.float32)) is not None:
        few = slice(0, CEILING_EXAMPLES)
        residual = null_residual(ops.convert_to_tensor(means[few]), likelihood,
                                 None if observed is None else ops.convert_to_tensor(observed[few], means.dtype),
                                 baseline if np.ndim(baseline) < 2 else baseline[few], dispersion[few])
        correlation = adjoint(residual, ops.convert_to_tensor(filters), strides)
        # A filter may still turn round while it learns.
        ceiling = 0.5 * max(float(ops.max(code_prior.dual_excess(c))) for c in (correlation, -correlation))
    return Adapted(math.sqrt(likelihood.dispersion(1.0)), value, ceiling)


def _positions(data: np.ndarray, filters: np.ndarray, strides: Shape) -> int:
    """N_e: code positions of a filter."""
    return math.prod(code_length(n, k, s) for n, k, s in zip(data.shape[1:-1], filters.shape, strides, strict=False))
