"""Correlations of filters with signals and with each other, and local maxima of codes (NumPy)."""

from __future__ import annotations

import numpy as np

from crsae_onnx.core.typing import Array, FloatArray, IntArray

#: Code values within so many positions on each side of each other belong to one spike: a code splits a spike that lies
#: between two samples.
POOL_RADIUS = 2
#: Positions that one row of a matrix product gives, and positions computed together: what stays in the cache.
_BLOCK, _CHUNK = 64, 1 << 15


def correlate(signal: Array, kernel: Array) -> FloatArray:
    """Correlation of every filter with a signal at every position.

    By matrix products: a row of the left factor is the stretch of a channel that ``_BLOCK`` positions see, and the
    right factor holds the filter at each of them. A filter costs only the channels where it is not zero. Twice as fast
    as Fourier transforms of blocks on one core, for 1 to 64 channels.

    Args:
        signal: (time, channels).
        kernel: (kernel_size, channels, filters).

    Returns:
        float32 (filters, time - kernel_size + 1).

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.spikes.correlations import correlate
        >>> correlate(np.ones((5, 1), np.float32), np.ones((3, 1, 2), np.float32)).shape
        (2, 3)
    """
    size, _, filters = kernel.shape
    positions, stretch = len(signal) - size + 1, _BLOCK + size - 1
    kernel = np.asarray(kernel, np.float32)
    reached = kernel.any(axis=0)
    # Entry [i, s] of the right factor is filter[i - s]: windows of the filter between zeros.
    padded = np.pad(kernel, ((_BLOCK - 1, _BLOCK - 1), (0, 0), (0, 0)))
    columns = np.lib.stride_tricks.sliding_window_view(padded, _BLOCK, axis=0)[..., ::-1]
    out = np.empty((filters, positions), np.float32)
    for start in range(0, positions, _CHUNK):
        stop = min(start + _CHUNK, positions)
        blocks = -(-(stop - start) // _BLOCK)
        piece = np.zeros(((blocks - 1) * _BLOCK + stretch, len(reached)), np.float32)
        inside = signal[start:start + len(piece)]
        piece[:len(inside)] = inside
        sums = np.zeros((filters, blocks, _BLOCK), np.float32)
        for c in np.flatnonzero(reached.any(axis=1)):
            rows = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(piece[:, c], stretch)[::_BLOCK])
            for u in np.flatnonzero(reached[c]):
                sums[u] += rows @ np.ascontiguousarray(columns[:, c, u])
        out[:, start:stop] = sums.reshape(filters, -1)[:, :stop - start]
    return out


def gram(kernel: Array) -> FloatArray:
    """Correlations between filters at every lag.

    Args:
        kernel: (kernel_size, channels, filters).

    Returns:
        float32 (filters, filters, 2 kernel_size - 1): entry [u, v, kernel_size - 1 + lag] is what a spike of u with
        amplitude 1 at position t adds to the correlation of v at position t + lag. Filters that share no channel have
        exact zeros.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.spikes.correlations import gram
        >>> gram(np.ones((2, 1, 1), np.float32))[0, 0].tolist()
        [1.0, 2.0, 1.0]
    """
    size, _, filters = kernel.shape
    points = 1 << (2 * size - 1).bit_length()
    spectrum = np.fft.rfft(kernel.astype(np.float64), points, axis=0)
    reached = kernel.any(axis=0)
    out = np.zeros((filters, filters, 2 * size - 1), np.float32)
    for u in range(filters):
        channels = np.flatnonzero(reached[:, u])
        others = np.flatnonzero(reached[channels].any(axis=0))
        product = (spectrum[:, channels, u, None] * spectrum[:, channels[:, None], others].conj()).sum(1)
        lags = np.fft.irfft(product, points, axis=0)
        out[u, others] = np.concatenate([lags[-(size - 1):] if size > 1 else lags[:0], lags[:size]]).T
    return out


def pooled_peaks(code: Array, min_peak: Array) -> tuple[IntArray, IntArray, Array]:
    """Local maxima of a code summed over +-POOL_RADIUS positions.

    Args:
        code: non-negative (positions, units).
        min_peak: (units,), which the sum must exceed.

    Returns:
        (position int64, unit int64, sum float64), in order of position.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.spikes.correlations import pooled_peaks
        >>> code = np.zeros((9, 1), np.float32); code[3:5] = 2
        >>> [a.tolist() for a in pooled_peaks(code, np.array([1.0]))]
        [[3], [0], [4.0]]
    """
    units = range(code.shape[1])
    peaks = sorted(peak for unit in units for peak in _peaks_of_unit(code[:, unit], unit, min_peak[unit]))
    if not peaks:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    position, unit, height = zip(*peaks, strict=True)
    return np.array(position, np.int64), np.array(unit, np.int64), np.array(height)


def _peaks_of_unit(code: Array, unit: int, min_peak: float) -> list[tuple[int, int, float]]:
    active = np.flatnonzero(code)
    if not len(active):
        return []
    near = np.unique((active[:, None] + np.arange(-POOL_RADIUS, POOL_RADIUS + 1)).ravel())
    near = near[(near >= 0) & (near < len(code))]
    padded = np.pad(code, POOL_RADIUS + 1)
    steps = np.arange(2 * POOL_RADIUS + 1)
    pooled = padded[near[:, None] + 1 + steps].sum(1)
    before, after = padded[near[:, None] + steps].sum(1), padded[near[:, None] + 2 + steps].sum(1)
    # A flat top is one spike: its middle, by the code's own larger value, then the first.
    keep = (pooled > min_peak) & (pooled >= before) & (pooled >= after)
    runs = np.split(np.flatnonzero(keep), np.flatnonzero(np.diff(near[keep]) > 1) + 1)
    best = [run[np.argmax(code[near[run]])] for run in runs if len(run)]
    return [(int(near[i]), unit, float(pooled[i])) for i in best]
