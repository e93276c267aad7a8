"""Waveforms of spikes added up and subtracted, as loops that numba compiles; ``matching`` holds the NumPy form.

What subtracting costs grows with the spikes and the channels that their templates reach, not with the probe.
"""

# Scalars are NumPy's here, as numba sees them.
# pyright: basic
from __future__ import annotations

import numpy as np
from crsae_onnx.core.compiled import compiled


def subtract_spikes(signal: np.ndarray, filters: np.ndarray, start: np.ndarray, unit: np.ndarray,
                    amplitude: np.ndarray) -> None:
    """Subtract spikes from a signal (time, channels), in place.

    Args:
        signal: float32.
        filters: (units, kernel_size, channels), float32.
        start, unit, amplitude: (spikes,).

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting.compiled_waveforms import subtract_spikes
        >>> signal = np.ones((4, 1), np.float32)
        >>> subtract_spikes(signal, np.ones((1, 2, 1), np.float32), np.array([1]), np.array([0]), np.array([3.0]))
        >>> signal[:, 0].tolist()
        [1.0, -2.0, -2.0, 1.0]
    """
    reached = np.any(filters, axis=1)
    first = np.concatenate([[0], np.cumsum(reached.sum(axis=1))]).astype(np.int64)
    _subtract(signal, filters, first, np.nonzero(reached)[1].astype(np.int64), np.asarray(start, np.int64),
              np.asarray(unit, np.int64), np.asarray(amplitude, np.float32))


def add_waveforms(out: np.ndarray, signal: np.ndarray, start: np.ndarray, group: np.ndarray) -> None:
    """Add the waveforms (kernel_size, channels) of spikes to those of their groups, in place.

    Args:
        out: float64 (groups, kernel_size, channels).
        signal: (time, channels).
        start, group: (spikes,), where each waveform begins, and to which row of ``out`` it is added.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting.compiled_waveforms import add_waveforms
        >>> out = np.zeros((1, 2, 1))
        >>> add_waveforms(out, np.arange(5.0)[:, None], np.array([0, 3]), np.array([0, 0]))
        >>> out[0, :, 0].tolist()
        [3.0, 5.0]
    """
    _add(out, signal, np.asarray(start, np.int64), np.asarray(group, np.int64))


@compiled
def _subtract(signal: np.ndarray, filters: np.ndarray, first: np.ndarray, channels: np.ndarray, start: np.ndarray,
              unit: np.ndarray, amplitude: np.ndarray) -> None:
    for i in range(len(start)):
        u = unit[i]
        for t in range(filters.shape[1]):
            for n in range(first[u], first[u + 1]):
                c = channels[n]
                signal[start[i] + t, c] -= amplitude[i] * filters[u, t, c]


@compiled
def _add(out: np.ndarray, signal: np.ndarray, start: np.ndarray, group: np.ndarray) -> None:
    for i in range(len(start)):
        for t in range(out.shape[1]):
            for c in range(out.shape[2]):
                out[group[i], t, c] += signal[start[i] + t, c]
