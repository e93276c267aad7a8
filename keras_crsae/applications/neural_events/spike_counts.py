"""Spike counts in bins, from arrays of 0/1 or counts, or from lists of spike times (NumPy)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from crsae_onnx.core.signals import refuse_other_containers
from crsae_onnx.core.validation import as_positive

#: Milliseconds of the units that spike times may have.
TIME_UNITS = {"ms": 1.0, "s": 1000.0}
#: Likelihoods of the counts -> whether a sample holds one spike at most; None: as the data show.
LIKELIHOODS = {"auto": None, "binomial": True, "poisson": False}
#: Spike times that fill less of the window than this are likely in the wrong unit.
_LEAST_SPAN = 0.01


@dataclass(frozen=True)
class SpikeCounts:
    """Spikes of trials, counted in bins.

    Attributes:
        counts: (trials, bins, neurons) float32 whole numbers.
        bin_ms: width of a bin.
        start_ms: time of the first bin's left edge.
        trials_per_bin: the largest count that a bin can hold (a binomial count, one Bernoulli draw a sample); None:
            no bound (Poisson).
    """

    counts: np.ndarray
    bin_ms: float
    start_ms: float = 0.0
    trials_per_bin: int | None = None

    @property
    def times_ms(self) -> np.ndarray:
        """(bins,) left edges of the bins."""
        return self.start_ms + self.bin_ms * np.arange(self.counts.shape[1])

    @property
    def duration_ms(self) -> float:
        """Length of a trial."""
        return self.bin_ms * self.counts.shape[1]

    @property
    def rate_hz(self) -> np.ndarray:
        """(neurons,) mean rate over all trials."""
        return 1000 * self.counts.mean(axis=(0, 1), dtype=np.float64) / self.bin_ms


def bin_spikes(spikes: Any, bin_ms: float = 5.0, *, sample_ms: float = 1.0, window_ms: Sequence[float] | None = None,
               time_unit: str = "ms", likelihood: str = "auto") -> SpikeCounts:
    """Count the spikes of trials in bins.

    Args:
        spikes: array (trials, time) or (trials, time, neurons) of 0/1 or counts a sample; or a list over trials of
            spike times, or over trials of lists over neurons of spike times.
        bin_ms: width of a bin; for arrays a multiple of ``sample_ms``. Samples that fill no whole bin at the end of a
            trial are left out.
        sample_ms: length of a sample of an array.
        window_ms: (start, stop) of the trials in ms; needed for spike times, of which those outside are left out. For
            arrays its start, where given, is the time of the first sample.
        time_unit: "ms" or "s", the unit of spike times.
        likelihood: "binomial" (at most one spike a sample), "poisson", or "auto": binomial for spike times and for
            arrays of 0/1.

    Returns:
        SpikeCounts.

    Raises:
        ValueError: negative, fractional or missing counts, ragged trials, times that are not finite or outside the
            window, widths that do not fit.

    Example:
        >>> from keras_crsae.applications.neural_events import bin_spikes
        >>> counts = bin_spikes([[3.0, 4.0, 21.5], [], [12.0]], bin_ms=10, window_ms=(0, 30))
        >>> counts.counts[..., 0].astype(int).tolist(), counts.trials_per_bin
        ([[2, 0, 1], [0, 0, 0], [0, 1, 0]], 10)
    """
    bin_ms, sample_ms = as_positive(bin_ms, "bin_ms"), as_positive(sample_ms, "sample_ms")
    if likelihood not in LIKELIHOODS:
        raise ValueError(f"`likelihood` must be one of {tuple(LIKELIHOODS)}. Received: {likelihood!r}")
    single = LIKELIHOODS[likelihood]
    if time_unit not in TIME_UNITS:
        raise ValueError(f"`time_unit` must be 'ms' or 's'. Received: {time_unit!r}")
    window = None if window_ms is None else _window(window_ms)
    if _is_array(spikes):
        return _of_array(spikes, bin_ms, sample_ms, 0.0 if window is None else window[0], single)
    if window is None:
        raise ValueError("Spike times need `window_ms=(start, stop)`, the extent of a trial in ms. Received: None. "
                         "Where `spikes` should be an array (trials, time), give all trials the same length.")
    counts = _of_times(spikes, bin_ms, window, TIME_UNITS[time_unit])
    size = None if single is False else max(1, round(bin_ms / sample_ms))
    if size is not None and counts.max(initial=0) > size:
        if single:
            raise ValueError(f"A bin of {bin_ms:g} ms holds {int(counts.max())} spikes, more than one a sample of "
                             f"{sample_ms:g} ms. Use likelihood='poisson', or give a smaller `sample_ms`.")
        size = None
    return SpikeCounts(counts, bin_ms, window[0], size)


def _window(window_ms: Sequence[float]) -> tuple[float, float]:
    values = np.asarray(window_ms, float).ravel()
    if values.shape != (2,) or not np.isfinite(values).all() or values[1] <= values[0]:
        raise ValueError(f"`window_ms` must be (start, stop) in ms with start < stop. Received: {window_ms!r}")
    return float(values[0]), float(values[1])


def _is_array(spikes: Any) -> bool:
    """Whether ``spikes`` is a full array of numbers, not spike times."""
    if isinstance(spikes, list | tuple):
        return False
    refuse_other_containers(spikes, "spikes")
    return getattr(np.asarray(spikes), "dtype", None) != np.dtype(object)


def _of_array(spikes: Any, bin_ms: float, sample_ms: float, start_ms: float, single: bool | None) -> SpikeCounts:
    array = np.asarray(spikes)
    if array.ndim not in (2, 3) or not array.size:
        raise ValueError("`spikes` must be an array (trials, time) or (trials, time, neurons) that is not empty, or a "
                         f"list of spike times a trial. Received: shape {array.shape}")
    _check_counts(array)
    size = round(bin_ms / sample_ms)
    if size < 1 or abs(size - bin_ms / sample_ms) > 1e-6 * size:
        raise ValueError(f"`bin_ms` must be a multiple of `sample_ms`. Received: bin_ms={bin_ms:g}, "
                         f"sample_ms={sample_ms:g}")
    if size > array.shape[1]:
        raise ValueError(f"A bin of {bin_ms:g} ms ({size} samples) is longer than a trial of {array.shape[1]} samples "
                         f"of {sample_ms:g} ms. If axis 1 is not time, transpose the array to (trials, time, neurons); "
                         "if its samples are longer, give `sample_ms`.")
    array = array[:, :, None] if array.ndim == 2 else array
    most = int(array.max())
    if single and most > 1:
        raise ValueError(f"A sample holds {most} spikes, so that counts are not binomial with one draw a sample. Use "
                         "likelihood='poisson' or 'auto'.")
    bins = array.shape[1] // size
    counts = array[:, :bins * size].reshape(len(array), bins, size, array.shape[2]).sum(axis=2, dtype=np.float64)
    single = most <= 1 if single is None else single
    return SpikeCounts(counts.astype(np.float32), bin_ms, start_ms, size if single else None)


def _check_counts(array: np.ndarray) -> None:
    if array.dtype.kind not in "fiub":
        raise ValueError(f"`spikes` must hold whole numbers. Received: dtype {array.dtype}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError("`spikes` holds NaN or infinite values. Counts are whole: leave incomplete trials out.")
    if array.min() < 0:
        raise ValueError(f"`spikes` holds negative values, the smallest {array.min():g}. Counts are 0 or more; give "
                         "spike times as a list over trials.")
    fractions = array[array != np.round(array)] if array.dtype.kind == "f" else array[:0].ravel()
    if len(fractions):
        raise ValueError("`spikes` holds fractions. Give whole counts a sample, not rates or smoothed spikes; give "
                         f"spike times as a list over trials. Received for example {fractions[0]}")


def _of_times(spikes: Any, bin_ms: float, window: tuple[float, float], unit: float) -> np.ndarray:
    """(trials, bins, neurons) counts of nested lists of spike times."""
    trials = list(spikes)
    if not trials:
        raise ValueError("`spikes` is an empty list. Expected spike times of each trial.")
    nested = [_nested(trial, index) for index, trial in enumerate(trials)]
    decided = [one for one in nested if one is not None]
    if decided and any(one != decided[0] for one in decided):
        raise ValueError("`spikes` mixes trials of spike times with trials of lists over neurons. Give every trial as "
                         "a list of times, or every trial as a list over neurons of lists of times.")
    several = bool(decided and decided[0])
    neurons = len(trials[0]) if several else 1
    bins = int((window[1] - window[0]) / bin_ms + 1e-9)
    if not bins:
        raise ValueError(f"A bin of {bin_ms:g} ms is longer than the window {window} ms.")
    counts, found = np.zeros((len(trials), bins, neurons), np.float32), []
    for index, trial in enumerate(trials):
        if several and len(trial) != neurons:
            raise ValueError(f"Trial {index} has {len(trial)} neurons and trial 0 has {neurons}. Give an empty list to "
                             "a neuron without spikes.")
        for neuron, times in enumerate(trial if several else [trial]):
            times = _times(times, index) * unit
            found.append(times)
            at = np.floor((times - window[0]) / bin_ms + 1e-9).astype(np.int64)
            np.add.at(counts[index, :, neuron], at[(at >= 0) & (at < bins)], 1)
    _check_window(np.concatenate(found), counts, window)
    return counts


def _nested(trial: Any, index: int) -> bool | None:
    """Whether a trial is a list over neurons; None: an empty one, which may be either."""
    if not hasattr(trial, "__iter__") or isinstance(trial, str) or getattr(trial, "ndim", 1) == 0:
        raise ValueError(f"Trial {index} is the number {trial!r}. Expected a list over trials of lists of spike times; "
                         "put a single trial into a list.")
    first = next(iter(trial), None)
    return None if first is None else hasattr(first, "__len__")


def _times(times: Any, trial: int) -> np.ndarray:
    try:
        values = np.asarray(times, float).ravel()
    except (TypeError, ValueError) as error:
        raise ValueError(f"Trial {trial} holds spike times that are no numbers: {times!r}") from error
    if not np.isfinite(values).all():
        raise ValueError(f"Trial {trial} holds spike times that are NaN or infinite. Remove them.")
    return values


def _check_window(times: np.ndarray, counts: np.ndarray, window: tuple[float, float]) -> None:
    """Refuse spike times that fit the window badly: they are likely in another unit."""
    if not len(times):
        raise ValueError("`spikes` holds no spike.")
    span = f"Spike times go from {times.min():.6g} to {times.max():.6g} ms, the window from {window[0]:g} to " \
           f"{window[1]:g} ms."
    if not counts.any():
        raise ValueError(f"No spike lies in the window. {span} Give time_unit='s' for seconds, or another `window_ms`.")
    if len(times) > 10 and np.ptp(times) < _LEAST_SPAN * (window[1] - window[0]):
        raise ValueError(f"Spike times fill less than {_LEAST_SPAN:.0%} of the window. {span} Give time_unit='s' if "
                         "they are in seconds, or a shorter `window_ms`.")
