"""What a neuroscientist compares with: the trial-averaged rate, a smoothed raster, a matched filter (NumPy, SciPy)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from keras_crsae.applications.neural_events.scoring import EventScores, as_events, score_events
from keras_crsae.applications.neural_events.spike_counts import SpikeCounts

#: Standard deviations, in ms, of the Gaussians that a PSTH is smoothed with, of which the best is taken; the last is a
#: rate that is constant over the trial.
WIDTHS_MS = (5.0, 10.0, 20.0, 30.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 500.0, np.inf)
#: A PSTH never falls below this share of the mean rate: no bin is impossible.
_FLOOR = 0.02


def count_log_likelihood(counts: ArrayLike, mean: ArrayLike, trials_per_bin: int | None) -> np.ndarray:
    """log P(count) of each bin, constants included, given its mean count.

    Args:
        counts: whole numbers.
        mean: expected counts, broadcastable to ``counts``.
        trials_per_bin: number of Bernoulli draws in a bin (binomial); None: Poisson.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.neural_events import count_log_likelihood
        >>> count_log_likelihood(np.array([0, 1]), np.array(0.5), 1).round(4).tolist()
        [-0.6931, -0.6931]
    """
    from scipy.stats import binom, poisson

    mean = np.asarray(mean, np.float64)
    if trials_per_bin is None:
        return poisson.logpmf(counts, mean)
    return binom.logpmf(counts, trials_per_bin, np.minimum(mean / trials_per_bin, 1 - 1e-9))


def smooth(counts: np.ndarray, width_ms: float, bin_ms: float) -> np.ndarray:
    """``counts`` (trials, bins, neurons) under a Gaussian of standard deviation ``width_ms`` along time.

    Near the borders the mean runs over what is there; an infinite width gives the mean over the trial.
    """
    from scipy.ndimage import gaussian_filter1d

    counts = np.asarray(counts, np.float64)
    if np.isinf(width_ms):
        return np.broadcast_to(counts.mean(axis=1, keepdims=True), counts.shape)
    options: dict[str, Any] = {"sigma": width_ms / bin_ms, "axis": 1, "mode": "constant"}
    return gaussian_filter1d(counts, **options) / gaussian_filter1d(np.ones((1, counts.shape[1], 1)), **options)


def psth(counts: SpikeCounts, conditions: ArrayLike | None = None, width_ms: float = 0.0
         ) -> dict[Any, np.ndarray]:
    """Mean count of each bin over the trials of a condition, smoothed: {condition: (bins, neurons)}.

    Args:
        counts: spikes of trials.
        conditions: label of each trial; None: all trials are alike, and the only key is None.
        width_ms: standard deviation of the Gaussian; 0: none, infinite: constant over the trial.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.neural_events import bin_spikes, psth
        >>> counts = bin_spikes(np.eye(4), bin_ms=2)
        >>> psth(counts, ["left", "left", "right", "right"])["left"].ravel().tolist()
        [1.0, 0.01]
    """
    labels = condition_labels(conditions, len(counts.counts))
    floor = np.maximum(_FLOOR * counts.counts.mean(axis=(0, 1), dtype=np.float64), 1e-6)
    rates = {}
    for label in dict.fromkeys(labels):
        mean = counts.counts[[one == label for one in labels]].mean(axis=0, keepdims=True, dtype=np.float64)
        rates[label] = np.maximum(smooth(mean, width_ms, counts.bin_ms) if width_ms else mean, floor)[0]
    return rates


def condition_labels(conditions: ArrayLike | None, trials: int) -> list[Any]:
    """One label a trial, as plain values.

    Raises:
        ValueError: another number of labels than of trials.
    """
    if conditions is None:
        return [None] * trials
    labels = np.asarray(conditions).ravel().tolist()
    if len(labels) != trials:
        raise ValueError(f"`conditions` must give one label a trial. Received: {len(labels)} labels for {trials} "
                         "trials.")
    return labels


def smoothed_raster_peaks(counts: SpikeCounts, width_ms: float) -> np.ndarray:
    """Local maxima of the smoothed raster as a table of events, their amplitudes the rate there in Hz.

    Args:
        counts: spikes of trials.
        width_ms: standard deviation of the Gaussian.
    """
    rate = smooth(counts.counts, width_ms, counts.bin_ms) * 1000 / counts.bin_ms
    return _peaks(rate[..., None], counts)


def matched_filter_peaks(counts: SpikeCounts, kernels: np.ndarray) -> np.ndarray:
    """Local maxima of the correlation of the counts, less their mean, with known kernels, as a table of events.

    Args:
        counts: spikes of trials.
        kernels: (kernel bins, kernels).
    """
    from scipy.signal import fftconvolve

    rest = counts.counts - counts.counts.mean(axis=(0, 1), dtype=np.float64)
    unit = np.asarray(kernels, float) / np.linalg.norm(kernels, axis=0)
    match = np.stack([fftconvolve(rest, unit[::-1, i][None, :, None], mode="valid", axes=1)
                      for i in range(unit.shape[1])], axis=-1)
    return _peaks(match, counts)


def _peaks(values: np.ndarray, counts: SpikeCounts) -> np.ndarray:
    """Local maxima of (trials, positions, neurons, kernels) as events."""
    padded = np.pad(values, ((0, 0), (1, 1), (0, 0), (0, 0)), constant_values=-np.inf)
    at = (values > padded[:, :-2]) & (values >= padded[:, 2:])
    trial, position, neuron, kernel = np.nonzero(at)
    return as_events(trial, neuron, counts.start_ms + counts.bin_ms * position, kernel, values[at])


def best_threshold(true: np.ndarray, candidates: np.ndarray, levels: int = 25, **options: Any
                   ) -> tuple[float, EventScores]:
    """The least amplitude for which the candidates have the largest F1, and the scores there.

    Args:
        true, candidates: tables of events.
        levels: number of thresholds that are tried, at quantiles of the candidates' amplitudes.
        options: of ``score_events``.
    """
    chosen = (np.inf, score_events(true, candidates[:0], **{**options, "shift_ms": 0.0}))
    for level in np.unique(np.quantile(candidates["amplitude"], np.linspace(0, 1, levels))) if len(candidates) else []:
        scores = score_events(true, candidates[candidates["amplitude"] >= level], **options)
        if scores.f1 > chosen[1].f1:
            chosen = (float(level), scores)
    return chosen
