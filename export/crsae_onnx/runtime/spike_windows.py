"""Spikes of long recordings, found by a graph in windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from crsae_onnx.core.spikes.correlations import POOL_RADIUS
from crsae_onnx.core.typing import Array, FloatArray, IntArray
from crsae_onnx.core.windowing import split_windows
from crsae_onnx.file_format.facts import file_receptive_field


def spikes_in_windows(find: Callable[[Array], tuple[Array, ...]], signal: Any, info: Mapping[str, Any], window: int
                      ) -> tuple[IntArray, IntArray, FloatArray]:
    """Spikes of a signal, window by window: to rounding those of the whole.

    Args:
        find: from (1, time, channels) to index (spikes, 2), unit and amplitude.
        signal: (batch, time, channels), an array or an object with ``shape`` and slices.
        info: facts of a file with the output "spikes".
        window: code positions that a window keeps at most.

    Returns:
        index int64 (spikes, 2): batch entry and sample; unit int64; amplitude float32.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.runtime.spike_windows import spikes_in_windows
        >>> rule = {"min_distance": 2, "exclusion": 0, "peak_offset": [1]}
        >>> info = {"iterations": 1, "kernel_size": [3], "strides": [1], "spike_rule": rule}
        >>> def find(piece):
        ...     at = np.flatnonzero(piece[0, :, 0])
        ...     return np.stack([0 * at, at + 1], axis=1), 0 * at, piece[0, at, 0]
        >>> signal = np.zeros((1, 100, 1)); signal[0, ::30] = 5
        >>> spikes_in_windows(find, signal, info, window=20)[0][:, 1].tolist()
        [1, 31, 61, 91]
    """
    rule, (size,) = info["spike_rule"], info["kernel_size"]
    overlap = file_receptive_field(info) + rule["min_distance"] + rule["exclusion"] + POOL_RADIUS
    offset = np.asarray(rule["peak_offset"], np.int64)
    parts: list[tuple[Array, ...]] = []
    for entry in range(signal.shape[0]):
        for read, keep in split_windows(signal.shape[1], kernel_size=size, overlap=overlap, window=window):
            index, unit, amplitude = find(signal[entry:entry + 1, read])
            sample = index[:, 1] + read.start
            inside = (sample - offset[unit] >= keep.start) & (sample - offset[unit] < keep.stop)
            parts.append((np.stack([np.full(inside.sum(), entry), sample[inside]], axis=1), unit[inside],
                          amplitude[inside]))
    index, unit, amplitude = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return index.astype(np.int64), unit, amplitude
