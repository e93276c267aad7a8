"""Training batches of long recordings, read window by window while training runs."""

import time

import numpy as np
import tensorflow as tf
from crsae_onnx.core.validation import as_positive_int

from keras_crsae.data.batch_order import Place, following


def window_batches(source, window, batch_size, step=None, shuffle=True, scale=1.0, readers=2, waited=None):
    """Batches of a recording's windows for ``fit``; nothing but the windows of a few batches is in memory.

    The order is a function of the model's seed, the epoch and the step, as ``fit`` has it for arrays, so training goes
    on exactly after a stop (``callbacks.SaveProgress``). Under ``tf.distribute`` each batch is divided over the
    devices; every machine reads it whole and keeps its part.

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
        ``tf.data.Dataset`` of float32 (batch_size, window, channels), with the attribute ``place`` that ``fit`` sets.

    Raises:
        ValueError: another number of axes, a window longer than the recording, a size that is no positive int.

    Example:
        >>> recording = np.zeros((1000, 4), "int16")
        >>> [tuple(batch.shape) for batch in window_batches(recording, 100, 8)]
        [(8, 100, 4), (2, 100, 4)]
    """
    window, batch_size = as_positive_int(window, "window"), as_positive_int(batch_size, "batch_size")
    step = window if step is None else as_positive_int(step, "step")
    samples, channels, read = _reader(source)
    if samples < window:
        raise ValueError(f"The recording has {samples} samples, fewer than one window of {window}. Use a shorter "
                         "window or a longer recording.")
    place = Place()
    starts = np.arange(0, samples - window + 1, step)
    if starts[-1] + window < samples:
        starts = np.append(starts, samples - window)

    def load(indices):
        begun = time.perf_counter()
        out = np.empty((len(indices), window, channels), np.float32)
        for i in np.argsort(starts[indices]):  # in order of time: neighbours share pages and chunks
            at = int(starts[indices[i]])
            out[i] = read(at, at + window)
        if scale != 1.0:
            out *= np.float32(scale)
        if waited is not None:
            waited.append(time.perf_counter() - begun)
        return out

    def batch(indices):
        return tf.ensure_shape(tf.numpy_function(place.reading(load), [indices], tf.float32), (None, window, channels))

    return following(place, len(starts), batch_size, batch, shuffle, prefetch=2,
                     num_parallel_calls=as_positive_int(readers, "readers"), deterministic=True)


def _reader(source):
    """(samples, channels, function of first and last sample) of an array or a SpikeInterface recording."""
    if hasattr(source, "get_traces"):
        if source.get_num_segments() != 1:
            raise ValueError(f"The recording has {source.get_num_segments()} segments. Give one of them "
                             "(`recording.select_segments([0])`).")
        return (int(source.get_num_samples()), int(source.get_num_channels()),
                lambda first, last: source.get_traces(start_frame=first, end_frame=last))
    if len(getattr(source, "shape", ())) != 2:
        raise ValueError("A recording has shape (samples, channels). Received: "
                         f"{getattr(source, 'shape', type(source).__name__)}. Add or take away axes.")
    return (*(int(n) for n in source.shape), lambda first, last: source[first:last])
