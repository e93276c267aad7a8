"""Products of spectra summed over channels, as loops that numba compiles; ``correlations`` holds the NumPy form."""

# Scalars are NumPy's here, as numba sees them.
# pyright: basic
from __future__ import annotations

from crsae_onnx.core.compiled import compiled
from crsae_onnx.core.typing import Array, IntArray


@compiled
def add_products(sums: Array, spectrum: Array, first: IntArray, channels: IntArray, filters: Array) -> None:
    """Add the spectra of a signal times those of filters to ``sums``, over the channels that each filter reaches.

    Args:
        sums: complex (filters, blocks, frequencies), changed in place.
        spectrum: complex (channels, blocks, frequencies).
        first: (filters + 1,), where each filter's entries in the next two begin.
        channels: int64, the channels that the filters reach.
        filters: complex (len(channels), frequencies), the filters' spectra there.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.spikes.compiled_correlations import add_products
        >>> sums, spectrum = np.zeros((1, 1, 2), np.complex64), np.full((3, 1, 2), 2j, np.complex64)
        >>> add_products(sums, spectrum, np.array([0, 2]), np.array([0, 2]), np.full((2, 2), 1j, np.complex64))
        >>> sums.real.ravel().tolist()
        [-4.0, -4.0]
    """
    for u in range(len(sums)):
        for block in range(sums.shape[1]):
            total = sums[u, block]
            for n in range(first[u], first[u + 1]):
                part, filter_ = spectrum[channels[n], block], filters[n]
                for f in range(len(total)):
                    total[f] += part[f] * filter_[f]
