"""Compare events that were found with true ones (NumPy and SciPy)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_crsae.data.simulate_events import EVENT_FIELDS


@dataclass(frozen=True)
class EventScores:
    """Numbers of events, and what follows from them."""

    hits: int  #: true events with a partner among those that were found
    missed: int  #: true events without
    false: int  #: found events without a partner

    @property
    def precision(self) -> float:
        """Share of the found events that are true; 0 where nothing was found."""
        return self.hits / max(self.hits + self.false, 1)

    @property
    def recall(self) -> float:
        """Share of the true events that were found."""
        return self.hits / max(self.hits + self.missed, 1)

    @property
    def f1(self) -> float:
        """2 hits / (2 hits + missed + false), the harmonic mean of precision and recall."""
        return 2 * self.hits / max(2 * self.hits + self.missed + self.false, 1)


def score_events(true: np.ndarray, found: np.ndarray, tolerance_ms: float = 10.0, shift_ms: float | str = 0.0,
                 kernels: bool = True) -> EventScores:
    """Pair found events with true ones, one to one, in each trial, neuron and kernel, as many pairs as possible.

    Args:
        true, found: tables of events (fields ``trial``, ``neuron``, ``time_ms``, ``kernel``).
        tolerance_ms: pairs are at most this far apart.
        shift_ms: is added to the times of ``found``: a learned kernel may begin earlier or later than the true one.
            "best": the shift of up to twice the tolerance with the most hits.
        kernels: False compares times alone, whichever kernel an event has.

    Returns:
        EventScores.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.neural_events import EVENT_FIELDS, score_events
        >>> true = np.array([(0, 0, 100.0, 0, 1.0), (0, 0, 300.0, 0, 1.0)], EVENT_FIELDS)
        >>> found = np.array([(0, 0, 104.0, 0, 1.0), (0, 0, 200.0, 0, 1.0)], EVENT_FIELDS)
        >>> scores = score_events(true, found)
        >>> scores.hits, scores.missed, scores.false, scores.f1
        (1, 1, 1, 0.5)
    """
    if not tolerance_ms > 0:
        raise ValueError(f"`tolerance_ms` must be above 0. Received: {tolerance_ms!r}")
    if isinstance(shift_ms, str):
        if shift_ms != "best":
            raise ValueError(f"`shift_ms` must be a number or 'best'. Received: {shift_ms!r}")
        shifts = np.linspace(-2, 2, 33) * tolerance_ms
        order = np.argsort(np.abs(shifts), kind="stable")
        scores = [score_events(true, found, tolerance_ms, float(s), kernels) for s in shifts[order]]
        return max(scores, key=lambda one: one.hits)
    hits = 0
    keys = ["trial", "neuron", *(["kernel"] if kernels else [])]
    groups = {key: time for key, time in _groups(found, keys)}
    for key, times in _groups(true, keys):
        hits += _most_pairs(times, groups.get(key, np.zeros(0)) + shift_ms, tolerance_ms)
    return EventScores(hits, len(true) - hits, len(found) - hits)


def _groups(events: np.ndarray, keys: list[str]) -> list[tuple[tuple[int, ...], np.ndarray]]:
    """[(values of the keys, sorted times)]."""
    if not len(events):
        return []
    values = np.stack([events[key] for key in keys], axis=1)
    unique, inverse = np.unique(values, axis=0, return_inverse=True)
    return [(tuple(row.tolist()), np.sort(events["time_ms"][inverse.ravel() == i])) for i, row in enumerate(unique)]


def _most_pairs(true: np.ndarray, found: np.ndarray, tolerance: float) -> int:
    """Largest number of pairs of sorted times: each true one takes the earliest near enough that is left."""
    pairs, i, j = 0, 0, 0
    while i < len(true) and j < len(found):
        if abs(true[i] - found[j]) <= tolerance + 1e-9:
            pairs, i, j = pairs + 1, i + 1, j + 1
        elif found[j] < true[i]:
            j += 1
        else:
            i += 1
    return pairs


def as_events(trial: np.ndarray, neuron: np.ndarray, time_ms: np.ndarray, kernel: np.ndarray, amplitude: np.ndarray
              ) -> np.ndarray:
    """A table of events from its columns, in order of trial, neuron and time."""
    events = np.zeros(len(trial), EVENT_FIELDS)
    for name, values in zip(EVENT_FIELDS.names or (), (trial, neuron, time_ms, kernel, amplitude), strict=True):
        events[name] = values
    return events[np.lexsort((events["kernel"], events["time_ms"], events["neuron"], events["trial"]))]
