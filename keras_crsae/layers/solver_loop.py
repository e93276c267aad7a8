"""A solver's iterations on a folded problem: a graph loop or unrolled, with the gradient that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np
from crsae_onnx.core.spec_parts import BOUND_EVERY
from keras import ops

from keras_crsae.layers.folded_problem import FoldedProblem, Tensors
from keras_crsae.layers.implicit_gradient import with_implicit_gradient
from keras_crsae.solvers.base import Solver
from keras_crsae.typing import Gradient, Tensor

#: Iterations in one pass of the graph loop, about; exactly so with ``tolerance``, tested after each, and ``remat``.
LOOP_BODY = 10
#: Passes of the graph loop after which a solver's running sums are computed anew.
REFRESH_PASSES = 4


@dataclass(frozen=True)
class SolverLoop:
    """Options of the iterations, see ``SparseCoding``.

    A problem whose baseline is free (``FoldedProblem.free_baseline``) carries it as the last of its states, and finds
    it anew after each pass: about ten iterations.
    """

    solver: Solver
    iterations: int
    unroll: bool
    return_sequences: bool
    gradient: Gradient
    gradient_steps: int
    tolerance: float | None
    remat: bool

    def run(self, problem: FoldedProblem) -> tuple[list[Tensor], Tensor | None]:
        """The last iterate as a list, or all of them with ``return_sequences``, and the baseline where it is free."""
        held = {"unrolled": 0, "decoder": self.iterations, "implicit": self.iterations,
                "truncated": max(0, self.iterations - self.gradient_steps)}[self.gradient]
        factors = np.array(self.solver.momentum(self.iterations), "float32")
        sequence: list[Tensor] = []
        constant = replace(problem, tensors=problem.tensors.without_gradient())
        states, done = self._start(constant if held else problem, sequence)
        if held:
            states = [ops.stop_gradient(s) for s in self._run(constant, states, factors[done:held], sequence)]
        if self.iterations > held:
            states = self._run(problem, states, factors[max(done, held):], sequence)
        baseline = states[-1] if problem.free_baseline else None
        code = self._code(problem, states)
        if self.gradient == "implicit":
            code = with_implicit_gradient(problem, code)
        return sequence if self.return_sequences else [code], baseline

    def _code(self, problem: FoldedProblem, states: list[Tensor]) -> Tensor:
        return self.solver.code(tuple(states[:-1] if problem.free_baseline else states))

    def _start(self, problem: FoldedProblem, sequence: list[Tensor]) -> tuple[list[Tensor], int]:
        """States to begin with, and the iterations that are in them."""
        free = [problem.tensors.baseline] if problem.free_baseline else []
        zero_code = self.remat or self.tolerance is not None or self.solver.momentum(1) != [0.0]
        if self.solver.adaptive or zero_code:
            # What is kept, or tested, once in ten iterations counts from the zero code.
            zero = ops.zeros(problem.code_shape, dtype=problem.tensors.signal.dtype)
            begun = self.solver.begin(zero, problem.operations()) if self.solver.adaptive else self.solver.init(zero)
            return [*begun, *free], 0
        states = list(self.solver.init(problem.descent()(None)))
        sequence.append(self._code(problem, states))
        return [*states, *free], 1

    def _steps(self, problem: FoldedProblem, states: list[Tensor],
               factors: Sequence[Tensor | float]) -> list[list[Tensor]]:
        """One iteration for each of ``factors``, the solver's momentum; every state list on the way."""
        free: list[Tensor] = []
        if problem.free_baseline:
            *states, baseline = states
            problem, free = problem.with_baseline(baseline), [baseline]
        given = problem.operations() if self.solver.adaptive else problem.descent()
        sequence: list[list[Tensor]] = []
        for factor in factors:
            states = list(self.solver.step(tuple(states), given, factor))
            sequence.append([*states, *free])
        if free:
            found = problem.best_baseline(self.solver.code(tuple(states)))
            sequence[-1] = [*self.solver.shift(tuple(states), found - free[0]), found]
        return sequence

    def _refreshed(self, problem: FoldedProblem, states: list[Tensor], i: Tensor) -> list[Tensor]:
        """The states after pass number ``i``, running sums computed anew once in ``REFRESH_PASSES`` passes."""
        if not self.solver.adaptive:
            return states
        free = states[-1:] if problem.free_baseline else []
        state = tuple(states[:len(states) - len(free)])

        def anew() -> tuple[Tensor, ...]:
            present = problem.with_baseline(free[0]) if free else problem
            return self.solver.refresh(state, present.operations())

        return [*ops.cond(ops.equal(i % REFRESH_PASSES, REFRESH_PASSES - 1), anew, lambda: state), *free]

    def _remat_pass(self, problem: FoldedProblem, states: list[Tensor], row: Tensor,
                    known: Sequence[float | None]) -> list[Tensor]:
        """One pass of the loop whose iterates are computed again for the gradient."""
        present = [t for t in problem.tensors if t is not None]

        def last(row: Tensor, *values: Tensor) -> list[Tensor]:
            rest = iter(values)
            tensors = Tensors(*(None if t is None else next(rest) for t in problem.tensors))
            return self._steps(replace(problem, tensors=tensors), list(rest), _factors(row, known))[-1]

        return keras.remat(last)(row, *present, *states)

    def _run(self, problem: FoldedProblem, states: list[Tensor], factors: np.ndarray,
             sequence: list[Tensor]) -> list[Tensor]:
        """The states after one iteration for each of ``factors``."""
        if not len(factors):
            return states
        if self.unroll or self.return_sequences:
            length = LOOP_BODY if problem.free_baseline else len(factors)
            for start in range(0, len(factors), length):
                steps = self._steps(problem, states, factors[start:start + length].tolist())
                sequence.extend(self._code(problem, s) for s in steps)
                states = steps[-1]
            return states
        body_length = LOOP_BODY if self.remat or self.tolerance is not None else \
            BOUND_EVERY // 2 if self.solver.adaptive else _body_length(len(factors))
        passes, rest = divmod(len(factors), body_length)
        if rest:
            states = self._steps(problem, states, factors[:rest].tolist())[-1]
        if not passes:
            return states
        return self._loop(problem, states, factors[rest:].reshape(passes, body_length))

    def _loop(self, problem: FoldedProblem, states: list[Tensor], factors: np.ndarray) -> list[Tensor]:
        """The states after one pass of the graph loop for each row of ``factors``, or fewer with ``tolerance``."""
        passes, body_length = factors.shape
        table = ops.convert_to_tensor(factors, problem.tensors.signal.dtype)
        # What a solver that searches does once in some iterations, it does at the same places of each pass, or of some.
        known = [float(column[0]) if self.solver.adaptive and (column == column[0]).all() else None
                 for column in factors.T]

        def body(i: Tensor, change: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
            row = ops.take(table, i, axis=0)  # OpenVINO runs no slice at a computed place in a loop
            if self.remat:
                return i + 1, change, *self._refreshed(problem, self._remat_pass(problem, list(states), row, known), i)
            steps = self._steps(problem, list(states), _factors(row, known))
            if self.tolerance is not None:
                change = self.solver.change(tuple(states) if self.solver.adaptive else tuple(steps[-2]),
                                            tuple(steps[-1]))
            return i + 1, change, *self._refreshed(problem, steps[-1], i)

        start = ops.cast(float("inf"), problem.tensors.signal.dtype)
        least = 0.0 if self.tolerance is None else self.tolerance
        return list(ops.while_loop(lambda i, change, *_: change >= least, body, (0, start, *states),
                                   maximum_iterations=passes))[2:]


def _factors(row: Tensor, known: Sequence[float | None]) -> list[Tensor | float]:
    """Entries of a row of the table of factors, numbers where they are the same in every row."""
    return [value if number is None else number
            for value, number in zip(ops.unstack(row, len(known)), known, strict=True)]


def _body_length(count: int) -> int:
    """Iterations in one pass of the graph loop: about ``LOOP_BODY``, so that few are left to be traced before it."""
    return min(range(LOOP_BODY + 2, LOOP_BODY - 4, -1), key=lambda length: count % length + length)
