"""The two spikes that together explain a stretch of signal best, by trying all pairs (NumPy)."""

import numpy as np


def best_pair(pull, curve, constant, overlap, refractory):
    """Best two spikes of a stretch, each of any unit and at any place of it.

    With heights a and b they add ``p a + q b - (j a^2 + k b^2) / 2 - g a b - constants`` to the log posterior, where p
    and q are pulls, j and k curves, and g is the filters' overlap at the distance. At the best heights that is
    ``(k p^2 - 2 g p q + j q^2) / (2 (j k - g^2)) - constants``.

    Args:
        pull: (units, places), linear coefficient of a spike's height; 0 where it may not be.
        curve: (units,), quadratic coefficients, larger than 1.
        constant: (units,), what each spike costs.
        overlap: (units, units, 2 places - 1): [u, v, places - 1 + lag] of a unit-norm filter u with v that comes lag
            places later.
        refractory: places; two spikes of one unit keep at least this distance.

    Returns:
        (gain, [(unit, place, height), (unit, place, height)]); (-inf, []) where no pair has two positive heights.

    Example:
        >>> overlap = np.zeros((1, 1, 5)); overlap[0, 0, 2] = 1
        >>> gain, two = best_pair(np.array([[4.0, 0.0, 6.0]]), np.array([2.0]), np.array([1.0]), overlap, 1)
        >>> gain, two
        (11.0, [(0, 0, 2.0), (0, 2, 3.0)])
    """
    units, places = pull.shape
    # Row t of the windows, reversed, holds the lags from -t on.
    lags = np.lib.stride_tricks.sliding_window_view(overlap, places, axis=2)[:, :, ::-1]
    count = units * places
    # All pairs in single precision; the best one's heights and gain then in double.
    between = lags.transpose(0, 2, 1, 3).reshape(count, count).astype(np.float32)
    place, unit = np.tile(np.arange(places), units), np.repeat(np.arange(units), places)
    p, j, cost = (v.astype(np.float32) for v in (pull.reshape(-1), curve[unit], constant[unit]))
    left = j * p[:, None] - between * p  # the first spike's height, times the determinant
    right = left.T  # overlap is the same seen from either spike
    gain = (left * p[:, None] + right * p) / (2 * (j[:, None] * j - between * between)) - cost[:, None] - cost
    barred = (left <= 0) | (right <= 0) | (p <= 0) | (p <= 0)[:, None]
    barred |= (unit == unit[:, None]) & (np.abs(place - place[:, None]) < refractory)
    gain[barred] = -np.inf
    pair = np.array(divmod(int(gain.argmax()), count))
    if gain[tuple(pair)] == -np.inf:
        return -np.inf, []
    system = np.diag(curve[unit[pair]].astype(np.float64))
    system[0, 1] = system[1, 0] = between[tuple(pair)]
    linear = pull.reshape(-1)[pair].astype(np.float64)
    heights = np.linalg.solve(system, linear)
    return (float(linear @ heights / 2 - constant[unit[pair]].sum()),
            [(int(unit[i]), int(place[i]), float(h)) for i, h in zip(pair, heights, strict=True)])
