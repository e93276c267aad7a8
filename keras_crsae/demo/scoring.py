"""Events read off sparse codes, and their score against the truth (NumPy)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def detect_events(code: np.ndarray, min_amplitude: float, min_gap: int) -> list[np.ndarray]:
    """Times of each filter's events: runs of non-zero code values, one event a run.

    A filter between two sample positions is coded by two neighbours, so values closer than ``min_gap`` belong
    together; their sum is the event's amplitude, their weighted mean position its time.

    Args:
        code: (positions, filters), non-negative or of both signs.
        min_amplitude: smallest amplitude of an event, in the code's unit (that of the signal, for unit-norm filters).
        min_gap: samples; values at this distance or farther are separate events.

    Returns:
        A list of int64 arrays, one a filter: positions in increasing order.

    Raises:
        ValueError: a code of other than two axes.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.demo.scoring import detect_events
        >>> code = np.array([[0.0], [2.0], [2.0], [0.0], [0.1]])
        >>> detect_events(code, min_amplitude=1.0, min_gap=2)[0].tolist()
        [2]
    """
    code = np.asarray(code)
    if code.ndim != 2:
        raise ValueError(f"`code` must have shape (positions, filters), one batch entry. Received: shape {code.shape}.")
    return [_events(column, min_amplitude, min_gap) for column in code.T]


def _events(column: np.ndarray, min_amplitude: float, min_gap: int) -> np.ndarray:
    position = np.flatnonzero(column)
    if not len(position):
        return np.zeros(0, np.int64)
    run = np.concatenate([[0], np.cumsum(np.diff(position) >= min_gap)])
    weight = np.abs(column[position]).astype(np.float64)
    amplitude = np.bincount(run, weight)
    time = np.rint(np.bincount(run, weight * position) / amplitude).astype(np.int64)
    return time[amplitude >= min_amplitude]


def match_events(true: Sequence[int] | np.ndarray, found: Sequence[int] | np.ndarray, tolerance: float
                 ) -> tuple[int, int, int]:
    """(hits, misses, false alarms) of sorted event times; each true event takes at most one found one.

    Args:
        true, found: increasing times in samples.
        tolerance: largest distance of a hit, in samples.

    Example:
        >>> from keras_crsae.demo.scoring import match_events
        >>> match_events([10, 50], [12, 80], tolerance=5)
        (1, 1, 1)
    """
    hits = i = j = 0
    while i < len(true) and j < len(found):
        if abs(found[j] - true[i]) <= tolerance:
            hits, i, j = hits + 1, i + 1, j + 1
        elif found[j] < true[i]:
            j += 1
        else:
            i += 1
    return hits, len(true) - hits, len(found) - hits
