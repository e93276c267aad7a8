"""Measures of a learned dictionary (NumPy)."""

import numpy as np


def dictionary_error(true_filters, filters):
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
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.signal import correlate

    true_filters, filters = np.asarray(true_filters, np.float64), np.asarray(filters, np.float64)
    if true_filters.ndim != filters.ndim or true_filters.ndim < 3 or true_filters.shape[-2] != filters.shape[-2]:
        raise ValueError(
            "dictionary_error expects two arrays (*kernel_size, channels, filters) with the same rank and channels. "
            f"Received: true_filters.shape={true_filters.shape}, filters.shape={filters.shape}"
        )
    channels = true_filters.shape[-2]
    match = np.zeros((true_filters.shape[-1], filters.shape[-1]))
    for i in range(match.shape[0]):
        for j in range(match.shape[1]):
            a, b = true_filters[..., i], filters[..., j]
            lags = sum(correlate(a[..., c], b[..., c], mode="full", method="direct") for c in range(channels))
            scale = np.linalg.norm(a) * np.linalg.norm(b)
            match[i, j] = np.abs(lags).max() / scale if scale > 0 else 0.0
    rows, columns = linear_sum_assignment(-match)
    error = np.ones(match.shape[0])
    error[rows] = np.sqrt(np.maximum(0.0, 1.0 - np.minimum(match[rows, columns], 1.0) ** 2))
    return error
