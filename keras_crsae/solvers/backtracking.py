"""Proximal gradient steps that are accepted or halved: for likelihoods whose curvature has no bound.

The Poisson likelihood curves as e^eta, so that no step size is safe for every signal. Each signal has its own, 1 / L.
A step from w to x is accepted where the data term at x lies below the parabola that promised it,

    sum_i B(eta_i, (D (x - w))_i) <= L / 2 ||x - w||^2,    eta = D w + baseline, B the Bregman divergence,

which is all that the proof of convergence of FISTA needs (Beck and Teboulle 2009, section 4). There the step is tried
again until it is accepted; here a refused one is tried again in the next iteration, from w and with twice the L. So an
iteration costs the same whether it is accepted or not, a batch needs one graph, and no signal waits for another. An
accepted step lowers L by a little, so that L follows the curvature where it falls.

The test sees a mode of the code only where that mode moves. Under steps that grow, one that has come to rest would rise
out of rounding until it is refused: many iterations later, and in each run time at another one. So in one iteration of
ten the curvature along the code's values that are not 0 is bounded (``Operations.steepest``), and no step is longer
than ``longest_step`` over that. Where large counts stand alone the bound is the curvature itself.

D is applied to the change of the code, x - w, and eta is moved by what comes out: both sides of the test keep their
digits however short the step is, and near the optimum L stays as large as the curvature. What rounding adds to eta does
not feed back, since the momentum of eta is a state of its own (the difference of two values of eta would hand its
rounding on, fiftyfold). Nearly all steps of nearly all signals are accepted, so one branch of the graph takes them all
and selects nothing. Every twenty iterations or so eta is computed from w anew: after a thousand steps its rounding
would be what limits the code. Momentum: t grows by one half in each step (Chambolle and Dossal 2015, a = 2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crsae_onnx.core.spec_parts import BOUND_EVERY
from keras import ops

from keras_crsae.solvers.base import Operations, Solver, State, register_solver
from keras_crsae.typing import Tensor

_TINY, _HUGE = 1e-30, 1e30


@register_solver("backtracking")
class Backtracking(Solver):
    """FISTA with a step size for each signal, halved where a step overshoots.

    The default where the likelihood's curvature has no bound (Poisson). Others may choose it: where the data are quiet
    the steps grow beyond 1 / ||D||^2.

    Args:
        decrease: factor of L after an accepted step.
        increase: factor of L after a refused one.
        longest_momentum: bound of the momentum scalar t, whose factor of extrapolation (t - 1) / t then stays below 1:
            near the optimum the iterations converge instead of oscillating.
        relative_slack: a step is accepted up to this above the parabola: rounding in float32 must not refuse it.
        longest_step: bound of the step size times that of the curvature; from 4 / 3 on, momentum would let modes grow.

    State: -w and x - w for the code x and the extrapolated point w, eta = D w + baseline, D (w - x), step size 1 / L,
    momentum scalar t and the curvature's bound, the last three (batch, 1, ..., 1).

    Raises:
        ValueError: factors or a slack out of range.

    Example:
        >>> import keras_crsae as kc
        >>> cell = kc.SparseCodingCell(kc.ConvDictionary(filters=3, kernel_size=9))
        >>> encoder = kc.SparseCoding(cell, solver="backtracking", iterations=50)
    """

    adaptive = True

    def __init__(self, decrease: float = 0.97, increase: float = 2.0, longest_momentum: float = 50.0,
                 relative_slack: float = 1e-4, longest_step: float = 1.0) -> None:
        if not 0 < decrease <= 1 < increase or not longest_momentum >= 1 or not relative_slack >= 0 or \
                not longest_step > 0:
            raise ValueError("Expected 0 < decrease <= 1 < increase, longest_momentum of 1 or more, a slack of 0 or "
                             f"more and longest_step above 0. Received: decrease={decrease!r}, increase={increase!r}, "
                             f"longest_momentum={longest_momentum!r}, relative_slack={relative_slack!r}, "
                             f"longest_step={longest_step!r}")
        self.decrease, self.increase, self.longest_momentum = float(decrease), float(increase), float(longest_momentum)
        self.relative_slack, self.longest_step = float(relative_slack), float(longest_step)

    def begin(self, code: Tensor, problem: Operations) -> State:
        """State of the code 0."""
        eta = problem.start()
        first = problem.first_step
        return code, code, eta, ops.zeros_like(eta), first, ops.ones_like(first), ops.zeros_like(first)

    def code(self, state: State) -> Tensor:
        """x, of -w and x - w."""
        return state[1] - state[0]

    def shift(self, state: State, change: Tensor) -> State:
        """The state where the baseline has risen by ``change``."""
        return state[0], state[1], state[2] + change, *state[3:]

    def refresh(self, state: State, problem: Operations) -> State:
        """The state with eta computed from the code anew: as a running sum it keeps the rounding of every step."""
        return *state[:2], problem.start() - problem.synthesise(state[0]), *state[3:]

    def step(self, state: State, descend: Any, factor: Tensor | float | None = 1.0) -> State:
        """The next state, by the ``Operations`` of a batch; ``factor`` 1: the curvature is bounded anew."""
        back, brake, eta, pace, step, t, steepest = state
        # It follows from the data: a constant.
        step = ops.stop_gradient(ops.minimum(step, self.longest_step / ops.maximum(steepest, _TINY)))
        change = descend.change(back, eta, step)
        eta_change = descend.synthesise(change)
        energy = descend.energy(change)
        allowed = (0.5 * (1.0 + self.relative_slack)) * energy / step

        def taken() -> State:
            t_next = ops.minimum(t + 0.5, self.longest_momentum)
            pull = (t - 1.0) / t_next
            brake_next, pace_next = pull * (brake - change), pull * (pace + eta_change)
            # Where nothing moved the curvature is as unknown as before.
            longer = ops.where(energy > 0.0, step / self.decrease, step)
            return (back - change + brake_next, brake_next, eta + eta_change + pace_next, pace_next, longer, t_next)

        def taken_or_refused() -> State:
            accepted = descend.is_within(eta, eta_change, allowed)
            refused = (back, brake, eta, pace, step / self.increase, t)
            return tuple(descend.choose(accepted, new, old) for new, old in zip(taken(), refused, strict=True))

        surely = descend.is_surely_within(eta, eta_change, allowed)
        return (*ops.cond(ops.all(surely), taken, taken_or_refused),
                # Not "change is not 0": what rests at 0 still moves by rounding, in one run time and not in another.
                self._steepest(steepest, lambda: descend.steepest(eta, ops.not_equal(change, back)), factor))

    def _steepest(self, present: Tensor, anew: Callable[[], Tensor | None], factor: Tensor | float | None) -> Tensor:
        """The curvature's bound: a new one where ``factor`` says so, and where it is a number."""
        def found() -> Tensor:
            value = anew()
            return present if value is None else ops.where(value < _HUGE, value, present)

        if factor is None or isinstance(factor, float | int):
            return found() if factor else present
        return ops.cond(factor > 0.5, found, lambda: present)

    def momentum(self, iterations: int) -> list[float]:
        """1 where the curvature is bounded anew, else 0: the momentum is a part of the state."""
        return [float(k % BOUND_EVERY == 0) for k in range(1, iterations + 1)]

    def change(self, before: State, after: State) -> Tensor:
        """As ``Solver.change``; infinite where every step of ten was refused, which is no rest."""
        refused = ops.any(after[4] < before[4] / self.increase**9)
        return ops.where(refused, float("inf"), super().change(before, after))

    def get_config(self) -> dict[str, Any]:
        return {"decrease": self.decrease, "increase": self.increase, "longest_momentum": self.longest_momentum,
                "relative_slack": self.relative_slack, "longest_step": self.longest_step}
