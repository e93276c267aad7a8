"""Proximal gradient steps that are accepted or halved: for likelihoods whose curvature has no bound.

The Poisson likelihood curves as e^eta, so that no step size is safe for every signal. Each signal has its own, 1 / L.
A step from w to x is accepted where the data term at x lies below the parabola that promised it,

    sum_i B(v_i, u_i - v_i) <= L / 2 ||x - w||^2,    u = D x, v = D w, B the Bregman divergence,

which is all that the proof of convergence of FISTA needs (Beck and Teboulle 2009, section 4). There the step is tried
again until it is accepted; here a refused one is tried again in the next iteration, with twice the L. So an iteration
costs the same whether it is accepted or not, a batch needs one graph, and no signal waits for another. An accepted step
lowers L by a little, so that L follows the curvature where it falls.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_crsae.solvers.base import Operations, Solver, State, register_solver
from keras_crsae.typing import Tensor


@register_solver("backtracking")
class Backtracking(Solver):
    """FISTA with a step size for each signal, halved where a step overshoots.

    The default where the likelihood's curvature has no bound (Poisson). Others may choose it: where the data are quiet
    the steps grow beyond 1 / ||D||^2.

    Args:
        decrease: factor of L after an accepted step.
        increase: factor of L after a refused one.
        relative_slack, absolute_slack: a step is accepted up to this above the parabola: rounding in float32 must not
            refuse the short steps near the optimum.

    State: code x, extrapolated point w, u = D x, v = D w, step size 1 / L and momentum scalar t, both
    (batch, 1, ..., 1).

    Raises:
        ValueError: factors or slacks out of range.

    Example:
        >>> import keras_crsae as kc
        >>> cell = kc.SparseCodingCell(kc.ConvDictionary(filters=3, kernel_size=9))
        >>> encoder = kc.SparseCoding(cell, solver="backtracking", iterations=50)
    """

    adaptive = True

    def __init__(self, decrease: float = 0.97, increase: float = 2.0, relative_slack: float = 1e-4,
                 absolute_slack: float = 1e-6) -> None:
        if not 0 < decrease <= 1 < increase or not relative_slack >= 0 or not absolute_slack >= 0:
            raise ValueError("Expected 0 < decrease <= 1 < increase, and slacks of 0 or more. Received: "
                             f"decrease={decrease!r}, increase={increase!r}, relative_slack={relative_slack!r}, "
                             f"absolute_slack={absolute_slack!r}")
        self.decrease, self.increase = float(decrease), float(increase)
        self.relative_slack, self.absolute_slack = float(relative_slack), float(absolute_slack)

    def begin(self, code: Tensor, problem: Operations) -> State:
        """State of the code 0."""
        zero = ops.zeros_like(problem.signal)
        return code, code, zero, zero, problem.first_step, ops.ones_like(problem.first_step)

    def step(self, state: State, descend: Operations, factor: Tensor | None = None) -> State:
        """The next state; ``factor`` has no say."""
        x, w, u, v, step, t = state
        step = ops.stop_gradient(step)
        proposed = descend.shrink(descend.ascend(w, v, step), step)
        synthesised = descend.synthesise(proposed)
        accepted = self._accepted(descend, ops.stop_gradient(proposed - w), ops.stop_gradient(synthesised - v),
                                  ops.stop_gradient(v), step)
        t_next = (1.0 + ops.sqrt(1.0 + 4.0 * ops.square(t))) / 2.0
        factor = (t - 1.0) / t_next
        x_next, u_next = ops.where(accepted, proposed, x), ops.where(accepted, synthesised, u)
        w_next = ops.where(accepted, x_next + factor * (x_next - x), w)
        v_next = ops.where(accepted, u_next + factor * (u_next - u), v)
        step_next = step * ops.where(accepted, 1.0 / self.decrease, 1.0 / self.increase)
        return x_next, w_next, u_next, v_next, step_next, ops.where(accepted, t_next, t)

    def _accepted(self, problem: Operations, moved: Tensor, change: Tensor, synthesised: Tensor,
                  step: Tensor) -> Tensor:
        """Whether the parabola of curvature 1 / step lies above the data term, a bool a signal."""
        above = problem.excess(synthesised, change)
        allowed = problem.energy(moved) / (2.0 * step)
        return above <= (1.0 + self.relative_slack) * allowed + self.absolute_slack

    def momentum(self, iterations: int) -> list[float]:
        """Zeros: the momentum is a part of the state."""
        return [0.0] * iterations

    def change(self, before: State, after: State) -> Tensor:
        """As ``Solver.change``; infinite where every step of ten was refused, which is no rest."""
        refused = ops.any(after[4] < before[4] / self.increase**9)
        return ops.where(refused, float("inf"), super().change(before, after))

    def get_config(self) -> dict[str, Any]:
        return {"decrease": self.decrease, "increase": self.increase, "relative_slack": self.relative_slack,
                "absolute_slack": self.absolute_slack}
