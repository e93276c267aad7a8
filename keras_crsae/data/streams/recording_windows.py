"""Training batches of long recordings, read window by window while training runs."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from crsae_onnx.core.validation import as_positive_int

from keras_crsae.backend import tf
from keras_crsae.data.batch_order import BatchOrder
from keras_crsae.data.recordings import sample_reader
from keras_crsae.data.streams.batch_source import BatchSource
from keras_crsae.data.streams.windows import window_starts


def window_batches(source: Any, window: int, batch_size: int, step: int | None = None, shuffle: bool = True,
                   scale: float = 1.0, readers: int = 2, waited: list[float] | None = None) -> BatchSource:
    """Batches of a recording's windows for ``fit``; nothing but the windows of a few batches is in memory.

    The order is a function of the model's seed, the epoch and the step, as ``fit`` has it for arrays, so training goes
    on exactly after a stop (``callbacks.SaveProgress``). Under ``tf.distribute`` each batch is divided over the
    devices; each of several machines reads its own part alone.

    Args:
        source: (samples, channels) with ``shape`` and slices: array, ``np.memmap``, HDF5 or Zarr dataset; or a
            SpikeInterface recording (its traces in the unit that they are stored in).
        window: samples of a window.
        batch_size: windows of a batch; the last one of an epoch may be smaller.
        step: samples from one window to the next; None: ``window``, side by side. Samples after the last window that
            fits whole are covered by one that ends with the recording.
        shuffle: False: in order of time.
        scale: what the samples are multiplied by, so that int16 becomes the unit that sigma is meant in.
        readers: batches read at a time.
        waited: None, or a list that receives the seconds spent on reading each batch.

    Returns:
        ``BatchSource`` of float32 (batch_size, window, channels).

    Raises:
        ValueError: another number of axes, a window longer than the recording, a size that is no positive int.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.data import window_batches
        >>> recording = np.zeros((1000, 4), "int16")
        >>> [tuple(batch.shape) for batch in window_batches(recording, 100, 8)]
        [(8, 100, 4), (2, 100, 4)]
    """
    window, batch_size = as_positive_int(window, "window"), as_positive_int(batch_size, "batch_size")
    step = window if step is None else as_positive_int(step, "step")
    samples, channels, read_samples = sample_reader(source)
    if samples < window:
        raise ValueError(f"The recording has {samples} samples, fewer than one window of {window}. Use a shorter "
                         "window or a longer recording.")
    starts = window_starts(samples, window, step)

    def read(indices: np.ndarray, order: BatchOrder) -> np.ndarray:
        begun = time.perf_counter()
        out = np.empty((len(indices), window, channels), np.float32)
        for i in np.argsort(starts[indices]):  # in order of time: neighbours share pages and chunks
            first = int(starts[indices[i]])
            out[i] = read_samples(first, first + window)
        if scale != 1.0:
            out *= np.float32(scale)
        if waited is not None:
            waited.append(time.perf_counter() - begun)
        return out

    return BatchSource.from_reader(len(starts), batch_size, read, tf.TensorSpec((None, window, channels), tf.float32),
                                   shuffle=shuffle, prefetch=2, readers=as_positive_int(readers, "readers"))
