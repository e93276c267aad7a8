"""The Anscombe transform, which gives Poisson counts noise of standard deviation 1, and its exact unbiased inverse.

For n ~ Poisson(rate) the values 2 sqrt(n + 3/8) have a variance of about 1, from rates of about 4 on (Anscombe, 1948).
The algebraic inverse of a mean of such values is biased at low rates; the exact unbiased inverse maps
E[2 sqrt(n + 3/8) | rate] back to the rate (Makitalo and Foi, IEEE Transactions on Image Processing 20, 2011).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from crsae_onnx.core.typing import Array
from keras import ops

from keras_crsae.typing import Tensor

#: The transform of no count, and of the mean of a rate of 0.
ZERO = 2.0 * float(np.sqrt(3.0 / 8.0))
#: Rates up to here are inverted by a table of the Poisson series, higher ones by the asymptotic series.
_LARGEST_RATE = 100.0
#: Rates of the series, and numbers of the table, which is even in the transform's unit: its error is below 1e-6.
_RATES, _ENTRIES = 1500, 8192


def anscombe(counts: Any) -> Any:
    """2 sqrt(counts + 3/8).

    Args:
        counts: array or tensor of any shape, >= 0.

    Returns:
        The same shape; a NumPy array of float32 for arrays.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.problem.anscombe import anscombe
        >>> [round(float(value), 3) for value in anscombe(np.array([0, 1, 10]))]
        [1.225, 2.345, 6.442]
    """
    if ops.is_tensor(counts):
        return 2.0 * ops.sqrt(counts + 3.0 / 8.0)
    return (2.0 * np.sqrt(np.asarray(counts, np.float64) + 3.0 / 8.0)).astype(np.float32)


def anscombe_mean(rates: Any) -> Array:
    """E[2 sqrt(n + 3/8)] for n ~ Poisson(rate), by the series.

    Args:
        rates: of any shape, from 0 to some hundreds.

    Returns:
        float64 of the same shape.

    Example:
        >>> from keras_crsae.problem.anscombe import anscombe_mean
        >>> round(float(anscombe_mean(1.0)), 4)
        2.1869
    """
    return _series(np.asarray(rates, np.float64), 0)


def inverse_anscombe(values: Any) -> Array:
    """The rate whose transformed counts have these means: the exact unbiased inverse.

    Args:
        values: array of any shape, in the transform's unit; those below ``ZERO`` give a rate of 0.

    Returns:
        float32 of the same shape, >= 0.

    Example:
        >>> from keras_crsae.problem.anscombe import anscombe_mean, inverse_anscombe
        >>> round(float(inverse_anscombe(anscombe_mean(0.5))), 4)
        0.5
    """
    grid, rates, _ = _table()
    means = np.asarray(values, np.float64)
    made: Array = np.where(means < grid[-1], np.interp(means, grid, rates), _asymptotic(means))
    return made.astype(np.float32)


def inverse_anscombe_tensor(values: Tensor) -> Tensor:
    """``inverse_anscombe`` of tensors, for training: below ``ZERO`` it goes on as a straight line, so that values there
    have a gradient.

    Args:
        values: float tensor of any shape.

    Returns:
        The same shape.
    """
    grid, rates, slope = _table()
    step = float(grid[1] - grid[0])
    place = (values - ZERO) / step
    index = ops.cast(ops.floor(ops.clip(place, 0.0, float(_ENTRIES - 2))), "int32")
    table = ops.convert_to_tensor(rates.astype(np.float32))
    low, high = ops.take(table, index), ops.take(table, index + 1)
    inside = low + (ops.clip(place, 0.0, float(_ENTRIES - 1)) - ops.cast(index, values.dtype)) * (high - low)
    above = _asymptotic(ops.maximum(values, float(grid[-1])))
    return ops.where(values < ZERO, slope * (values - ZERO), ops.where(values < float(grid[-1]), inside, above))


def _asymptotic(values: Any) -> Any:
    """The inverse for large values; at a rate of 100 its error is below 1e-3 (tested)."""
    return values * values / 4.0 - 1.0 / 8.0


def _series(rates: Array, order: int) -> Array:
    """E[2 sqrt(n + 3/8)] of each rate, or its derivative by the rate (``order`` 1): E[A(n + 1) - A(n)]."""
    largest = float(np.max(rates, initial=0.0))
    counts = np.arange(int(largest + 12.0 * np.sqrt(largest) + 30.0), dtype=np.float64)
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(counts[1:]))])
    flat = rates.reshape(-1, 1)
    share = np.exp(counts * np.log(np.maximum(flat, 1e-300)) - flat - log_factorials)
    values = 2.0 * np.sqrt(counts + order + 3.0 / 8.0) - (2.0 * np.sqrt(counts + 3.0 / 8.0) if order else 0.0)
    return (share @ values).reshape(rates.shape)


@lru_cache(maxsize=1)
def _table() -> tuple[Array, Array, float]:
    """(means of the transform, even; their rates; slope of the rate at 0)."""
    coarse = np.concatenate([[0.0], np.geomspace(1e-4, 1.01 * _LARGEST_RATE, _RATES)])
    grid = np.linspace(ZERO, float(anscombe_mean(_LARGEST_RATE)), _ENTRIES)
    rates = np.interp(grid, anscombe_mean(coarse), coarse)
    for _ in range(2):  # Newton's steps: the start is exact to 1e-5 already
        rates = np.maximum(rates - (_series(rates, 0) - grid) / _series(rates, 1), 0.0)
    return grid, rates, 1.0 / float(_series(np.zeros(1), 1)[0])
