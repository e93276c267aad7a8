"""Measures of a learned dictionary and of images (NumPy)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["FilterMatch", "dictionary_error", "match_filters", "psnr"]


def __dir__() -> list[str]:
    return list(__all__)


@dataclass(frozen=True)
class FilterMatch:
    """Pairs of a true and a learned filter, each field (pairs,) but ``lags``, which is (pairs, rank).

    ``true`` and ``learned`` are filter indices; ``lags`` are the samples by which the learned filter moves
    to lie over the true one, ``signs`` (1 or -1) multiply it, ``correlations`` in [0, 1] are reached then.
    """

    true: np.ndarray
    learned: np.ndarray
    lags: np.ndarray
    signs: np.ndarray
    correlations: np.ndarray


def match_filters(true_filters: ArrayLike, filters: ArrayLike) -> FilterMatch:
    """Assign learned filters to true ones, one to one, over order, sign and shift.

    Correlations run over zero-padded lags on every axis, channels summed; the assignment maximises their sum.

    Args:
        true_filters: (*kernel_size, channels, true filters).
        filters: (*kernel_size, channels, filters).

    Returns:
        FilterMatch with min(true filters, filters) pairs, in order of the true filters.

    Raises:
        ValueError: ranks or channel counts differ.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.metrics import match_filters
        >>> true = np.zeros((9, 1, 1))
        >>> true[3:6, 0, 0] = 1, 2, 1
        >>> match = match_filters(true, -np.roll(true, 2, axis=0))
        >>> match.lags.tolist(), match.signs.tolist()
        ([[-2]], [-1.0])
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.signal import correlate

    true_filters, filters = np.asarray(true_filters, np.float64), np.asarray(filters, np.float64)
    if true_filters.ndim != filters.ndim or true_filters.ndim < 3 or true_filters.shape[-2] != filters.shape[-2]:
        raise ValueError(
            "dictionary_error expects two arrays (*kernel_size, channels, filters) with the same rank and channels. "
            f"Received: true_filters.shape={true_filters.shape}, filters.shape={filters.shape}"
        )
    channels, rank = true_filters.shape[-2], true_filters.ndim - 2
    count = (true_filters.shape[-1], filters.shape[-1])
    match, best = np.zeros(count), np.zeros((*count, rank), np.int64)
    for i in range(count[0]):
        for j in range(count[1]):
            a, b = true_filters[..., i], filters[..., j]
            lags = np.sum([correlate(a[..., c], b[..., c], mode="full", method="direct") for c in range(channels)],
                          axis=0)
            scale = np.linalg.norm(a) * np.linalg.norm(b)
            peak = np.unravel_index(np.abs(lags).argmax(), lags.shape)
            match[i, j] = lags[peak] / scale if scale > 0 else 0.0
            best[i, j] = np.array(peak) - (np.array(b.shape[:-1]) - 1)
    rows, columns = linear_sum_assignment(-np.abs(match))
    chosen = match[rows, columns]
    return FilterMatch(rows, columns, best[rows, columns], np.where(chosen < 0, -1.0, 1.0),
                       np.minimum(np.abs(chosen), 1.0))


def dictionary_error(true_filters: ArrayLike, filters: ArrayLike) -> np.ndarray:
    """Distance of each true filter from its learned counterpart: sqrt(1 - max correlation^2).

    The maximum runs over sign and shift (zero-padded lags on every axis, channels summed); learned filters
    are assigned one to one.

    Args:
        true_filters: (*kernel_size, channels, true filters).
        filters: (*kernel_size, channels, filters).

    Returns:
        (true filters,) float64; 1 where no learned filter is left to assign.

    Raises:
        ValueError: ranks or channel counts differ.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.metrics import dictionary_error
        >>> true = np.zeros((9, 1, 2))
        >>> true[3:6, 0, 0], true[2:7:4, 0, 1] = (1, 2, 1), (1, 1)
        >>> learned = -np.roll(true, 1, axis=0)[..., :1]
        >>> dictionary_error(true, learned).round(6).tolist()
        [0.0, 1.0]
    """
    match = match_filters(true_filters, filters)
    error = np.ones(np.shape(true_filters)[-1])
    error[match.true] = np.sqrt(1.0 - match.correlations**2)
    return error


def psnr(clean: ArrayLike, image: ArrayLike) -> float:
    """Peak signal-to-noise ratio: -10 log10(mean((image - clean)^2)) dB, at a peak of 1.

    Args:
        clean, image: arrays of one shape, in units of [0, 1].

    Returns:
        float; infinite for equal images.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.metrics import psnr
        >>> psnr(np.zeros(4), np.full(4, 0.1))
        20.0
    """
    error = float(np.mean(np.square(np.asarray(image, np.float64) - np.asarray(clean, np.float64))))
    return math.inf if error == 0 else -10 * math.log10(error)
