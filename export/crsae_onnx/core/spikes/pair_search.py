"""The two spikes that together explain a stretch of signal best, by trying all pairs (NumPy)."""

from __future__ import annotations

import numpy as np

from crsae_onnx.core.typing import Array


def best_pair(linear: Array, quadratic: Array, constant: Array, overlap: Array, refractory: int
              ) -> tuple[float, list[tuple[int, int, float]]]:
    """Best two spikes of a stretch, each of any unit and at any position of it.

    With amplitudes a and b they add ``p a + q b - (j a^2 + k b^2) / 2 - g a b - constants`` to the log posterior, where
    p and q are the linear coefficients, j and k the quadratic ones, and g is the filters' overlap at the lag. At the
    best amplitudes that is ``(k p^2 - 2 g p q + j q^2) / (2 (j k - g^2)) - constants``.

    Args:
        linear: (units, positions), linear coefficient of a spike's amplitude; 0 where no spike is allowed.
        quadratic: (units,), quadratic coefficients, larger than 1.
        constant: (units,), what each spike subtracts from the log posterior.
        overlap: (units, units, 2 positions - 1): [u, v, positions - 1 + lag] of a unit-norm filter u with v that comes
            lag positions later.
        refractory: positions; two spikes of one unit keep at least this distance.

    Returns:
        (gain, [(unit, position, amplitude), (unit, position, amplitude)]); (-inf, []) where no pair has two positive
        amplitudes.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.spikes.pair_search import best_pair
        >>> overlap = np.zeros((1, 1, 5)); overlap[0, 0, 2] = 1
        >>> best_pair(np.array([[4.0, 0.0, 6.0]]), np.array([2.0]), np.array([1.0]), overlap, refractory=1)
        (11.0, [(0, 0, 2.0), (0, 2, 3.0)])
    """
    units, positions = (int(n) for n in linear.shape)
    # Row t of the windows, reversed, holds the lags from -t on.
    lags = np.lib.stride_tricks.sliding_window_view(overlap, positions, axis=2)[:, :, ::-1]
    count = units * positions
    # All pairs in single precision; the best one's amplitudes and gain then in double.
    between = lags.transpose(0, 2, 1, 3).reshape(count, count).astype(np.float32)
    position: Array = np.tile(np.arange(positions, dtype=np.int64), units)
    unit: Array = np.repeat(np.arange(units, dtype=np.int64), positions)
    p, j, cost = (v.astype(np.float32) for v in (linear.reshape(-1), quadratic[unit], constant[unit]))
    left = j * p[:, None] - between * p  # the first spike's amplitude, times the determinant
    right = left.T  # overlap is the same seen from either spike
    gain = (left * p[:, None] + right * p) / (2 * (j[:, None] * j - between * between)) - cost[:, None] - cost
    forbidden = (left <= 0) | (right <= 0) | (p <= 0) | (p <= 0)[:, None]
    forbidden |= (unit == unit[:, None]) & (np.abs(position - position[:, None]) < refractory)
    gain[forbidden] = -np.inf
    pair: Array = np.array(divmod(int(gain.argmax()), count), np.int64)
    if gain[tuple(pair)] == -np.inf:
        return -np.inf, []
    system = np.diag(quadratic[unit[pair]].astype(np.float64))
    system[0, 1] = system[1, 0] = between[tuple(pair)]
    coefficients = linear.reshape(-1)[pair].astype(np.float64)
    amplitudes = np.linalg.solve(system, coefficients)
    return (float(coefficients @ amplitudes / 2 - constant[unit[pair]].sum()),
            [(int(unit[i]), int(position[i]), float(a)) for i, a in zip(pair, amplitudes, strict=True)])
