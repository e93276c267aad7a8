"""Known onsets: where the code of each trial may be other than zero (NumPy)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_crsae.applications.neural_events.spike_counts import SpikeCounts


def onset_support(onsets: Any, counts: SpikeCounts, kernels: int, kernel_bins: int, jitter_ms: float = 0.0
                  ) -> np.ndarray:
    """0/1 support of the code, (trials, positions, kernels), from the times at which kernels may start.

    Args:
        onsets: times in ms: (events,), the same for all trials; or a list over trials of times; or, with several
            kernels, a list over kernels of either. NaN pads shorter trials.
        counts: the spikes, for trials, bins and start.
        kernels: number of kernels.
        kernel_bins: length of a kernel.
        jitter_ms: a kernel may start this much earlier or later.

    Raises:
        ValueError: another number of trials or kernels, or no onset within the trials.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.neural_events import bin_spikes
        >>> from keras_crsae.applications.neural_events.onsets import onset_support
        >>> counts = bin_spikes(np.zeros((2, 50)), bin_ms=5)
        >>> onset_support([12.0], counts, kernels=1, kernel_bins=4)[..., 0].tolist()[0]
        [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """
    trials, bins, _ = counts.counts.shape
    support = np.zeros((trials, bins - kernel_bins + 1, kernels), np.float32)
    of_kernels = [onsets] if kernels == 1 else list(onsets)
    if len(of_kernels) != kernels:
        raise ValueError(f"`onsets` must be a list over {kernels} kernels of onset times. Received: a list of "
                         f"{len(of_kernels)}")
    reach = round(jitter_ms / counts.bin_ms)
    for kernel, given in enumerate(of_kernels):
        for trial, times in enumerate(_of_trials(given, trials)):
            at = np.floor((times - counts.start_ms) / counts.bin_ms + 1e-9).astype(np.int64)
            at = (at[:, None] + np.arange(-reach, reach + 1)).ravel()
            support[trial, at[(at >= 0) & (at < support.shape[1])], kernel] = 1
    if not support.any():
        raise ValueError("No onset lies where a kernel fits into a trial. Trials go from "
                         f"{counts.start_ms:g} to {counts.start_ms + counts.duration_ms:g} ms, kernels are "
                         f"{kernel_bins * counts.bin_ms:g} ms long; `onsets` are in ms on the same clock.")
    return support


def _of_trials(given: Any, trials: int) -> Sequence[np.ndarray]:
    """Onset times of each trial, without NaN."""
    values = list(given) if hasattr(given, "__len__") else [given]
    if not any(hasattr(one, "__len__") for one in values):
        return [_finite(values)] * trials
    if len(values) != trials:
        raise ValueError(f"`onsets` must give the onset times of each of the {trials} trials, or one list for all. "
                         f"Received: {len(values)} lists")
    return [_finite(one) for one in values]


def _finite(times: Any) -> np.ndarray:
    try:
        values = np.asarray(times, float).ravel()
    except (TypeError, ValueError) as error:
        raise ValueError(f"`onsets` holds times that are no numbers: {times!r}") from error
    if np.isinf(values).any():
        raise ValueError("`onsets` holds infinite times.")
    return values[~np.isnan(values)]
