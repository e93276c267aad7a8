"""Active-set encoding: work only where the signal holds events, and prove that the rest is at its optimum.

The optimum of 1/2 ||y - D z||^2 + sum_c weight_c p(z_c) is where no coordinate would move: z = prox(z + D^T (y - D z),
weight), filters having norm 1. Silence fulfils that with z = 0, so only the neighbourhoods of the coordinates that
would move are solved, all of them at once: the strongest coordinate of every stretch, far enough apart that their
neighbourhoods share no sample, and around each a window of code positions, solved as a small problem of its own. All
windows have the same Gram matrix, so one iteration on all of them is one matrix product. Then the residual is updated
and the condition evaluated again everywhere, until it holds to a tolerance.

This is block coordinate descent by windows that do not meet, a batch form of locally greedy coordinate descent
(Moreau, Oudre, Vayatis, DICOD, 2018): each round lowers the objective, and where the condition holds the code is the
optimum that FISTA approaches. Where samples are missing the Gram matrix is larger than the true one, which keeps
every round a descent (majorisation) and the optimum the same.

Code and correlation are kept in rows of some positions, and a window is two whole rows: what is read and written
costs by the row. A window is solved by the alternating direction method of multipliers, which needs a third of
FISTA's iterations there: neighbouring positions are much alike, and one inverse serves all windows.

``crsae_onnx.core.active_set`` is the same search in NumPy, for exported files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from crsae_onnx.core.active_windows import ActiveSetParameters, row_size
from keras import ops

from keras_crsae.backend import tf
from keras_crsae.problem.code_priors import CodePrior
from keras_crsae.problem.objective import Problem
from keras_crsae.solvers.base import register_solver
from keras_crsae.solvers.fista import FISTA
from keras_crsae.solvers.window_problems import movement, solve_windows, strongest_apart, window_correlation
from keras_crsae.typing import Tensor

_USUAL = ActiveSetParameters()


@register_solver("active_set")
class ActiveSet(FISTA):
    """z = prox(z + D^T (y - D z), lambda sigma^2) to a tolerance, solved on windows of the code that would move.

    For the Gaussian likelihood, filters of norm 1, rank 1 and stride 1. Training takes FISTA's iterations.

    Args:
        tolerance: the code is optimal where no value would move by more than this fraction of its penalty weight.
        window_rows: rows in a window.
        window_values: code values in a window, at most: the Gram matrix has the square of them.
        penalty, relaxation: of ADMM on a window, see ``window_problems.solve_windows``.
        least_iterations: iterations on a window in one round, at least.
        rounds: at most: a tolerance below what float32 resolves must not run for ever.

    Example:
        >>> import keras_crsae as kc
        >>> cell = kc.SparseCodingCell(kc.ConvDictionary(filters=3, kernel_size=9))
        >>> encoder = kc.SparseCoding(cell, solver=kc.solvers.ActiveSet(tolerance=1e-4))
    """

    active = True

    def __init__(self, tolerance: float = _USUAL.tolerance, window_rows: int = _USUAL.window_rows,
                 window_values: int = _USUAL.window_values, penalty: float = _USUAL.penalty,
                 relaxation: float = _USUAL.relaxation, least_iterations: int = _USUAL.least_iterations,
                 rounds: int = _USUAL.rounds) -> None:
        self.tolerance, self.window_rows, self.window_values = tolerance, window_rows, window_values
        self.penalty, self.relaxation = penalty, relaxation
        self.least_iterations, self.rounds = least_iterations, rounds

    @staticmethod
    def check(problem: Problem) -> None:
        """Refuse what windows of one Gram matrix cannot solve.

        Raises:
            ValueError: another likelihood than the Gaussian, a code prior that couples values or has no
                ``dual_excess``, a measurement other than a mask.
        """
        likelihood, prior = problem.likelihood, problem.code_prior
        if not likelihood.quadratic:
            raise ValueError("The active-set solver needs the Gaussian likelihood: its windows share one Gram matrix. "
                             f"Received: likelihood={type(likelihood).__name__}. Use active=False.")
        if prior.group_axes or prior.dual_excess(ops.zeros((1, 1, 1))) is None:
            raise ValueError("The active-set solver needs a code prior of single values (no `group_axes`) that has "
                             f"a `dual_excess`. Received: code_prior={type(prior).__name__}. Use active=False.")
        if not problem.measurement.projection:
            raise ValueError("The active-set solver needs whole or masked signals. "
                             f"Received: measurement={type(problem.measurement).__name__}. Use active=False.")

    def encode(self, problem: Problem, signal: Tensor, kernel: Tensor, penalty_weight: Tensor,
               correlate: Callable[[Tensor], Tensor], synthesise: Callable[[Tensor], Tensor],
               iterations: int, tolerance: float | None = None) -> Tensor:
        """Optimal code of ``signal``, (batch, positions, filters).

        Args:
            problem: likelihood, code prior, measurement.
            signal: (batch, time, channels).
            kernel: (kernel_size, channels, filters), filters of norm 1.
            penalty_weight: (filters,), or (1,) for all: lambda * sigma^2.
            correlate: (batch, any time, channels) -> (batch, time - kernel_size + 1, filters), ``D^T``.
            synthesise: its adjoint, ``D``.
            iterations: iterations on a window in one round, at most (``least_iterations`` where it is less); they end
                earlier when the window's own condition holds.
            tolerance: None, or in place of the solver's.
        """
        signal = problem.measurement.forward(signal)  # a missing sample is zero in the residual
        weight = penalty_weight * tf.ones((kernel.shape[-1],), penalty_weight.dtype)
        rows = rows_of(signal, kernel, self.window_rows, self.window_values)
        correlation = rows.correlation(signal, correlate)
        # What the rounding of a correlation alone may move is no reason for another round.
        largest = tf.maximum(tf.reduce_max(correlation), -tf.reduce_min(correlation))
        rounding = 16.0 * np.finfo(correlation.dtype.as_numpy_dtype).eps * largest
        threshold = tf.maximum(rounding, tf.reduce_min(weight) * (self.tolerance if tolerance is None else tolerance))
        gram, cross = rows.gram(kernel)
        search = Search(self, problem, signal, rows, weight, gram, cross, threshold, correlate, synthesise,
                        max(iterations, self.least_iterations))
        return rows.join(search.run(correlation))

    def get_config(self) -> dict[str, Any]:
        return {"tolerance": self.tolerance, "window_rows": self.window_rows, "window_values": self.window_values,
                "penalty": self.penalty, "relaxation": self.relaxation, "least_iterations": self.least_iterations,
                "rounds": self.rounds}


@dataclass(frozen=True, eq=False)
class Rows:
    """Code positions of all signals in rows, with a margin of closed rows before and after each signal's own."""

    size: int  #: positions of a row
    window: int  #: rows of a window
    reach: int  #: rows on each side of a window that its code's atoms overlap
    filters: int
    length: Tensor  #: rows of one signal, margins included
    positions: Tensor  #: code positions of one signal

    @property
    def margin(self) -> int:
        """Closed rows before a signal's first."""
        return self.reach + self.window

    def split(self, array: Tensor) -> Tensor:
        """(batch, length * size, filters) -> (batch * length, size * filters)."""
        return tf.reshape(array, (-1, self.size * self.filters))

    def join(self, rows: Tensor) -> Tensor:
        """The code positions of rows, (batch, positions, filters)."""
        start = self.margin * self.size
        return tf.reshape(rows, (-1, self.length * self.size, self.filters))[:, start:start + self.positions]

    def weight(self, index: Tensor, weight: Tensor) -> Tensor:
        """Penalty weights of the rows at ``index`` (n,), infinite where a position is closed: (n, size * filters)."""
        place = (index % self.length - self.margin)[:, None] * self.size + tf.range(self.size)
        is_open = (place >= 0) & (place < self.positions)
        return self.split(tf.where(is_open[..., None], weight, np.inf))

    def correlation(self, residual: Tensor, correlate: Callable[[Tensor], Tensor]) -> Tensor:
        """D^T of a residual (batch, time, channels) in rows."""
        before = self.margin * self.size
        after = self.length * self.size - before - self.positions
        return self.split(correlate(tf.pad(residual, [[0, 0], [before, after], [0, 0]])))

    def gram(self, kernel: Tensor) -> tuple[Tensor, Tensor]:
        """Gram matrix of a window, (values, values), and with all positions that it overlaps, (values, more values)."""
        values, reach = self.window * self.size * self.filters, self.reach * self.size
        cross = window_correlation(kernel, self.window * self.size, reach)
        gram = tf.reshape(cross[:, :, reach:reach + self.window * self.size], (values, values))
        return gram, tf.reshape(cross, (values, -1))

    def first_score(self, correlation: Tensor, weight: Tensor, prior: CodePrior) -> Tensor:
        """How far each row's strongest coordinate would move from the zero code, (batch * length,).

        Weights of closed positions are left out of the one pass over everything: those are whole rows, which are set
        to 0, and in each signal's last open row, which is computed again.
        """
        excess = prior.dual_excess(correlation)
        score = tf.reduce_max(tf.nn.bias_add(excess, -tf.tile(weight, (self.size,))), axis=1)
        last = self.margin + (self.positions - 1) // self.size
        place = tf.range(self.length)
        score = tf.nn.relu(tf.reshape(score, (-1, self.length)))
        score = tf.where((place >= self.margin) & (place < last), score, 0.0)
        index = tf.range(last, tf.size(score), self.length)
        ends = movement(0.0, tf.gather(correlation, index), self.weight(index, weight), prior)
        ends = tf.reduce_max(tf.abs(ends), axis=1)
        return tf.tensor_scatter_nd_update(tf.reshape(score, (-1,)), index[:, None], ends)


def rows_of(signal: Tensor, kernel: Tensor, window_rows: int, window_values: int) -> Rows:
    """The rows of a signal's code."""
    kernel_size, filters = kernel.shape[0], kernel.shape[-1]
    size = row_size(kernel_size, filters, window_rows, window_values)
    reach = -(-(kernel_size - 1) // size)
    positions = tf.shape(signal)[1] - kernel_size + 1
    multiple = max(32, size)  # whole blocks of the folded dictionary, whose tail would cost a copy
    total = (positions + 2 * (reach + window_rows) * size + multiple - 1) // multiple * multiple
    return Rows(size, window_rows, reach, filters, total // size, positions)


@dataclass(frozen=True, eq=False)
class Search:
    """Rounds of one encoding: select windows, solve them, update what they changed."""

    solver: ActiveSet
    problem: Problem
    signal: Tensor  #: (batch, time, channels), missing samples 0
    rows: Rows
    weight: Tensor  #: (filters,)
    gram: Tensor
    cross: Tensor  #: see ``Rows.gram``
    threshold: Tensor  #: least movement worth another round
    correlate: Callable[[Tensor], Tensor]
    synthesise: Callable[[Tensor], Tensor]
    iterations: int

    def run(self, correlation: Tensor) -> Tensor:
        """The code in rows, from D^T y in rows."""
        width = correlation.shape[1]
        score = self.rows.first_score(correlation, self.weight, self.problem.code_prior)
        one_round = self._local_round if self.problem.measurement.observed is None else self._global_round
        start = (tf.zeros_like(correlation), correlation, score, self._select(score))
        shapes = (*(tf.TensorShape((None, width)),) * 2, *(tf.TensorShape((None,)),) * 2)

        def any_selected(code: Tensor, correlation: Tensor, score: Tensor, first: Tensor) -> Tensor:
            return tf.shape(first)[0] > 0

        return tf.while_loop(any_selected, one_round, start, maximum_iterations=self.solver.rounds,
                             shape_invariants=shapes)[0]

    def _select(self, score: Tensor) -> Tensor:
        """First rows of the windows of a round, (windows,)."""
        length = self.rows.length
        selected = strongest_apart(tf.reshape(score, (-1, length)), self.threshold, self.rows.margin)
        return selected[:, 0] * length + selected[:, 1]

    def _score(self, index: Tensor, code: Tensor, correlation: Tensor) -> Tensor:
        """How far the strongest coordinate of each row at ``index`` would move."""
        moved = movement(code, correlation, self.rows.weight(index, self.weight), self.problem.code_prior)
        return tf.reduce_max(tf.abs(moved), axis=1)

    def _solve(self, code: Tensor, correlation: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """Solve the windows that start at the rows ``first``; returns the code and what changed in each window."""
        index, values = _rows_from(first, 0, self.rows.window), self.gram.shape[0]
        old, slope, weight = (tf.reshape(a, (-1, values)) for a in (
            tf.gather(code, index), tf.gather(correlation, index), self.rows.weight(index, self.weight)))
        new = solve_windows(old, self.gram, slope + tf.matmul(old, self.gram), weight, self.problem.code_prior,
                            self.iterations, 0.5 * self.threshold, penalty=self.solver.penalty,
                            relaxation=self.solver.relaxation)
        code = tf.tensor_scatter_nd_update(code, index[:, None], tf.reshape(new, (-1, code.shape[1])))
        return code, new - old

    def _local_round(self, code: Tensor, correlation: Tensor, score: Tensor, first: Tensor) -> tuple[Tensor, ...]:
        """One round whose cost is that of its windows: only what they overlap is computed again."""
        code, change = self._solve(code, correlation, first)
        index = _rows_from(first, self.rows.reach, self.rows.reach + self.rows.window)
        explained = tf.reshape(tf.matmul(change, self.cross), (-1, correlation.shape[1]))
        correlation = tf.tensor_scatter_nd_sub(correlation, index[:, None], explained)  # a row may occur twice
        here = self._score(index, tf.gather(code, index), tf.gather(correlation, index))
        score = tf.tensor_scatter_nd_update(score, index[:, None], here)
        return code, correlation, score, self._select(score)

    def _global_round(self, code: Tensor, correlation: Tensor, score: Tensor, first: Tensor) -> tuple[Tensor, ...]:
        """One round with missing samples: what a window changes depends on where it stands."""
        code, _ = self._solve(code, correlation, first)
        residual = self.problem.residual(self.signal, self.synthesise(self.rows.join(code)))
        correlation = self.rows.correlation(residual, self.correlate)
        score = self._score(tf.range(tf.shape(code)[0]), code, correlation)
        return code, correlation, score, self._select(score)


def _rows_from(first: Tensor, before: int, after: int) -> Tensor:
    """Rows from ``before`` the first of each window to ``after`` it."""
    return tf.reshape(first[:, None] + tf.range(-before, after), (-1,))
