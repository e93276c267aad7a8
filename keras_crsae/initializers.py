"""Values resolved from data before training: noise level, first lambda, first filters (NumPy)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from crsae_onnx.core.image_noise import image_noise_std
from crsae_onnx.core.noise import NoiseLevel, holds_noise, noise_level

#: A window that was taken already is drawn again so many times.
_REDRAWS = 100
#: Noise of whole numbers below this fraction of their step is not told from none: a lone jump looks the same.
_LEAST_NOISE_STEPS = 0.25
#: Random windows of which ``window_filters(energy=True)`` takes the strongest.
_ENERGY_DRAWS = 64


def robust_sigma(data: np.ndarray, rank: int, mask: np.ndarray | None = None) -> float:
    """Noise standard deviation that outliers (spikes, edges) hardly change, and samples without noise not at all.

    Signals: median |y - median| / .6745 a channel, averaged over those that hold noise. Images: the same on the finest
    diagonal Haar coefficients (Donoho and Johnstone 1994). Constant stretches and areas (padding, blanks, borders,
    saturation), NaN and what is masked are left out; in whole numbers rounding is taken into account.

    Args:
        data: (batch, *space, channels).
        rank: 1 or 2.
        mask: None or 0/1 of data's shape; missing samples are not counted.

    Returns:
        float in the data's unit; 0 where nothing holds noise, or nothing is observed.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.initializers import robust_sigma
        >>> noise = np.random.default_rng(0).normal(0, 2, (4, 5000, 1))
        >>> noise[:, 3000:] = 0                                   # two fifths are padding
        >>> round(robust_sigma(noise, rank=1), 1)
        2.0
    """
    if mask is not None:
        data = np.where(mask > 0, data, np.nan)
    if rank == 2:
        return image_noise_std(data)
    levels = [window_noise(data[..., c]).std for c in range(data.shape[-1])]
    kind = data.dtype if data.dtype.kind == "f" else np.float64
    return float(np.mean(np.array([level for level in levels if level > 0] or [0.0], kind)))


def window_noise(windows: np.ndarray) -> NoiseLevel:
    """Center and standard deviation of one channel's noise, without stretches that hold none.

    Args:
        windows: (batch, time); NaN is left out.

    Returns:
        ``NoiseLevel``; its ``std`` is 0 where nothing holds noise.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.initializers import window_noise
        >>> windows = np.random.default_rng(0).normal(5, 2, (4, 5000))
        >>> windows[:, 3000:] = 0
        >>> level = window_noise(windows)
        >>> round(level.center, 1), round(level.std, 1)
        (5.0, 2.0)
    """
    windows = windows if windows.dtype.kind == "f" else windows.astype(np.float64)
    series = np.pad(windows, ((0, 0), (0, 1)), constant_values=np.nan).ravel()  # a gap between any two
    level = noise_level(series[holds_noise(series)])
    return level if level.std >= _LEAST_NOISE_STEPS * level.step else level._replace(std=0.0)


def donoho_lambda(filters: int, positions: int, sigma: float) -> float:
    """Donoho's universal threshold as a rate, in 1 / sigma's unit: sqrt(2 log(filters * positions)) / sigma.

    The threshold itself is lambda * sigma^2 (Donoho and Johnstone, Ideal spatial adaptation by
    wavelet shrinkage, 1994).

    Args:
        filters: number of filters.
        positions: code positions of each.
        sigma: noise standard deviation.

    Example:
        >>> from keras_crsae.initializers import donoho_lambda
        >>> round(donoho_lambda(filters=3, positions=956, sigma=1.0), 2)
        3.99
    """
    return math.sqrt(2.0 * math.log(max(filters * positions, 2))) / sigma


def window_filters(data: np.ndarray, kernel_size: Sequence[int], filters: int, rng: np.random.Generator,
                   energy: bool = False) -> np.ndarray:
    """Random windows of the data as first filters.

    A window that was taken already, also one with equal values from another position, is drawn again, up to 100 times:
    filters that begin equal stay equal.

    Args:
        data: (batch, *space, channels).
        kernel_size: samples of a filter, one number an axis of space.
        filters: number of filters.
        rng: ``np.random.Generator``.
        energy: take the strongest of 64 draws for each filter.

    Returns:
        (*kernel_size, channels, filters), not normalised.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.initializers import window_filters
        >>> rng = np.random.default_rng(0)
        >>> window_filters(rng.normal(size=(4, 100, 1)), (9,), filters=3, rng=rng).shape
        (9, 1, 3)
    """
    limits = (data.shape[0], *(n - k + 1 for n, k in zip(data.shape[1:-1], kernel_size, strict=True)))
    chosen: list[np.ndarray] = []
    taken: set[bytes] = set()

    def draw() -> np.ndarray:
        first, *starts = (int(rng.integers(0, n)) for n in limits)
        return data[(first, *(slice(s, s + k) for s, k in zip(starts, kernel_size, strict=True)))]

    for _ in range(filters):
        windows = [draw() for _ in range(_ENERGY_DRAWS if energy else 1)]
        for _ in range(_REDRAWS):
            free = [w for w in windows if w.tobytes() not in taken]
            if free:
                windows = free
                break
            windows = [draw()]
        best = max(windows, key=lambda w: float(np.sum(np.square(w))))
        taken.add(best.tobytes())
        chosen.append(best + 1e-6 * rng.standard_normal(best.shape))
    return np.stack(chosen, axis=-1)


def dct_filters(kernel_size: Sequence[int], channels: int, filters: int) -> np.ndarray:
    """Separable DCT-II atoms in order of frequency.

    Args:
        kernel_size: samples of a filter, one number an axis of space.
        channels: channels of a filter.
        filters: number of filters.

    Returns:
        (*kernel_size, channels, filters), not normalised.

    Raises:
        ValueError: more filters than atoms (the product of kernel_size and channels).

    Example:
        >>> from keras_crsae.initializers import dct_filters
        >>> dct_filters((8, 8), channels=1, filters=64).shape
        (8, 8, 1, 64)
    """
    if filters > math.prod(kernel_size) * channels:
        raise ValueError(f"The DCT has {math.prod(kernel_size) * channels} atoms for "
                         f"kernel_size={tuple(kernel_size)} and {channels} channels, one a filter at most. "
                         f"Received: filters={filters}")
    bases = [np.cos(np.pi * np.outer(np.arange(n) + 0.5, np.arange(n)) / n) for n in (*kernel_size, channels)]
    atoms = bases[0]
    for basis in bases[1:]:
        atoms = np.einsum("...f,ng->...nfg", atoms, basis).reshape(*atoms.shape[:-1], len(basis), -1)
    order = np.argsort([sum(i) for i in np.ndindex(*kernel_size, channels)], kind="stable")
    return atoms[..., order[:filters]]
