"""FISTA: proximal gradient descent with Nesterov's momentum (Beck and Teboulle 2009, section 4)."""

from __future__ import annotations

import math

from keras import ops

from keras_crsae.solvers.base import Descend, Solver, State, register_solver
from keras_crsae.typing import Tensor


@register_solver("fista")
class FISTA(Solver):
    """x_{k+1} = prox(w_k - step * gradient(w_k)), t_{k+1} = (1 + sqrt(1 + 4 t_k^2)) / 2,
    w_{k+1} = x_{k+1} + (t_k - 1) / t_{k+1} (x_{k+1} - x_k); the objective falls as 1 / k^2.

    Unrolled as an encoder in arXiv 1904.08827, algorithm 1. The code is x, never w.

    Example:
        >>> from keras_crsae.solvers import FISTA
        >>> [round(factor, 3) for factor in FISTA().momentum(3)]
        [0.0, 0.282, 0.434]
    """

    def init(self, code: Tensor) -> State:
        """Code x, extrapolated point w, momentum scalar t (one a batch entry, shape (batch, 1))."""
        return code, code, ops.ones((ops.shape(code)[0], 1), dtype=code.dtype)

    def step(self, state: State, descend: Descend, factor: Tensor | None = None) -> State:
        """The next (x, w, t); t stays as it is where ``factor`` is given, since a table costs less than t's sums."""
        x, w, t = state
        x_next = descend(w)
        if factor is not None:
            return x_next, _extrapolated(x_next, x, factor), t
        t_next = (1.0 + ops.sqrt(1.0 + 4.0 * ops.square(t))) / 2.0
        factor = ops.reshape((t - 1.0) / t_next, (-1, *(1 for _ in x.shape[1:])))
        return x_next, _extrapolated(x_next, x, factor), t_next

    def momentum(self, iterations: int) -> list[float]:
        """(t_k - 1) / t_{k+1} for k = 0 ... iterations - 1."""
        factors: list[float] = []
        t = 1.0
        for _ in range(iterations):
            t_next = (1.0 + math.sqrt(1.0 + 4.0 * t * t)) / 2.0
            factors.append((t - 1.0) / t_next)
            t = t_next
        return factors


def _extrapolated(x_next: Tensor, x: Tensor, factor: Tensor) -> Tensor:
    """x_next + factor (x_next - x), so written that x's memory can take the result.

    x_next enters under another name, whose gradients are summed by themselves: the sum of three gradients of a large
    code TensorFlow holds in a temporary variable, whose name then clashes in a loop ("TmpVar already exists", 2.21).
    """
    y = ops.squeeze(ops.expand_dims(x_next, 0), 0)
    return y + factor * (y - x)
