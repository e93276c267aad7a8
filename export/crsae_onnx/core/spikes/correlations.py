"""Correlations of filters with signals and with each other, and local maxima of codes (NumPy)."""

from __future__ import annotations

import numpy as np

from crsae_onnx.core.typing import Array, FloatArray, IntArray

#: Code values within so many positions on each side of each other belong to one spike: a code splits a spike that lies
#: between two samples.
POOL_RADIUS = 2
#: Positions that one row of a matrix product gives, and positions computed together: what stays in the cache.
_BLOCK, _CHUNK = 32, 1 << 13


class Correlator:
    """Correlations of filters with signals, by matrix products.

    A row of the left factor is the stretch of a channel that ``_BLOCK`` positions see; the right factor holds the
    filters at each of them. A filter costs only the channels where it is not zero. On one core about three times as
    fast as Fourier transforms of blocks, for 1 to 64 channels.

    Args:
        kernel: (kernel_size, channels, filters).

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.spikes.correlations import Correlator
        >>> Correlator(np.ones((3, 1, 2), np.float32))(np.ones((5, 1), np.float32)).shape
        (2, 3)
    """

    def __init__(self, kernel: Array) -> None:
        kernel = np.asarray(kernel, np.float32)
        self.size, self.channels, self.filters = (int(n) for n in kernel.shape)
        reached: Array = np.any(kernel, axis=0, keepdims=True)[0]
        # Entry [i, s] of the right factor is filter[i - s]: windows of the filter between zeros.
        padded = np.pad(kernel, ((_BLOCK - 1, _BLOCK - 1), (0, 0), (0, 0)))
        columns = np.lib.stride_tricks.sliding_window_view(padded, _BLOCK, axis=0)[..., ::-1]
        #: (channel, filters that reach it, right factor (stretch, filters * _BLOCK))
        self._factors = [(int(c), (some := np.flatnonzero(reached[c])),
                          np.ascontiguousarray(columns[:, c, some]).reshape(len(columns), -1))
                         for c in np.flatnonzero(reached.sum(axis=1))]

    def __call__(self, signal: Array) -> FloatArray:
        """float32 (filters, time - kernel_size + 1), of a signal (time, channels)."""
        positions, stretch = len(signal) - self.size + 1, _BLOCK + self.size - 1
        out = np.empty((self.filters, positions), np.float32)
        for start in range(0, positions, _CHUNK):
            stop = min(start + _CHUNK, positions)
            blocks = -(-(stop - start) // _BLOCK)
            piece = np.zeros((self.channels, (blocks - 1) * _BLOCK + stretch), np.float32)
            inside = signal[start:start + piece.shape[1]]
            piece[:, :len(inside)] = inside.T
            sums = np.zeros((self.filters, blocks, _BLOCK), np.float32)
            for c, some, factor in self._factors:
                rows = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(piece[c], stretch)[::_BLOCK])
                product = (rows @ factor).reshape(blocks, len(some), _BLOCK)
                for i, u in enumerate(some):
                    sums[u] += product[:, i]
            out[:, start:stop] = sums.reshape(self.filters, -1)[:, :stop - start]
        return out


def correlate(signal: Array, kernel: Array) -> FloatArray:
    """Correlation of every filter with a signal at every position: ``Correlator(kernel)(signal)``.

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
    return Correlator(kernel)(signal)


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
    reached: Array = np.any(kernel, axis=0, keepdims=True)[0]
    out = np.zeros((filters, filters, 2 * size - 1), np.float32)
    for u in range(filters):
        channels = np.flatnonzero(reached[:, u])
        others = np.flatnonzero(reached[channels].sum(axis=0))
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
