"""Events read off sparse codes, and their score against the truth (NumPy)."""

import numpy as np


def detect_events(code, least, gap):
    """Times of each filter's events: runs of non-zero code values, one event a run.

    A filter between two sample positions is coded by two neighbours, so values closer than ``gap`` belong
    together; their sum is the event's amplitude, their weighted mean position its time.

    Args:
        code: (positions, filters), non-negative or of both signs.
        least: smallest amplitude of an event, in the code's unit (that of the signal, for unit-norm filters).
        gap: samples; values at this distance or farther are separate events.

    Returns:
        A list of int64 arrays, one a filter: positions in increasing order.

    Raises:
        ValueError: a code of other than two axes.

    Example:
        >>> detect_events(np.array([[0.0], [2.0], [2.0], [0.0], [0.1]]), least=1.0, gap=2)[0].tolist()
        [2]
    """
    code = np.asarray(code)
    if code.ndim != 2:
        raise ValueError(f"`code` must have shape (positions, filters), one batch entry. Received: shape {code.shape}.")
    out = []
    for column in code.T:
        at = np.flatnonzero(column)
        if not len(at):
            out.append(np.zeros(0, np.int64))
            continue
        run = np.concatenate([[0], np.cumsum(np.diff(at) >= gap)])
        weight = np.abs(column[at]).astype(np.float64)
        amplitude = np.bincount(run, weight)
        time = np.rint(np.bincount(run, weight * at) / amplitude).astype(np.int64)
        out.append(time[amplitude >= least])
    return out


def match_events(true, found, tolerance):
    """(hits, misses, false alarms) of sorted event times; each true event takes at most one found one.

    Args:
        true, found: increasing times in samples.
        tolerance: largest distance of a hit, in samples.

    Example:
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
