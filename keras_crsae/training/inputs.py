"""What ``fit`` and ``evaluate`` accept: arrays are checked whole, streams are looked at without losing a batch."""

import itertools

import keras
import numpy as np
import tensorflow as tf
from crsae_onnx.core.signals import as_signal

from keras_crsae._validation import as_sample_weight
from keras_crsae.problem.measurements import observation_mask
from keras_crsae.training import distribution as replicas


def is_array(x):
    """True for what Keras would cut into batches itself."""
    return isinstance(x, np.ndarray | list | tf.Tensor | tf.Variable) or (
        hasattr(x, "__array__") and not isinstance(x, keras.utils.PyDataset | tf.data.Dataset))


def checked(x, y, sample_weight, rank, channels, kernel_size, name="x", finite=True):
    """Arrays for ``fit`` as float32, or a ValueError: signal, target (None: the signal itself), weight or mask."""
    x = as_signal(x, rank, channels, kernel_size, name, finite)
    if y is not None:
        y = as_signal(y, rank, name=f"target of {name}", finite=finite)
        if y.shape != x.shape:
            raise ValueError(f"The target of `{name}` must have its shape {x.shape}: it is the clean signal. "
                             f"Received: shape {y.shape}")
    sample_weight = as_sample_weight(sample_weight, x)
    # Keras drops sample_weight where the target is None.
    return x, x if y is None and sample_weight is not None else y, sample_weight


def checked_validation(data, **options):
    """``validation_data`` with its arrays checked; datasets pass."""
    if data is None or not is_array(data) and not isinstance(data, tuple):
        return data
    x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
    if not is_array(x):
        return data
    return checked(x, y, weight, name="validation_data", **options)


def split_off(arrays, share):
    """Arrays without their last ``share``, and that share (None where it is 0), as Keras' ``validation_split``."""
    if not share:
        return arrays, None
    count = len(arrays[0])
    first = int(count * (1.0 - share)) if 0 < share < 1 else 0
    if not 0 < first < count:
        raise ValueError(f"`validation_split` must leave at least one of {count} signals on each side. Received: "
                         f"{share!r}")
    return (tuple(None if a is None else a[:first] for a in arrays),
            tuple(None if a is None else a[first:] for a in arrays))


def finite_signals(signal, mask):
    """The signals of a batch without NaN and infinite values, and their mask."""
    good = tf.reduce_all(tf.math.is_finite(signal), axis=list(range(1, len(signal.shape))))
    return tf.boolean_mask(signal, good), None if mask is None else tf.boolean_mask(mask, good)


def stream(x):
    """What Keras takes: one-shot iterators become generators of tuples, arrays, datasets and PyDatasets pass."""
    if is_array(x) or isinstance(x, keras.utils.PyDataset | tf.data.Dataset) or iter(x) is not x:
        return x
    return (batch if isinstance(batch, tuple) else (batch,) for batch in x)


def peek(x):
    """First batch of a ``stream``, and a stream that still begins with it."""
    if isinstance(x, keras.utils.PyDataset):
        return x[0], x
    iterator = iter(x)
    try:
        first = next(iterator)
    except StopIteration:
        raise ValueError("The training data is empty: it gave no batch. Expected at least one.") from None
    if iterator is not x:
        return first, x
    return first, (batch for batch in itertools.chain([first], iterator))


def part(data, rank, dtype):
    """``unpack`` of a replica's part of a batch, and its number of signals.

    The last batch of an epoch may leave a replica without any. It then works on a signal of zeros whose weight is zero:
    convolutions of nothing fail in places.
    """
    signal, target, mask, weight = unpack(data, rank, dtype)
    count = tf.shape(signal)[0]
    if not replicas.several():
        return signal, target, mask, weight, count
    weight = tf.ones([count], dtype) if weight is None else weight
    missing = tf.maximum(1 - count, 0)
    signal, target, mask, weight = (
        None if a is None else tf.pad(a, [(0, missing)] + [(0, 0)] * (len(a.shape) - 1))
        for a in (signal, target, mask, weight))
    return signal, target, mask, weight, count


def unpack(data, rank, dtype):
    """One batch as tensors: signal, target, mask of observed samples or None, weights (batch,) or None."""
    signal, target, weight = keras.utils.unpack_x_y_sample_weight(data)
    layout = "(batch, time, channels)" if rank == 1 else "(batch, height, width, channels)"
    if isinstance(signal, list | tuple | dict):
        raise ValueError(f"Expected batches of one signal tensor {layout}. Received: {type(signal).__name__} of "
                         f"{len(signal)}. A batch is `signal`, `(signal, clean)` or `(signal, clean, sample_weight)`.")
    signal = tf.convert_to_tensor(signal)
    if signal.dtype.is_complex or not (signal.dtype.is_floating or signal.dtype.is_integer or signal.dtype.is_bool):
        raise ValueError(f"Batches must hold real numbers. Received: dtype {signal.dtype.name}")
    if signal.shape.rank not in (None, rank + 2):
        raise ValueError(f"Expected batches of signals {layout}. Received: shape {signal.shape}")
    signal = tf.cast(signal, dtype)
    target = signal if target is None else tf.cast(target, dtype)
    if weight is None:
        return signal, target, None, None
    weight = tf.cast(weight, dtype)
    if weight.shape.rank == 2 and weight.shape[1] == 1:
        weight = weight[:, 0]
    if weight.shape.rank == 1:
        return signal, target, None, weight
    return signal, target, observation_mask(weight, signal), None
