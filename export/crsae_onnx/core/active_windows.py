"""Small problems on windows of a code, all with one Gram matrix (NumPy): what ``core.active_set`` solves in a round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from crsae_onnx.core.typing import Array, IntArray

#: Iterations between two evaluations of the windows' own condition.
PASS = 10


@dataclass(frozen=True)
class ActiveSetParameters:
    """How a search for the active parts of a code runs, with TensorFlow and without.

    Args:
        tolerance: the code is optimal where no value would move by more than this fraction of its penalty weight.
        window_rows: rows of positions in a window.
        window_values: code values in a window, at most: the Gram matrix has the square of them.
        penalty, relaxation: of the alternating direction method of multipliers on a window.
        least_iterations: iterations on a window in one round, at least.
        rounds: at most: a tolerance below what float32 resolves must not run for ever.
    """

    tolerance: float = 1e-3
    window_rows: int = 2
    window_values: int = 512
    penalty: float = 0.5
    relaxation: float = 1.6
    least_iterations: int = 50
    rounds: int = 1000


class Shrinkage(NamedTuple):
    """A code prior with penalty weight * |z|, on arrays."""

    prox: Callable[[Array, Array, Array], object]  #: (x, threshold, out) -> prox(x, threshold) in ``out``, not x
    excess: Callable[[Array], Array]  #: of D^T r: zero is optimal where it is at most the penalty weight


def _relu_prox(x: Array, threshold: Array, out: Array) -> None:
    np.subtract(x, threshold, out=out)
    np.maximum(out, 0, out=out)


def _soft_prox(x: Array, threshold: Array, out: Array) -> None:
    np.clip(x, -threshold, threshold, out=out)
    np.subtract(x, out, out=out)


def _itself(correlation: Array) -> Array:
    return correlation


#: By the name of a code prior's form in a graph.
SHRINKAGES = {"nonnegative_soft": Shrinkage(_relu_prox, _itself), "soft": Shrinkage(_soft_prox, np.abs)}


def row_size(kernel_size: int, filters: int, window_rows: int = 2, window_values: int = 512) -> int:
    """Code positions of a row: a power of two, at most a fifth of a kernel's length, fewer with many filters.

    Example:
        >>> from crsae_onnx.core.active_windows import row_size
        >>> row_size(61, 3), row_size(45, 300)
        (8, 1)
    """
    most = max(1, min(kernel_size // 5, window_values // (window_rows * filters)))
    return 2 ** (most.bit_length() - 1)


def strongest_apart(score: Array, threshold: float, spacing: int) -> IntArray:
    """One place at most in each block of ``spacing``: its strongest, unless a stronger one is too near.

    Args:
        score: (places,), how much each would move.
        threshold: least score worth a move.
        spacing: least distance of two selected places.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.active_windows import strongest_apart
        >>> strongest_apart(np.array([0, 3, 0, 2, 0, 0, 1, 0]), 0.5, spacing=3).tolist()
        [1, 6]
    """
    places = np.flatnonzero(score > threshold)
    if not len(places):
        return places
    order = np.lexsort((-score[places], places // spacing))
    places = places[order]
    block = places // spacing
    places = places[np.append(True, block[1:] != block[:-1])]
    best = score[places]
    near = np.diff(places) < spacing
    loses_right = near & (best[1:] > best[:-1])
    loses = np.append(loses_right, False) | np.append(False, near & ~loses_right)
    return places[~loses]


class WindowProblems:
    """minimise 1/2 x G x - linear x + weight |x| for many windows of ``width`` positions, which share G.

    By the alternating direction method of multipliers (Boyd, Parikh, Chu, Peleato, Eckstein, Distributed optimization
    and statistical learning via ADMM, 2011, section 6.4), written in v = x + u: z = prox(v, weight / penalty), then v
    moves towards the minimum of the quadratic part. With q = 2 z - v and penalty rho the relaxed step v + a (x - z) is
    q (a rho (G + rho)^-1 - 1) + a linear (G + rho)^-1 + (2 - a) z.

    Args:
        kernel: (kernel_size, channels, filters), filters of norm 1.
        width: code positions of a window.
        around: positions on each side of it that its code's atoms overlap, kernel_size - 1 or more.
        shrinkage: of the code's prior.
        parameters: ``ActiveSetParameters``.

    Attributes:
        gram: G, (values, values), values = width * filters.
        cross: (values, (width + 2 around) * filters): what a window's code does to ``D^T D z`` in and around it.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.active_windows import SHRINKAGES, ActiveSetParameters, WindowProblems
        >>> windows = WindowProblems(np.ones((1, 1, 1)), 2, 0, SHRINKAGES["soft"], ActiveSetParameters())
        >>> linear = np.array([[3.0, -0.5]], "float32")
        >>> solution = windows.solve(np.zeros((1, 2), "float32"), linear, linear, np.ones((1, 2), "float32"), 100, 1e-5)
        >>> solution.round(4).tolist()
        [[2.0, 0.0]]
    """

    def __init__(self, kernel: Array, width: int, around: int, shrinkage: Shrinkage,
                 parameters: ActiveSetParameters) -> None:
        filters, values = kernel.shape[-1], width * kernel.shape[-1]
        cross = _cross(np.asarray(kernel, np.float64), width, around)
        gram = cross[:, :, around:around + width].reshape(values, values)
        inverse = parameters.relaxation * np.linalg.inv(gram + parameters.penalty * np.eye(values))
        self.shrinkage, self.parameters = shrinkage, parameters
        self.gram, self.inverse = gram.astype(np.float32), inverse.astype(np.float32)
        self.cross = cross.reshape(values, (width + 2 * around) * filters).astype(np.float32)
        self.turn = (parameters.penalty * inverse - np.eye(values)).astype(np.float32)
        self.step_size = np.float32(1.0 / np.abs(gram).sum(1).max())

    def solve(self, code: Array, slope: Array, linear: Array, weight: Array, iterations: int,
              tolerance: float) -> Array:
        """The windows' codes, (windows, values).

        Args:
            code: where to start.
            slope: D^T (y - D z) at ``code``, in the windows.
            linear: D^T y of each window alone, ``slope + code G``.
            weight: penalty weight, (windows, values) or (1, values); infinite where a position is closed.
            iterations: at most; whole passes of ``PASS`` are made.
            tolerance: a window ends where no coordinate would move by more.

        Where the objective rose instead, which too few iterations may do, one plain gradient step is taken.
        """
        weight = np.broadcast_to(weight, code.shape)
        solution = self._admm(code, slope, linear, weight, iterations, tolerance)
        finite = np.where(np.isfinite(weight), weight, 0)  # closed positions hold 0
        before, after = (self._objective(x, linear, finite) for x in (code, solution))
        rose = after > before + 1e-6 * np.abs(before)
        if rose.any():
            step = np.empty((np.count_nonzero(rose), code.shape[1]), np.float32)
            self.shrinkage.prox(code[rose] + self.step_size * slope[rose], self.step_size * weight[rose], step)
            solution[rose] = step
        return solution

    def _admm(self, code: Array, slope: Array, linear: Array, weight: Array, iterations: int,
              tolerance: float) -> Array:
        """The iterations; a window leaves them where its condition holds."""
        penalty, keep = np.float32(self.parameters.penalty), np.float32(2.0 - self.parameters.relaxation)
        solution, left = np.empty_like(code), np.arange(len(code))
        z, v = code.copy(), code + slope / penalty
        drift, threshold = linear @ self.inverse, weight / penalty
        for _ in range(-(-iterations // PASS)):
            turned = np.empty_like(z)
            for _ in range(PASS):
                np.add(z, z, out=turned)
                turned -= v
                np.matmul(turned, self.turn, out=v)
                v += drift
                z *= keep
                v += z
                self.shrinkage.prox(v, threshold, z)
            goes_on = self._movement(z, linear, weight) > tolerance
            if goes_on.all():
                continue
            solution[left[~goes_on]] = z[~goes_on]
            left = left[goes_on]
            if not len(left):
                return solution
            z, v, drift, threshold, linear, weight = (a[goes_on] for a in (z, v, drift, threshold, linear, weight))
        solution[left] = z
        return solution

    def _movement(self, z: Array, linear: Array, weight: Array) -> Array:
        """How far the coordinate of each window that would move most would move."""
        return movement(z, linear - z @ self.gram, weight, self.shrinkage)

    def _objective(self, x: Array, linear: Array, weight: Array) -> Array:
        return np.sum(x * (0.5 * (x @ self.gram) - linear) + weight * np.abs(x), axis=1)


def movement(code: Array, correlation: Array, weight: Array, shrinkage: Shrinkage) -> Array:
    """(rows,): how far each row's strongest coordinate would move, prox(code + correlation, weight) - code."""
    moved = np.empty_like(code)
    shrinkage.prox(code + correlation, weight, moved)
    moved -= code
    return np.max(np.abs(moved, out=moved), axis=1)


def _cross(kernel: Array, width: int, around: int) -> Array:
    """(width, filters, width + 2 around, filters): inner products of filters at a window's and at any position."""
    size, _, filters = kernel.shape
    lags = np.zeros((2 * (width + around) - 1, filters, filters))  # of the second filter's start after the first's
    zero = width + around - 1
    for lag in range(min(size, zero + 1)):
        product = np.einsum("tcf,tcg->fg", kernel[lag:], kernel[:size - lag])
        lags[zero + lag], lags[zero - lag] = product, product.T
    lag = np.arange(-around, width + around)[None] - np.arange(width)[:, None]
    return lags[lag + zero].transpose(0, 2, 1, 3)
