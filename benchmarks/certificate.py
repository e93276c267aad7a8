"""The objective all solvers are judged by, in float64, and its minimum with a certificate.

F(z) = 1/2 ||y - D z||^2 + lambda sum(z) over z >= 0. For any theta with D^T theta <= lambda the value
1/2 ||y||^2 - 1/2 ||y - theta||^2 bounds F from below (Fenchel duality), so the gap between F at a code and that
value at a scaled residual bounds how far the code is from the minimum.
"""

import numpy as np
from scipy import sparse


def dictionary_matrix(filters, samples):
    """D as a sparse matrix (samples, filters * positions); column c * positions + i is filter c placed at sample i."""
    size, _, count = filters.shape
    positions = samples - size + 1
    blocks = [sparse.diags([np.full(positions, filters[k, 0, c]) for k in range(size)], [-k for k in range(size)],
                           shape=(samples, positions)) for c in range(count)]
    return sparse.hstack(blocks, format="csc").astype(np.float64)


class Problem:
    """Windows of one recording with their certified minima.

    Args:
        windows: (windows, samples), one channel.
        filters: (time, 1, filters), unit norm.
        lambda_reg: weight of sum(z); noise sd 1.
        accuracy: gap to reach, relative to F(0) - F*.

    Attributes:
        zero: F(0) a window; best: certified code's F a window; gap: its duality gap a window.
    """

    def __init__(self, windows, filters, lambda_reg, accuracy=1e-6):
        self.windows = np.asarray(windows, np.float64)
        self.filters, self.lambda_reg, self.accuracy = np.asarray(filters, np.float64), lambda_reg, accuracy
        self.matrix = dictionary_matrix(self.filters, self.windows.shape[1])
        spectrum = np.abs(np.fft.rfft(self.filters[:, 0], 64 * len(self.filters), axis=0)) ** 2
        margin = np.cos(np.pi * (len(self.filters) - 1) / (64 * len(self.filters)))
        self.lipschitz = float(spectrum.sum(axis=1).max() / margin)
        self.zero = 0.5 * np.sum(self.windows**2, axis=1)
        self.positions = self.windows.shape[1] - len(self.filters) + 1
        solved = [self._minimum(y) for y in self.windows]
        self.best = np.array([value for value, _ in solved])
        self.gap = np.array([gap for _, gap in solved])

    def objective(self, code):
        """F a window of a code (windows, positions, filters); windows may be fewer than the problem's."""
        code = np.asarray(code, np.float64)
        if code.shape[1:] != (self.positions, self.filters.shape[-1]):
            raise ValueError(f"Expected a code of shape (windows, {self.positions}, {self.filters.shape[-1]}). "
                             f"Received: {code.shape}")
        if code.min() < -1e-6:
            raise ValueError(f"The code must be non-negative. Received: a smallest value of {code.min():.2e}")
        flat = np.moveaxis(np.maximum(code, 0), 1, 2).reshape(len(code), -1)
        residual = self.windows[:len(code)] - (self.matrix @ flat.T).T
        return 0.5 * np.sum(residual**2, axis=1) + self.lambda_reg * flat.sum(axis=1)

    def drop(self, code):
        """(F - F*) / (F(0) - F*) over the windows the code holds, F* the certified value."""
        n = len(code)
        if not np.sum(self.zero[:n] - self.best[:n]) > 1e-9 * np.sum(self.zero[:n]):
            raise ValueError("The best code of these windows is all zero: there is no drop to measure. "
                             "Lower lambda or choose windows with events.")
        return float(np.sum(self.objective(code) - self.best[:n]) / np.sum(self.zero[:n] - self.best[:n]))

    @property
    def certified(self):
        """How far F* can be above the true minimum, in units of the drop."""
        return float(self.gap.sum() / np.sum(self.zero - self.best))

    def _gap(self, y, residual, value):
        correlation = self.matrix.T @ residual
        scale = min(1.0, self.lambda_reg / max(correlation.max(), 1e-300))
        dual = scale * residual @ y - 0.5 * scale**2 * residual @ residual
        return value - dual, correlation

    def _minimum(self, y, rounds=30):
        """Minimum over a growing set of columns: a column joins when its optimality condition fails."""
        b = self.matrix.T @ y
        active = np.flatnonzero(b > 0.6 * self.lambda_reg)
        z = np.zeros(len(active))
        zero = 0.5 * y @ y
        for _ in range(rounds):
            columns = self.matrix[:, active]
            z = _nonnegative_fista((columns.T @ columns).tocsr(), b[active] - self.lambda_reg, z, self.lipschitz,
                                   1e-2 * self.accuracy * self.lambda_reg)
            residual = y - columns @ z
            value = 0.5 * residual @ residual + self.lambda_reg * z.sum()
            gap, correlation = self._gap(y, residual, value)
            if gap <= self.accuracy * max(zero - value, 1e-6 * zero):
                return value, gap
            kept = np.union1d(active[z > 0], np.flatnonzero(correlation > 0.999 * self.lambda_reg))
            start = np.zeros(self.matrix.shape[1])
            start[active] = z
            active, z = kept, start[kept]
        raise RuntimeError(f"The duality gap stopped at {gap / (zero - value):.1e} of F(0) - F*, "
                           f"asked: {self.accuracy:.1e}. Ask for less accuracy.")


def _nonnegative_fista(gram, linear, z, lipschitz, tolerance, most=50000):
    """min 1/2 z'Gz - linear'z over z >= 0, FISTA restarted where the momentum points uphill."""
    w, t = z, 1.0
    for i in range(most):
        new = np.maximum(w - (gram @ w - linear) / lipschitz, 0)
        if (w - new) @ (new - z) > 0:
            w, t = z, 1.0
            continue
        following = (1 + np.sqrt(1 + 4 * t * t)) / 2
        w, z, t = new + (t - 1) / following * (new - z), new, following
        if i % 50 == 0:
            slope = gram @ z - linear
            if np.abs(np.where(z > 0, slope, np.minimum(slope, 0))).max(initial=0.0) < tolerance:
                break
    return z
