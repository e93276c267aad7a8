"""Lambda with which the codes of null data, the baseline and nothing else, are all zero."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from keras import ops

from keras_crsae.problem.likelihoods import Likelihood

_MOST_SIGNALS = 16  # of as many sizes and baselines, those with the largest variance, lambda is computed
_BISECTIONS = 24  # from 1e-5 to 1e5: to six digits
_MARGIN = 4.0  # false alarms of a signal stay below one in twenty (measured: 0 to 4 %)


def null_lambda(likelihood: Likelihood, filters: np.ndarray, positions: int, baseline: Any, size: Any,
                signed: bool = False) -> float:
    """Donoho's lambda for any likelihood: with it codes of null data are all zero in at least 95 % of signals.

    A correlation sum_i h_i size (y_i - A'(mu)) of a filter h with null data passes lambda = K'(s) with a probability
    of at most exp(-(s K'(s) - K(s))), for every s > 0 (Cramer and Chernoff), with

        K(s) = size sum_i [A(mu + s h_i) - A(mu) - A'(mu) s h_i]

    So s is where that exponent is log(4 filters positions). For A = eta^2 / 2 that is Donoho's sqrt(2 log) / sigma but
    for the 4; at few counts the tail is heavier than normal, and this is its exact exponent.

    Args:
        likelihood: object with ``bregman``.
        filters: (*kernel_size, channels, filters), of unit norm.
        positions: code positions of a filter.
        baseline: eta of the zero code, (channels,) or (batch, 1, ..., channels).
        size: 1 / dispersion, a number or (batch,).
        signed: whether codes have both signs.

    Returns:
        The largest of these filters and signals.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.problem import Gaussian, Poisson
        >>> from keras_crsae.problem.null_values import null_lambda
        >>> h = np.full((4, 1, 1), 0.5)
        >>> round(null_lambda(Gaussian(), h, 1000, 0.0, 1.0), 2)       # sqrt(2 log(4 * 1000))
        4.07
        >>> round(null_lambda(Poisson(), h, 1000, np.log(1.0), 1.0), 2)
        5.3
    """
    channels, count = filters.shape[-2:]
    eta = np.broadcast_to(baseline, (*np.shape(baseline)[:-1], channels)).reshape(-1, channels)
    eta, size = np.broadcast_arrays(eta.astype(np.float64), np.reshape(size, (-1, 1)).astype(np.float64))
    cases = np.unique(np.concatenate([eta, size[:, :1]], axis=1), axis=0)
    y, eta = _tensors(np.zeros_like(cases[:, :-1]), cases[:, :-1])
    variance = np.max(ops.convert_to_numpy(likelihood.bregman(y, eta, ops.full_like(eta, 1e-3))), axis=-1)
    cases = cases[np.argsort(variance * cases[:, -1])[-_MOST_SIGNALS:]]
    taps = np.moveaxis(filters.reshape(-1, channels, count), -1, 0).astype(np.float64)  # (filters, samples, channels)
    taps = np.concatenate([taps, -taps]) if signed else taps
    exponent = math.log(_MARGIN * max(count * positions, 2) * (2.0 if signed else 1.0))
    return _tail(likelihood, taps, cases[:, None, None, :-1], cases[:, -1:], exponent)


def _tensors(*arrays: np.ndarray) -> list[Any]:
    return [ops.convert_to_tensor(a, "float64") for a in arrays]


def _tail(likelihood: Likelihood, taps: np.ndarray, baseline: np.ndarray, size: np.ndarray, exponent: float) -> float:
    """The largest K'(s) of these filters where s K'(s) - K(s) is the exponent, or its limit where it stays below.

    Args:
        likelihood: object.
        taps: (filters, samples, channels).
        baseline: (cases, 1, 1, channels).
        size: (cases, 1).
        exponent: of the tail.
    """
    mu = np.broadcast_to(baseline, (len(size), *taps.shape))
    eta, y = _tensors(mu, np.zeros_like(mu))
    at_zero = likelihood.residual(y, eta)

    def derivative_and_exponent(s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        (change,) = _tensors(s[..., None, None] * taps)
        grown, above = (ops.convert_to_numpy(v) for v in (at_zero - likelihood.residual(y, eta + change),
                                                          likelihood.bregman(y, eta, change)))
        first = size * np.sum(taps * grown, axis=(-2, -1))
        return first, s * first - size * np.sum(above, axis=(-2, -1))

    low, high = np.full(mu.shape[:2], 1e-5), np.full(mu.shape[:2], 1e5)
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(_BISECTIONS):
            s = np.sqrt(low * high)
            below = derivative_and_exponent(s)[1] < exponent  # False where it overflows
            low, high = np.where(below, s, low), np.where(below, high, s)
        return float(np.max(derivative_and_exponent(low)[0]))
