"""Correlations of filters with signals and with each other, and local maxima of codes (NumPy)."""

from __future__ import annotations

import numpy as np

from crsae_onnx.core.compiled import can_compile
from crsae_onnx.core.typing import Array, FloatArray, IntArray

#: Code values within so many positions on each side of each other belong to one spike: a code splits a spike that lies
#: between two samples.
POOL_RADIUS = 2
#: Positions that one row of a matrix product gives, and positions computed together: what stays in the cache.
_BLOCK, _CHUNK = 32, 1 << 13
#: Blocks of a signal that are transformed together.
_FOURIER_BLOCKS = 8
#: Pairs of a filter and a channel that it reaches, from which on Fourier transforms cost less than products.
_FOURIER_PAIRS = 12


class Correlator:
    """Correlations of filters with signals. A filter costs only the channels where it is not zero.

    Few filters and channels by matrix products: a row of the left factor is the stretch of a channel that ``_BLOCK``
    positions see, the right factor holds the filters at each of them. Many by Fourier transforms of blocks.

    Args:
        kernel: (kernel_size, channels, filters).
        fourier: whether Fourier transforms are used; None: where they cost less.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.spikes.correlations import Correlator
        >>> Correlator(np.ones((3, 1, 2), np.float32))(np.ones((5, 1), np.float32)).shape
        (2, 3)
    """

    def __init__(self, kernel: Array, fourier: bool | None = None) -> None:
        kernel = np.asarray(kernel, np.float32)
        self.size, self.channels, self.filters = (int(n) for n in kernel.shape)
        reached: Array = np.any(kernel, axis=0, keepdims=True)[0]
        #: Channels that some filter reaches: no others are looked at.
        self._some = np.flatnonzero(reached.sum(axis=1))
        self.fourier = np.count_nonzero(reached) >= _FOURIER_PAIRS if fourier is None else bool(fourier)
        if self.fourier:
            self._points = max(256, 1 << (8 * self.size - 1).bit_length())
            #: (rows of ``_some`` that the filter reaches, its conjugate spectra there (channels, frequencies))
            kernel, reached = kernel[:, self._some], reached[self._some]
            self._spectra = [(some := np.flatnonzero(reached[:, u]),
                              np.fft.rfft(kernel[:, some, u].T, self._points, axis=1).conj().astype(np.complex64))
                             for u in range(self.filters)]
            #: The same, one after the other: (where each filter's begin, rows of ``_some``, spectra)
            self._flat_spectra = (np.cumsum([0, *(len(rows) for rows, _ in self._spectra)]),
                                  *map(np.concatenate, zip(*self._spectra, strict=True)))
            return
        # Entry [i, s] of the right factor is filter[i - s]: windows of the filter between zeros.
        padded = np.pad(kernel, ((_BLOCK - 1, _BLOCK - 1), (0, 0), (0, 0)))
        columns = np.lib.stride_tricks.sliding_window_view(padded, _BLOCK, axis=0)[..., ::-1]
        #: (row of ``_some``, filters that reach it, right factor (stretch, filters * _BLOCK))
        self._factors = [(row, (some := np.flatnonzero(reached[c])),
                          np.ascontiguousarray(columns[:, c, some]).reshape(len(columns), -1))
                         for row, c in enumerate(self._some)]

    def __call__(self, signal: Array) -> FloatArray:
        """float32 (filters, time - kernel_size + 1), of a signal (time, channels)."""
        positions = len(signal) - self.size + 1
        out = np.empty((self.filters, positions), np.float32)
        block = self._points - self.size + 1 if self.fourier else _BLOCK
        chunk = _FOURIER_BLOCKS * block if self.fourier else _CHUNK
        for start in range(0, positions, chunk):
            stop = min(start + chunk, positions)
            blocks = -(-(stop - start) // block)
            piece = np.zeros((len(self._some), blocks * block + self.size - 1), np.float32)
            inside = signal[start:start + piece.shape[1]]
            inside = inside if len(self._some) == self.channels else inside[:, self._some]
            piece[:, :len(inside)] = inside.T
            sums = self._by_spectra(piece, block) if self.fourier else self._by_products(piece, blocks)
            out[:, start:stop] = sums.reshape(self.filters, -1)[:, :stop - start]
        return out

    def _by_products(self, piece: FloatArray, blocks: int) -> FloatArray:
        """(filters, blocks, _BLOCK) of a piece (channels, time)."""
        sums = np.zeros((self.filters, blocks, _BLOCK), np.float32)
        for c, some, factor in self._factors:
            rows = np.ascontiguousarray(
                np.lib.stride_tricks.sliding_window_view(piece[c], _BLOCK + self.size - 1)[::_BLOCK])
            product = (rows @ factor).reshape(blocks, len(some), _BLOCK)
            for i, u in enumerate(some):
                sums[u] += product[:, i]
        return sums

    def _by_spectra(self, piece: FloatArray, block: int) -> Array:
        """(filters, blocks, block) of a piece (channels, time)."""
        windows = np.lib.stride_tricks.sliding_window_view(piece, self._points, axis=1)[:, ::block]
        spectrum = np.fft.rfft(np.ascontiguousarray(windows), axis=2)
        sums = np.zeros((self.filters, *spectrum.shape[1:]), spectrum.dtype)
        if can_compile():
            # Imported where it is used: numba takes half a second to import.
            from crsae_onnx.core.spikes.compiled_correlations import add_products

            add_products(sums, spectrum, *self._flat_spectra)
            return np.fft.irfft(sums, self._points, axis=2)[:, :, :block]
        product = np.empty_like(sums[0])
        for total, (channels, filters) in zip(sums, self._spectra, strict=True):
            for c, filter_ in zip(channels, filters, strict=True):
                total += np.multiply(spectrum[c], filter_, out=product)
        return np.fft.irfft(sums, self._points, axis=2)[:, :, :block]


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
    reached: Array = np.any(kernel, axis=0, keepdims=True)[0]
    # (filters that reach the channel, their spectra there (filters, frequencies))
    at = [(some := np.flatnonzero(row), np.fft.rfft(kernel[:, c, some].T.astype(np.float64), points, axis=1))
          for c, row in enumerate(reached)]
    out = np.zeros((filters, filters, 2 * size - 1), np.float32)
    for u in range(filters):
        channels = np.flatnonzero(reached[:, u])
        others = np.flatnonzero(reached[channels].sum(axis=0))
        product = np.zeros((len(others), points // 2 + 1), np.complex128)
        for c in channels:
            some, spectra = at[c]
            product[np.searchsorted(others, some)] += spectra[np.searchsorted(some, u)] * spectra.conj()
        lags = np.fft.irfft(product, points, axis=1)
        out[u, others] = np.concatenate([lags[:, -(size - 1):] if size > 1 else lags[:, :0], lags[:, :size]], axis=1)
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
