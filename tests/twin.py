"""Independent NumPy twin in float64: an explicit dictionary matrix, no convolution routine."""

import numpy as np


def dictionary_matrix(kernel, space, strides):
    """D as a matrix (samples * channels, positions * filters), column by column from the definition."""
    rank = len(strides)
    size, channels, filters = kernel.shape[:rank], kernel.shape[rank], kernel.shape[rank + 1]
    positions = tuple((n - k) // s + 1 for n, k, s in zip(space, size, strides, strict=True))
    columns = []
    for position in np.ndindex(*positions):
        for c in range(filters):
            atom = np.zeros((*space, channels))
            window = tuple(slice(p * s, p * s + k) for p, s, k in zip(position, strides, size, strict=True))
            atom[window] = kernel[..., c]
            columns.append(atom.ravel())
    return np.stack(columns, axis=1), positions


def fista(matrix, signal, threshold, step, iterations, two_sided):
    """Textbook FISTA; threshold is one number a column."""
    x = w = np.zeros(matrix.shape[1])
    t = 1.0
    for _ in range(iterations):
        v = w + step * matrix.T @ (signal - matrix @ w)
        new = np.sign(v) * np.maximum(np.abs(v) - threshold, 0) if two_sided else np.maximum(v - threshold, 0)
        t_new = (1 + np.sqrt(1 + 4 * t * t)) / 2
        w = new + (t - 1) / t_new * (new - x)
        x, t = new, t_new
    return x
