"""One event in a neighbourhood, its amplitude without shrinkage: what filters may learn from in place of the code.

The l1 penalty spreads an event of a smooth filter over neighbouring positions and shrinks it. A linear model with unit
filters bears that; behind a log or logistic link the filters learned from such codes lose their shape (flat peaks,
small lobes of the other sign): with true codes given, the error of three filters was .07, with plain codes .36, with
refitted ones below .20 (benchmarks/counts_recovery.py).
"""

from __future__ import annotations

from keras import ops

from keras_crsae.typing import Tensor

_TIE = 1e-3  # share of a code value that decides between neighbours of the same smoothed code


def event_support(code: Tensor, distance: int) -> Tensor:
    """1 at the events of a code, 0 elsewhere: one event a filter within ``distance`` positions.

    The code's magnitude is summed under a triangle that falls to zero ``distance`` positions away, which gathers what
    is spread over neighbours; its local maxima are the events.

    Args:
        code: (batch, *positions, filters).
        distance: positions on each side of an event without another one of its filter.

    Returns:
        Tensor of the code's shape and dtype.

    Example:
        >>> from keras import ops
        >>> from keras_crsae.training.event_refit import event_support
        >>> code = ops.reshape(ops.array([0.0, 2.0, 3.0, 2.0, 0.0, 0.0, 0.0, 1.0]), (1, 8, 1))
        >>> ops.convert_to_numpy(event_support(code, distance=2)).ravel().tolist()
        [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    """
    magnitude = ops.abs(code)
    gathered = _window_sum(_window_sum(_padded(magnitude, 2 * (distance // 2)), distance), distance)
    gathered = gathered + _TIE * magnitude
    highest = ops.max_pool(_padded(gathered, distance), 2 * distance + 1, strides=1, padding="valid")
    return ops.cast(ops.logical_and(gathered >= highest, gathered > 0), code.dtype)


def _window_sum(values: Tensor, distance: int) -> Tensor:
    """Sum over about ``distance`` positions on each axis, an odd number of them, where all of them are there."""
    size, axes = 2 * (distance // 2) + 1, len(values.shape) - 2
    return size**axes * ops.average_pool(values, size, strides=1, padding="valid")


def _padded(values: Tensor, width: int) -> Tensor:
    axes = len(values.shape) - 2
    return ops.pad(values, [(0, 0), *[(width, width)] * axes, (0, 0)])
