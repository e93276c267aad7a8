"""Least squares with a quadratic penalty, signal by signal, and the degrees of freedom of such a fit."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from keras import ops

from keras_crsae.operators.lipschitz import frequency_response, split_phases
from keras_crsae.typing import Shape, Tensor

#: Share of the first squared gradient at which a signal counts as fitted: float32 rounding.
_ENOUGH = 1e-12
_TINY = 1e-30


def ridge_fit(signal: Tensor, synthesise: Callable[[Tensor], Tensor], correlate: Callable[[Tensor], Tensor],
              ridge: Tensor | float = 0.0, observed: Tensor | None = None, steps: int = 50,
              start: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """argmin_x 1/2 ||y - A x||^2 + ridge/2 ||x||^2 for each signal, by conjugate gradients.

    Args:
        signal: y, (batch, *space, channels).
        synthesise, correlate: A and its adjoint.
        ridge: weight of ||x||^2, or one of each value, broadcastable to x; 0: least squares, of which
            the residual converges where A has a null space, too.
        observed: None, or 0/1 of y's shape: 0 where a sample is missing.
        steps: of conjugate gradients.
        start: x to begin with; None: 0. The fit stays in the range of ``correlate``: one that gives zeros outside a
            support keeps x there as it is.

    Returns:
        x, and the residual y - A x, 0 where a sample is missing.

    Example:
        >>> from keras import ops
        >>> from keras_crsae.operators.ridge import ridge_fit
        >>> x, residual = ridge_fit(ops.ones((1, 2, 1)), lambda x: 2.0 * x, lambda y: 2.0 * y, ridge=4.0)
        >>> ops.convert_to_numpy(x).ravel().tolist(), ops.convert_to_numpy(residual).ravel().tolist()
        ([0.25, 0.25], [0.5, 0.5])
    """
    residual = signal if start is None else signal - synthesise(start)
    residual = residual if observed is None else observed * residual
    axes = tuple(range(1, len(signal.shape)))

    def total(values: Tensor) -> Tensor:  # one number a signal
        return ops.sum(values, axis=axes, keepdims=True)

    residual = ops.convert_to_tensor(residual)
    direction = correlate(residual)
    code = ops.zeros_like(direction) if start is None else start
    direction = direction if start is None else direction - ridge * code
    power = total(ops.square(direction))
    enough = _ENOUGH * power

    def body(code: Tensor, residual: Tensor, direction: Tensor, power: Tensor) -> tuple[Tensor, ...]:
        change = synthesise(direction)
        change = change if observed is None else observed * change
        curvature = total(ops.square(change)) + total(ridge * ops.square(direction))
        # The exact minimum along the direction: the objective never grows, however the rounding falls. Neighbouring
        # positions of a smooth filter are nearly dependent, and past convergence the textbook step ran away there.
        step = (total(residual * change) - total(ridge * code * direction)) / (curvature + _TINY)
        step = ops.where(power > enough, step, 0.0)
        code, residual = code + step * direction, residual - step * change
        gradient = correlate(residual) - ridge * code
        new = total(ops.square(gradient))
        direction = ops.where(new > enough, gradient + new / (power + _TINY) * direction, 0.0)
        return code, residual, direction, new

    # A loop of the graph: steps that are written out take seconds to trace.
    code, residual, *_ = ops.while_loop(_go_on, body, (code, residual, direction, power),
                                        maximum_iterations=steps)
    return code, residual


def _go_on(*state: Tensor) -> bool:
    return True


def freedom(kernel: Tensor, strides: Shape, ridge: float = 0.0) -> Tensor:
    """Degrees of freedom that a ridge fit takes from the noise, a number for each code position of the grid.

    For H = A (A^T A + ridge)^{-1} A^T and white noise v, E ||(1 - H) v||^2 = sigma^2 (n - tr(2 H - H^2)); without a
    ridge that trace is the rank of A. It is summed over the frequencies of a long signal.

    Args:
        kernel: filters of A, (*kernel_size, channels, filters).
        strides: one int an axis.
        ridge: weight of ||x||^2.

    Returns:
        Scalar, at most the number of filters, and of samples of all channels in a stride.

    Example:
        >>> import numpy as np
        >>> from keras import ops
        >>> from keras_crsae.operators.ridge import freedom
        >>> spike = ops.convert_to_tensor(np.eye(4, 1, dtype="float32")[:, None])     # A = 1
        >>> float(freedom(spike, (1,))), float(freedom(spike, (1,), ridge=1.0))        # H = 1; H = 1/2, 1 - 1/4
        (1.0, 0.75)
    """
    phases, taps = split_phases(kernel, strides)
    filters = phases.shape[-1]
    if not ridge:
        return ops.cast(min(phases.shape[-2], filters), kernel.dtype)
    grid = tuple(32 * k for k in taps)
    real, imag = frequency_response(phases, taps, grid)
    real_t, imag_t = ops.transpose(real, (0, 2, 1)), ops.transpose(imag, (0, 2, 1))
    a = ops.matmul(real_t, real) + ops.matmul(imag_t, imag) + ridge * ops.eye(filters, dtype=kernel.dtype)
    b = ops.matmul(real_t, imag) - ops.matmul(imag_t, real)
    # A Hermitian matrix a + i b as a real one of twice the size, which has each eigenvalue twice.
    whole = ops.concatenate([ops.concatenate([a, -b], axis=2), ops.concatenate([b, a], axis=2)], axis=1)
    left = 0.5 * ridge**2 * ops.sum(ops.square(ops.linalg.inv(whole)), axis=(1, 2))  # tr((1 - H)^2), of filters
    weights = np.full(grid[0] // 2 + 1, 2.0)  # half of the circle stands for the whole
    weights[[0, -1]] = 1.0
    weights = np.repeat(weights, math.prod(grid[1:])) / math.prod(grid)
    return filters - ops.sum(ops.cast(weights, left.dtype) * left)
