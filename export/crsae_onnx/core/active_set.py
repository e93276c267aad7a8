"""Encoding that works only where a signal holds events, and shows that the rest is at its optimum (NumPy).

The optimum of 1/2 ||y - D z||^2 + sum_c weight_c |z_c| is where no coordinate would move: z = prox(z + D^T (y - D z),
weight), filters having norm 1. Silence fulfils that with z = 0, so only the neighbourhoods of the coordinates that
would move are solved, round by round, until it holds everywhere to a tolerance. ``keras_crsae.solvers.ActiveSet`` is
the same search inside TensorFlow's graph, and says more about it.

The code is kept in rows of some positions, and a window is two whole rows. Matrix products are small on purpose: the
BLAS of NumPy shares larger ones among threads that wait for each other actively, which on a busy machine costs more
than it gains.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from crsae_onnx.core.active_windows import (
    SHRINKAGES,
    ActiveSetParameters,
    WindowProblems,
    movement,
    row_size,
    strongest_apart,
)
from crsae_onnx.core.typing import Array, IntArray

#: Multiply-adds of a matrix product, about: OpenBLAS computes it on one thread.
PRODUCT = 2**19
#: Columns of the product that computes D^T y, at least: narrower ones are slow.
_COLUMNS = 96


class ActiveSetEncoder:
    """argmin_z 1/2 ||y - D z||^2 + sum_c weight_c |z_c| to a tolerance, for signals with stride 1.

    Args:
        kernel: D's filters, (kernel_size, channels, filters), of norm 1.
        penalty_weight: lambda * sigma^2, (filters,) or a number.
        code_prior: "nonnegative_soft" (codes >= 0) or "soft".
        iterations: on a window in one round, at most (``parameters.least_iterations`` where it is less).
        parameters: ``ActiveSetParameters``.

    Raises:
        ValueError: another code prior, filters whose norm is not 1.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.active_set import ActiveSetEncoder
        >>> kernel = np.hanning(9)[:, None, None] / np.linalg.norm(np.hanning(9))
        >>> encode = ActiveSetEncoder(kernel, penalty_weight=1.0)
        >>> signal = np.zeros((1, 1000, 1)); signal[0, 100:109] = 9 * kernel[:, 0]
        >>> code = encode(signal)                               # (batch, positions, filters)
        >>> np.flatnonzero(code[0, :, 0]).tolist(), round(float(code.max()), 3)
        ([100], 8.0)
    """

    def __init__(self, kernel: Array, penalty_weight: Array | float, code_prior: str = "nonnegative_soft",
                 iterations: int = 100, parameters: ActiveSetParameters = ActiveSetParameters()) -> None:  # noqa: B008
        self.kernel, self.parameters = np.asarray(kernel, np.float32), parameters
        self.size, self.channels, self.filters = self.kernel.shape
        if code_prior not in SHRINKAGES:
            raise ValueError(f"The search for active parts is written for the code priors {tuple(SHRINKAGES)}. "
                             f"Received: {code_prior!r}")
        norms = np.sqrt(np.sum(np.square(self.kernel, dtype=np.float64), axis=(0, 1)))
        if not np.allclose(norms, 1, atol=1e-3):
            raise ValueError(f"The search for active parts needs filters of norm 1. Received: norms {norms}")
        self.weight = np.broadcast_to(np.asarray(penalty_weight, np.float32), self.filters).copy()
        self.shrinkage, self.iterations = SHRINKAGES[code_prior], max(iterations, parameters.least_iterations)
        self.row = row_size(self.size, self.filters, parameters.window_rows, parameters.window_values)
        self.reach = -(-(self.size - 1) // self.row)  #: rows on each side of a window that its atoms overlap
        self.margin = self.reach + parameters.window_rows  #: closed rows before a signal's first
        self.windows = WindowProblems(self.kernel, parameters.window_rows * self.row, self.reach * self.row,
                                      self.shrinkage, parameters)
        self.block = self.row  #: positions of one row of the product that computes D^T y
        while self.block * self.filters < _COLUMNS and self.block < 64:
            self.block *= 2

    def __call__(self, signal: Array, mask: Array | None = None) -> Array:
        """Optimal code, float32 (batch, time - kernel_size + 1, filters).

        Args:
            signal: (batch, time, channels), finite.
            mask: None, or 0/1 of its shape: the observed samples.
        """
        if mask is not None:
            signal = np.asarray(signal, np.float32) * np.asarray(mask, np.float32)
        search = self._begin(signal)
        if mask is not None:
            search.observed = self._padded(mask, search.rows).reshape(-1)
        for _ in range(self.parameters.rounds):
            first = strongest_apart(search.score, search.threshold, self.margin)
            if not len(first):
                break
            self._round(search, first)
        code = search.code.reshape(len(signal), -1, self.filters)
        start = self.margin * self.row
        return np.ascontiguousarray(code[:, start:start + search.positions])

    @cached_property
    def _analysis(self) -> Array:
        """((block + kernel_size - 1) * channels, block * filters): D^T of a block."""
        matrix = np.zeros((self.block + self.size - 1, self.channels, self.block, self.filters), np.float32)
        for position in range(self.block):
            matrix[position:position + self.size, :, position] = self.kernel
        return matrix.reshape(-1, self.block * self.filters)

    @cached_property
    def _window_factors(self) -> tuple[Array, Array]:
        """D of a window, (values, samples * channels), and D^T of its samples to all positions that it overlaps."""
        width, around = self.parameters.window_rows * self.row, self.reach * self.row
        samples = width + self.size - 1
        synthesis = np.zeros((width, self.filters, samples, self.channels), np.float32)
        for position in range(width):
            synthesis[position, :, position:position + self.size] = self.kernel.transpose(2, 0, 1)
        adjoint = np.zeros((samples, self.channels, width + 2 * around, self.filters), np.float32)
        for position in range(-around, width + around):
            low, high = max(0, position), min(samples, position + self.size)
            if low < high:
                adjoint[low:high, :, position + around] = self.kernel[low - position:high - position]
        return (synthesis.reshape(width * self.filters, -1),
                adjoint.reshape(samples * self.channels, -1))

    def _padded(self, array: Array, rows: int) -> Array:
        """Signals with zeros before and after them, (batch, samples of so many rows of code, channels)."""
        batch, time, channels = array.shape
        before = self.margin * self.row
        padded = np.zeros((batch, rows * self.row + self.size - 1, channels), np.float32)
        padded[:, before:before + time] = array
        return padded

    def _begin(self, signal: Array) -> _Search:
        """The code 0: D^T y in rows, and how far each row's strongest coordinate would move."""
        batch, positions = len(signal), signal.shape[1] - self.size + 1
        total = -(-(positions + 2 * self.margin * self.row) // self.block) * self.block
        rows, width = total // self.row, self.row * self.filters
        search = _Search(rows, positions, np.zeros((batch * rows, width), np.float32),
                         np.empty((batch * rows, width), np.float32), np.zeros((batch * rows,), np.float32), 0.0)
        padded = self._padded(signal, rows)
        part = max(32, PRODUCT // self._analysis.size)  # blocks of a product
        weight, largest = np.tile(self.weight, self.row), 0.0
        each = self.block // self.row  # rows of a block
        for entry, samples in enumerate(padded.reshape(batch, -1)):
            blocks = sliding_window_view(samples, len(self._analysis))[::self.block * self.channels]
            for at in range(0, total // self.block, part):
                piece = np.ascontiguousarray(blocks[at:at + part])
                start = entry * rows + at * each
                where = slice(start, start + len(piece) * each)
                found = search.correlation[where]
                np.matmul(piece, self._analysis, out=found.reshape(len(piece), -1))
                largest = max(largest, float(found.max()), -float(found.min()))
                np.max(self.shrinkage.excess(found) - weight, axis=1, out=search.score[where])
        np.maximum(search.score, 0, out=search.score)
        self._close(search)
        # What the rounding of a correlation alone may move is no reason for another round.
        rounding = 16.0 * float(np.finfo(np.float32).eps) * largest
        search.threshold = max(rounding, float(self.weight.min()) * self.parameters.tolerance)
        return search

    def _close(self, search: _Search) -> None:
        """Set the score of closed rows to 0, and take it again where a signal's last row is closed in part."""
        last = self.margin + (search.positions - 1) // self.row
        score = search.score.reshape(-1, search.rows)
        score[:, :self.margin] = 0
        score[:, last + 1:] = 0
        ends: IntArray = np.arange(last, len(search.score), search.rows, dtype=np.int64)
        self._take_score(search, ends)

    def _weight(self, search: _Search, index: IntArray) -> Array:
        """Penalty weights of rows, infinite where a position is closed; one row for all where none is."""
        place = (index % search.rows - self.margin) * self.row
        if place.min() >= 0 and place.max() + self.row <= search.positions:
            return np.tile(self.weight, self.row)[None]
        place = place[:, None] + np.arange(self.row)
        is_open = (place >= 0) & (place < search.positions)
        weight = np.where(is_open[..., None], self.weight, np.float32(np.inf))
        return weight.reshape(len(index), -1)

    def _take_score(self, search: _Search, index: IntArray) -> None:
        search.score[index] = movement(search.code[index], search.correlation[index], self._weight(search, index),
                                       self.shrinkage)

    def _round(self, search: _Search, first: IntArray) -> None:
        """Solve the windows that begin at the rows ``first``, and compute again what they overlap."""
        values, overlapped = self.windows.cross.shape
        # Few at a time: small products, and what they read stays in the cache.
        for group in _groups(first, max(64, PRODUCT // values**2)):
            change = self._solve(search, group)
            for part in _groups(np.arange(len(group)), max(16, PRODUCT // (values * overlapped))):
                explained = self._explained(search, change[part], group[part])
                self._subtract(search, group[part], explained)
        self._take_score(search, _rows_from(first, self.reach, self.reach + self.parameters.window_rows))

    def _solve(self, search: _Search, first: IntArray) -> Array:
        """Solve windows; returns what changed in each, (windows, values)."""
        index, values = _rows_from(first, 0, self.parameters.window_rows), len(self.windows.gram)
        old, slope = (array[index].reshape(-1, values) for array in (search.code, search.correlation))
        weight = self._weight(search, index)
        weight = np.tile(weight, (1, self.parameters.window_rows)) if len(weight) == 1 else weight.reshape(-1, values)
        new = self.windows.solve(old, slope, slope + old @ self.windows.gram, weight, self.iterations,
                                 0.5 * search.threshold)
        search.code[index] = new.reshape(len(index), -1)
        return new - old

    def _explained(self, search: _Search, change: Array, first: IntArray) -> Array:
        """What a change of windows' codes does to ``D^T D z`` in the rows that they overlap."""
        if search.observed is None:
            return change @ self.windows.cross
        # Where samples are missing the Gram matrix is larger than the true one: a step is shorter, its effect smaller.
        synthesis, adjoint = self._window_factors
        entry, row = np.divmod(first, search.rows)
        start = entry * (search.rows * self.row + self.size - 1) + row * self.row
        observed = sliding_window_view(search.observed, synthesis.shape[1])[start * self.channels]
        return (change @ synthesis * observed) @ adjoint

    def _subtract(self, search: _Search, first: IntArray, explained: Array) -> None:
        """Take what is explained off the correlation. Rows of neighbouring windows may be the same: every other one."""
        rows = 2 * self.reach + self.parameters.window_rows
        index = _rows_from(first, self.reach, self.reach + self.parameters.window_rows).reshape(-1, rows)
        explained = explained.reshape(*index.shape, -1)
        for offset in (0, 1):
            search.correlation[index[offset::2]] -= explained[offset::2]


@dataclass
class _Search:
    """Where a search stands. Rows of all signals follow each other."""

    rows: int  #: of one signal, closed ones before and after it included
    positions: int  #: code positions of one signal
    code: Array  #: (rows of all signals, row * filters)
    correlation: Array  #: D^T (y - D z), the same shape
    score: Array  #: (rows of all signals,), how far a row's strongest coordinate would move
    threshold: float  #: least movement worth another round
    observed: Array | None = None  #: 0/1 of all samples, closed ones included; None: all are


def _rows_from(first: IntArray, before: int, after: int) -> IntArray:
    """Rows from ``before`` the first of each window to ``after`` it."""
    return (first[:, None] + np.arange(-before, after)).reshape(-1)


def _groups(array: IntArray, size: int) -> list[IntArray]:
    return [array[at:at + size] for at in range(0, len(array), size)]
