"""Analysis and synthesis by loops."""

import numpy as np


def shrink(values, threshold):
    return np.sign(values) * np.maximum(np.abs(values) - threshold, 0)


def correlate(image, kernel, stride):
    """D^T y by loops."""
    rows, columns = ((n - k) // stride + 1 for n, k in zip(image.shape[:2], kernel.shape[:2], strict=True))
    out = np.empty((rows, columns, kernel.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            window = image[i * stride:i * stride + kernel.shape[0], j * stride:j * stride + kernel.shape[1]]
            out[i, j] = np.tensordot(window, kernel, 3)
    return out


def place(code, kernel, stride):
    """D z by loops."""
    made = np.zeros((*((m - 1) * stride + k for m, k in zip(code.shape[:2], kernel.shape[:2], strict=True)), 1))
    for i, j in np.ndindex(code.shape[:2]):
        made[i * stride:i * stride + kernel.shape[0], j * stride:j * stride + kernel.shape[1]] += kernel @ code[i, j]
    return made
