"""Kernels that fit given events best, and the baseline with them: a smooth GLM (NumPy)."""

from __future__ import annotations

import numpy as np

from keras_crsae.applications.neural_events.layout import mean_of_eta

_NEWTON_STEPS, _LARGEST_STEP = 6, 0.5
#: Weight of the squared differences of neighbouring kernel bins, in units of the mean squared amplitude, times
#: ``smoothness`` (of the order of 1e-3 in training, where the likelihood is a mean over bins).
_SMOOTHNESS_SCALE = 3000.0


def refit_kernels(signals: np.ndarray, offset: np.ndarray, kernel: np.ndarray,
                  found: list[tuple[np.ndarray, np.ndarray, np.ndarray]], trials_per_bin: int | None,
                  smoothness: float, observed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(kernel, shift of the baseline) of largest penalised likelihood, positions and amplitudes of events fixed.

    Channels are independent of each other. A kernel without events stays as it is.

    Args:
        signals: (signals, bins, channels) counts.
        offset: the same shape, eta without events.
        kernel: (kernel bins, channels, kernels), the start.
        found: (positions, kernels, amplitudes) of each signal.
        trials_per_bin: Bernoulli draws in a bin; None: Poisson.
        smoothness: see ``EventParameters``.
        observed: None, or bool of the signals' shape: the bins that count.

    Returns:
        The kernel, not normalised, and (channels,) what to add to eta.
    """
    size, channels, kernels = kernel.shape
    used = [k for k in range(kernels) if any((which == k).any() for _, which, _ in found)]
    if not used:
        return kernel, np.zeros(channels)
    design = _design(found, used, size, signals.shape[1])
    difference = np.diff(np.eye(size), axis=0)
    columns = size * len(used)
    penalty = np.zeros((columns + 1, columns + 1))
    for i, k in enumerate(used):
        energy = np.mean(np.concatenate([a[which == k] for _, which, a in found]) ** 2)
        block = slice(i * size, (i + 1) * size)
        penalty[block, block] = _SMOOTHNESS_SCALE * smoothness * energy * difference.T @ difference
    out, shift = kernel.astype(np.float64).copy(), np.zeros(channels)
    for channel in range(channels):
        theta = np.concatenate([out[:, channel, used].T.ravel(), [0.0]])
        y, base = signals[:, :, channel].ravel(), offset[:, :, channel].ravel()
        seen = slice(None) if observed is None else observed[:, :, channel].ravel()
        y, base, columns_of = y[seen], base[seen], design[seen]
        for _ in range(_NEWTON_STEPS):
            mean = mean_of_eta(base + columns_of @ theta[:-1] + theta[-1], trials_per_bin)
            weight = mean if trials_per_bin is None else mean * (1 - mean / trials_per_bin)
            gradient = np.append(columns_of.T @ (y - mean), (y - mean).sum()) - penalty @ theta
            weighted = columns_of * weight[:, None]
            hessian = np.empty_like(penalty)
            hessian[:-1, :-1] = columns_of.T @ weighted
            hessian[-1, :-1] = hessian[:-1, -1] = weighted.sum(axis=0)
            hessian[-1, -1] = weight.sum()
            step = np.linalg.solve(hessian + penalty + 1e-6 * np.trace(hessian) / len(hessian) * np.eye(len(hessian)),
                                   gradient)
            step *= min(1.0, _LARGEST_STEP / max(float(np.abs(step).max()), 1e-12))
            theta = theta + step
            if np.abs(step).max() < 1e-4:
                break
        out[:, channel, used] = theta[:-1].reshape(len(used), size).T
        shift[channel] = theta[-1]
    return out, shift


def recentre(signals: np.ndarray, offset: np.ndarray, kernel: np.ndarray,
             found: list[tuple[np.ndarray, np.ndarray, np.ndarray]], trials_per_bin: int | None, smoothness: float
             ) -> np.ndarray:
    """Kernels moved inside their windows: those of twice the length are fitted, and the best stretch of each is kept.

    A kernel that was first seen around its largest peak has lost what comes before it. Arguments as ``refit_kernels``.

    Returns:
        (kernel bins, channels, kernels), not normalised.
    """
    size = len(kernel)
    before = size // 2
    wide = np.pad(kernel, ((before, size - before), (0, 0), (0, 0)))
    padding = ((0, 0), (before, size - before), (0, 0))
    # Positions keep their numbers: the wide kernel begins ``before`` bins earlier, and so do the signals.
    observed = np.pad(np.ones(signals.shape, bool), padding)
    fitted, _ = refit_kernels(np.pad(signals, padding), np.pad(offset, padding, mode="edge"), wide, found,
                              trials_per_bin, 3 * smoothness, observed)
    out = np.empty_like(fitted[:size])
    for k in range(kernel.shape[2]):
        energy = np.concatenate([[0.0], np.cumsum(np.square(fitted[:, :, k]).sum(axis=1))])
        held = energy[size:] - energy[:-size]
        # The least shift that keeps nearly all that can be kept.
        near = np.flatnonzero(held >= 0.98 * held.max())
        start = int(near[np.argmin(np.abs(near - before))])
        out[:, :, k] = fitted[start:start + size, :, k]
    return out


def _design(found: list[tuple[np.ndarray, np.ndarray, np.ndarray]], used: list[int], size: int, bins: int
            ) -> np.ndarray:
    """(signals x bins, used kernels x size): what multiplies each kernel bin in eta."""
    design = np.zeros((len(found), bins, len(used), size), np.float64)
    tap = np.arange(size)
    for signal, (position, which, amplitude) in enumerate(found):
        for at, k, a in zip(position, which, amplitude, strict=True):
            if k in used:
                design[signal, at + tap, used.index(int(k)), tap] += a
    return design.reshape(len(found) * bins, len(used) * size)
