"""Values resolved from data before training: noise level, first lambda, first filters (NumPy)."""

import math

import numpy as np
from crsae_onnx.core.signals import robust_std

_REDRAWS = 100

def robust_sigma(data, rank, mask=None):
    """Noise standard deviation that outliers (spikes, edges) hardly move.

    Signals: median |y - median| / .6745 a channel, averaged. Images: the same on the finest diagonal Haar
    coefficients (Donoho and Johnstone 1994).

    Args:
        data: (batch, *space, channels).
        rank: 1 or 2.
        mask: None or 0/1 of data's shape; missing samples have no say.

    Returns:
        float in the data's unit; 0 where more than half of the data is constant, or nothing is observed.

    Example:
        >>> noise = np.random.default_rng(0).normal(0, 2, (4, 5000, 1))
        >>> round(robust_sigma(noise, rank=1), 1)
        2.0
    """
    if mask is not None:
        data = np.where(mask > 0, data, np.nan)
    if rank == 2:
        rows, columns = (n // 2 * 2 for n in data.shape[1:3])
        d = data[:, :rows, :columns]
        d = (d[:, ::2, ::2] - d[:, 1::2, ::2] - d[:, ::2, 1::2] + d[:, 1::2, 1::2]) / 2.0
        d = d[np.isfinite(d)]
        return float(robust_std(d, center=0.0)) if d.size else 0.0
    levels = []
    for c in range(data.shape[-1]):
        seen = data[..., c][np.isfinite(data[..., c])]
        levels.append(robust_std(seen) if seen.size else np.nan)
    levels = np.asarray(levels)[np.isfinite(levels)]
    return float(levels.mean()) if levels.size else 0.0


def donoho_lambda(filters, positions, sigma):
    """Donoho's universal threshold as a rate, in 1 / sigma's unit: sqrt(2 log(filters * positions)) / sigma.

    The threshold itself is lambda * sigma^2 (Donoho and Johnstone, Ideal spatial adaptation by
    wavelet shrinkage, 1994).

    Example:
        >>> round(donoho_lambda(filters=3, positions=956, sigma=1.0), 2)
        3.99
    """
    return math.sqrt(2.0 * math.log(max(filters * positions, 2))) / sigma


def window_filters(data, kernel_size, filters, rng, energy=False):
    """Windows of the data as filters, (*kernel_size, channels, filters): random, or of high energy.

    "energy" keeps the strongest of 64 random draws for each filter. A window that was taken already, also from another
    place, is drawn again, as often as ``_REDRAWS``: filters that begin alike stay alike.
    """
    draws = 64 if energy else 1
    limits = (data.shape[0], *(n - k + 1 for n, k in zip(data.shape[1:-1], kernel_size, strict=True)))
    out, taken = [], set()

    def draw():
        first, *starts = (int(rng.integers(0, n)) for n in limits)
        return data[(first, *(slice(s, s + k) for s, k in zip(starts, kernel_size, strict=True)))]

    for _ in range(filters):
        windows = [draw() for _ in range(draws)]
        for _ in range(_REDRAWS):
            free = [w for w in windows if w.tobytes() not in taken]
            if free:
                windows = free
                break
            windows = [draw()]
        best = max(windows, key=lambda w: float(np.sum(np.square(w))))
        taken.add(best.tobytes())
        out.append(best + 1e-6 * rng.standard_normal(best.shape))
    return np.stack(out, axis=-1)


def dct_filters(kernel_size, channels, filters):
    """Separable DCT-II atoms in order of frequency, (*kernel_size, channels, filters).

    Raises:
        ValueError: more filters than atoms (the product of kernel_size and channels).
    """
    if filters > math.prod(kernel_size) * channels:
        raise ValueError(f"filters='dct' has {math.prod(kernel_size) * channels} atoms for "
                         f"kernel_size={tuple(kernel_size)} and {channels} channels. Received: filters={filters}")
    bases = [np.cos(np.pi * np.outer(np.arange(n) + 0.5, np.arange(n)) / n) for n in (*kernel_size, channels)]
    atoms = bases[0]
    for basis in bases[1:]:
        atoms = np.einsum("...f,ng->...nfg", atoms, basis).reshape(*atoms.shape[:-1], len(basis), -1)
    order = np.argsort([sum(i) for i in np.ndindex(*kernel_size, channels)], kind="stable")
    return atoms[..., order[:filters]]
