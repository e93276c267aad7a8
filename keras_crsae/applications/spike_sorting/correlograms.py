"""Auto- and cross-correlograms of spike trains, and which pairs of units stand out (NumPy)."""

from __future__ import annotations

import numpy as np

#: Pairs of spikes that are counted together: what fits in memory.
_MOST_PAIRS = 1 << 22


def lag_counts(first: np.ndarray, second: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How many pairs of spikes have a lag second - first in each bin, (bins,).

    Args:
        first, second: sorted sample positions; the same array: a spike is not paired with itself.
        edges: (bins + 1,), ascending, samples; a bin holds its left edge.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting.correlograms import lag_counts
        >>> lag_counts(np.array([100, 200]), np.array([90, 205]), np.array([-20, 0, 20]))
        array([1, 1])
    """
    out = np.zeros(len(edges) - 1, np.int64)
    if not len(first) or not len(second):
        return out
    low = np.searchsorted(second, first + edges[0], side="left")
    count = np.searchsorted(second, first + edges[-1], side="left") - low
    groups = np.cumsum(count) // _MOST_PAIRS
    for group in range(int(groups[-1]) + 1):
        rows = np.flatnonzero((groups == group) & (count > 0))
        if not len(rows):
            continue
        before = np.repeat(np.cumsum(count[rows]) - count[rows], count[rows])
        index = np.repeat(low[rows], count[rows]) + np.arange(len(before)) - before
        lag = second[index] - np.repeat(first[rows], count[rows])
        out += np.bincount(np.searchsorted(edges, lag, side="right") - 1, minlength=len(out))
    if first is second:
        at = np.searchsorted(edges, 0, side="right") - 1
        if 0 <= at < len(out):
            out[at] -= len(first)
    return out


def correlogram(first: np.ndarray, second: np.ndarray, sampling_frequency: float, half_ms: float = 50.0,
                bin_ms: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """(lags in ms, the middles of the bins; pairs of spikes in each bin) of two sorted trains; see ``lag_counts``.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting.correlograms import correlogram
        >>> lags, pairs = correlogram(np.array([0, 300]), np.array([45, 345]), 30000, half_ms=3)
        >>> lags.tolist(), pairs.tolist()
        ([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], [0, 0, 0, 0, 2, 0])
    """
    bins = max(1, round(half_ms / bin_ms))
    lags = bin_ms * (np.arange(-bins, bins) + 0.5)
    edges = np.arange(-bins, bins + 1) * (bin_ms / 1000 * sampling_frequency)
    return lags, lag_counts(first, second, edges)


def excess_coincidences(trains: list[np.ndarray], samples: int, sampling_frequency: float, within_ms: float = 1.0
                        ) -> np.ndarray:
    """(observed - expected) / sqrt(expected) pairs within so many ms, (units, units); the diagonal is 0.

    Expected is what independent trains of these rates give. Above about 4 two units fire together, or are one; far
    below 0 spikes of one hide those of the other, or one neuron was split.

    Args:
        trains: sorted sample positions of each unit.
        samples: length of the recording.
        sampling_frequency: Hz.
        within_ms: largest lag.
    """
    reach = max(1, round(within_ms / 1000 * sampling_frequency))
    out = np.zeros((len(trains), len(trains)))
    for i, first in enumerate(trains):
        for j in range(i):
            expected = len(first) * len(trains[j]) * (2 * reach + 1) / max(samples, 1)
            if expected > 0:
                low = np.searchsorted(trains[j], first - reach, side="left")
                observed = int(np.sum(np.searchsorted(trains[j], first + reach, side="right") - low))
                out[i, j] = out[j, i] = (observed - expected) / np.sqrt(expected)
    return out
