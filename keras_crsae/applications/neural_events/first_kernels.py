"""First kernels: averaged windows around the peaks of the smoothed raster, or a single spike (NumPy, SciPy)."""

from __future__ import annotations

import numpy as np

from keras_crsae.applications.neural_events.baselines import smooth

#: Share of a kernel that lies before the peak of the window that it starts from.
_BEFORE = 0.2
#: Peaks above this quantile of all are averaged.
_STRONG = 0.6
#: Rounds of the clustering, and starts of which the best is kept.
_ROUNDS, _STARTS = 20, 5


def first_kernels(signals: np.ndarray, kernel_bins: int, kernels: int, smoothing_bins: float, seed: int = 0
                  ) -> np.ndarray:
    """(kernel bins, channels, kernels) from windows of counts (signals, bins, channels), of unit norm.

    Windows around the strong peaks of the smoothed counts are clustered by correlation (spherical k-means); each
    cluster's mean is a kernel.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.neural_events.first_kernels import first_kernels
        >>> counts = np.zeros((4, 60, 1)); counts[:, 20:24] = 3
        >>> first_kernels(counts, kernel_bins=12, kernels=1, smoothing_bins=2.0).shape
        (12, 1, 1)
    """
    rng = np.random.default_rng(seed)
    smoothed = smooth(signals, smoothing_bins, 1.0)
    windows = _windows(smoothed, kernel_bins)
    if len(windows) < kernels:  # hardly any peak: humps of different places
        centres = (np.arange(kernels) + 0.5) / kernels * kernel_bins
        humps = np.exp(-0.5 * ((np.arange(kernel_bins)[:, None] - centres) / (0.15 * kernel_bins)) ** 2)
        return _unit(np.repeat(humps[:, None, :], signals.shape[2], axis=1))
    flat = windows.reshape(len(windows), -1)
    best, least = np.zeros((kernels, flat.shape[1])), np.inf
    for _ in range(_STARTS if kernels > 1 else 1):
        centres, error = _cluster(flat, kernels, rng)
        if error < least:
            best, least = centres, error
    return _unit(np.moveaxis(best.reshape(kernels, kernel_bins, -1), 0, -1))


def onset_kernels(signals: np.ndarray, support: np.ndarray, kernel_bins: int, smoothing_bins: float) -> np.ndarray:
    """(kernel bins, channels, kernels): mean smoothed counts after known onsets, less their mean, of unit norm.

    Args:
        signals: (signals, bins, channels) counts.
        support: (signals, positions, kernels) 0/1.
        kernel_bins: length.
        smoothing_bins: standard deviation of the Gaussian.
    """
    rest = smooth(signals, smoothing_bins, 1.0) - signals.mean(axis=(0, 1))
    made = np.empty((kernel_bins, signals.shape[2], support.shape[2]))
    for k in range(support.shape[2]):
        signal, at = np.nonzero(support[:, :, k])
        made[:, :, k] = rest[signal[:, None], at[:, None] + np.arange(kernel_bins)].mean(axis=0)
    return _unit(made)


def spike_kernels(kernel_bins: int, channels: int, kernels: int, seed: int = 0) -> np.ndarray:
    """(kernel bins, channels, kernels): a spike in the middle, and little noise, so that kernels differ."""
    rng = np.random.default_rng(seed)
    made = 0.05 * rng.standard_normal((kernel_bins, channels, kernels)) / np.sqrt(kernel_bins * channels)
    middle = kernel_bins // 2
    for k in range(kernels):
        made[middle, :, k] += 1
    return _unit(made)


def _windows(smoothed: np.ndarray, size: int) -> np.ndarray:
    """(windows, size, channels) around strong peaks, each less its least value."""
    total = smoothed.sum(axis=2)
    at = (total[:, 1:-1] > total[:, :-2]) & (total[:, 1:-1] >= total[:, 2:])
    signal, peak = np.nonzero(at)
    start = peak + 1 - round(_BEFORE * size)
    inside = (start >= 0) & (start + size <= total.shape[1])
    signal, start, height = signal[inside], start[inside], total[signal, peak + 1][inside]
    strong = height >= (np.quantile(height, _STRONG) if len(height) else 0)
    windows = smoothed[signal[strong, None], start[strong, None] + np.arange(size)]
    return windows - smoothed.mean(axis=(0, 1))


def _cluster(flat: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """(centres, error) of spherical k-means, seeded by the windows that the earlier centres explain least."""
    unit = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    chosen = [int(rng.integers(len(flat)))]
    for _ in range(count - 1):
        left = np.maximum(1 - np.max(unit @ unit[chosen].T, axis=1), 0) ** 2
        share = left / left.sum() if left.sum() > 0 else None
        chosen.append(int(rng.choice(len(flat), p=share)))
    centres = unit[chosen]
    for _ in range(_ROUNDS):
        label = np.argmax(unit @ centres.T, axis=1)
        centres = np.stack([flat[label == k].mean(axis=0) if (label == k).any() else centres[k] for k in range(count)])
        centres = centres / np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
    return centres, float(np.sum(1 - np.max(unit @ centres.T, axis=1)))


def _unit(kernels: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(kernels, axis=(0, 1))
    return (kernels / np.where(norms > 0, norms, 1)).astype(np.float32)
