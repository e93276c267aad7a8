"""What ``fit`` and ``evaluate`` accept: arrays are checked whole, streams are looked at without losing a batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from crsae_onnx.core.errors import SignalError
from crsae_onnx.core.signals import as_signal, is_masked, refuse_other_containers, split_masked

from keras_crsae._validation import as_sample_weight, with_observed
from keras_crsae.data.streams.batch_source import BatchSource, is_from_source
from keras_crsae.problem.measurements import observation_mask
from keras_crsae.training import distribution
from keras_crsae.typing import Tensor

#: Signals, their targets, and their weights or mask.
Arrays = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]


class Batch(NamedTuple):
    """One batch, or a replica's part of it, as tensors."""

    signal: Tensor  # (batch, *space, channels)
    target: Tensor  # of signal's shape
    observed: Tensor | None  # 0/1 of signal's shape
    weight: Tensor | None  # (batch,), weighs the losses
    count: Tensor  # signals in the batch; padding is not counted
    sigma: Tensor | None = None  # (batch,), noise standard deviation of each signal; None: the model's


class SignalLayout(NamedTuple):
    """What arrays are checked against."""

    rank: int
    channels: int | None
    kernel_size: tuple[int, ...]


def is_array(x: Any) -> bool:
    """True for what Keras would cut into batches itself."""
    return isinstance(x, np.ndarray | list | tf.Tensor | tf.Variable) or (
        hasattr(x, "__array__") and not isinstance(x, keras.utils.PyDataset | tf.data.Dataset))


def checked_arrays(x: Any, y: Any, sample_weight: Any, layout: SignalLayout, name: str = "x",
                   finite: bool = True) -> Arrays:
    """Arrays for ``fit`` as float32, or a ValueError: signal, target (None: the signal itself), weight or mask.

    A value that is masked in a NumPy masked array, of the signal or of its target, is a missing sample.
    """
    x, observed = split_masked(x)
    x = as_signal(x, layout.rank, layout.channels, layout.kernel_size, name, finite)
    if y is not None:
        y, present = split_masked(y)
        y = as_signal(y, layout.rank, name=f"target of {name}", finite=finite)
        if y.shape != x.shape:
            raise ValueError(f"The target of `{name}` must have its shape {x.shape}: it is the clean signal. "
                             f"Received: shape {y.shape}")
        if present is not None:
            observed = present if observed is None else np.asarray(observed) & np.asarray(present)
    sample_weight = as_sample_weight(with_observed(sample_weight, observed, x), x)
    # Keras drops sample_weight where the target is None.
    return x, x if y is None and sample_weight is not None else y, sample_weight


def checked_validation(data: Any, layout: SignalLayout) -> Any:
    """``validation_data`` with its arrays checked; datasets pass."""
    data = unshuffled(data)
    if data is None or not is_array(data) and not isinstance(data, tuple):
        return data
    x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
    if not is_array(x):
        return data
    return checked_arrays(x, y, weight, layout, name="validation_data")


def unshuffled(x: Any) -> Any:
    """The batches of a ``BatchSource`` in its own order, for evaluation; all else as it is."""
    return replace(x, shuffle=False).dataset() if isinstance(x, BatchSource) else x


def split_off(arrays: Arrays, fraction: float) -> tuple[Arrays, Arrays | None]:
    """Arrays without their last ``fraction``, and that part (None where it is 0), as Keras' ``validation_split``."""
    if not fraction:
        return arrays, None
    x, y, weight = arrays
    count = len(x)
    first = int(count * (1.0 - fraction)) if 0 < fraction < 1 else 0
    if not 0 < first < count:
        raise ValueError(f"`validation_split` must leave at least one of {count} signals on each side. Received: "
                         f"{fraction!r}")

    def part(where: slice) -> Arrays:
        return x[where], None if y is None else y[where], None if weight is None else weight[where]

    return part(slice(first)), part(slice(first, None))


def finite_signals(signal: Tensor, observed: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The signals of a batch without NaN and infinite values, and their mask."""
    good = tf.reduce_all(tf.math.is_finite(signal), axis=list(range(1, len(signal.shape))))
    return tf.boolean_mask(signal, good), None if observed is None else tf.boolean_mask(observed, good)


def as_stream(x: Any) -> Any:
    """What Keras takes: one-shot iterators become generators of tuples, arrays, datasets and PyDatasets pass."""
    if is_array(x):
        return x
    refuse_other_containers(x, "x")
    if isinstance(x, keras.utils.PyDataset | tf.data.Dataset | BatchSource) or iter(x) is not x:
        return x
    return (_as_batch(batch) for batch in x)


def _as_batch(batch: Any) -> tuple[Any, ...]:
    """A batch of a generator as a tuple; masked arrays, whose masks TensorFlow drops, are refused."""
    batch = batch if isinstance(batch, tuple) else (batch,)
    for part in batch:
        if is_masked(part):
            raise SignalError("A batch holds a masked array with masked values, whose mask is lost on the way to "
                              "TensorFlow. Give (signal, signal, mask): masked values filled, mask 0 there, else 1.")
    return batch


def check_order(x: Any) -> None:
    """ValueError for a dataset that a ``BatchSource`` made: it would give every epoch the same order."""
    if isinstance(x, tf.data.Dataset) and is_from_source(x):
        raise ValueError(
            "`x` is a tf.data.Dataset that was made from a batch source (window_batches, record_batches, "
            "image_batches): its batches would come in the same order, with the same crops, in every epoch. Give `fit` "
            "the source itself; to change its batches use `source.map(function)` instead of `dataset.map`.")


def first_batch(x: Any) -> tuple[Any, Any]:
    """First batch of a stream, and a stream that still begins with it."""
    if isinstance(x, keras.utils.PyDataset):
        return x[0], x
    iterator: Iterator[Any] = iter(x)
    try:
        first = next(iterator)
    except StopIteration:
        raise ValueError("The training data is empty: it gave no batch. Expected at least one.") from None
    if iterator is not x:
        return first, x
    return first, (batch for batch in itertools.chain([first], iterator))


def replica_batch(data: Any, rank: int, dtype: str) -> Batch:
    """``unpack`` of a replica's part of a batch.

    The last batch of an epoch may leave a replica without any. It then works on a signal of zeros whose weight is zero:
    convolutions of nothing fail in places.
    """
    batch = unpack(data, rank, dtype)
    if not distribution.several():
        return batch
    weight = tf.ones([batch.count], dtype) if batch.weight is None else batch.weight
    missing = tf.maximum(1 - batch.count, 0)
    signal, target, observed, weight, sigma = (
        None if a is None else tf.pad(a, [(0, missing)] + [(0, 0)] * (len(a.shape) - 1))
        for a in (batch.signal, batch.target, batch.observed, weight, batch.sigma))
    return Batch(signal, target, observed, weight, batch.count, sigma)


def is_levelled(signal: Any) -> bool:
    """Whether a batch says its signals' noise levels, as {"signal": signal, "sigma": sigma (batch,)}."""
    return isinstance(signal, dict) and set(signal) == {"signal", "sigma"}


def unpack(data: Any, rank: int, dtype: str) -> Batch:
    """One batch of Keras' forms as tensors, or a ValueError."""
    signal, target, weight = keras.utils.unpack_x_y_sample_weight(data)
    signal, sigma = (signal["signal"], tf.cast(signal["sigma"], dtype)) if is_levelled(signal) else (signal, None)
    _as_batch((signal, target, weight))
    layout = "(batch, time, channels)" if rank == 1 else "(batch, height, width, channels)"
    if isinstance(signal, list | tuple | dict):
        raise ValueError(f"Expected batches of one signal tensor {layout}. Received: {type(signal).__name__} of "
                         f"{len(signal)}. A batch is `signal`, `(signal, clean)` or `(signal, clean, sample_weight)`; "
                         "with a noise level of each signal, {'signal': signal, 'sigma': sigma} in place of `signal`.")
    signal = tf.convert_to_tensor(signal)
    if signal.dtype.is_complex or not (signal.dtype.is_floating or signal.dtype.is_integer or signal.dtype.is_bool):
        raise ValueError(f"Batches must hold real numbers. Received: dtype {signal.dtype.name}")
    if signal.shape.rank not in (None, rank + 2):
        raise ValueError(f"Expected batches of signals {layout}. Received: shape {signal.shape}")
    signal = tf.cast(signal, dtype)
    target, count = signal if target is None else tf.cast(target, dtype), tf.shape(signal)[0]
    if weight is None:
        return Batch(signal, target, None, None, count, sigma)
    weight = tf.cast(weight, dtype)
    if weight.shape.rank == 2 and weight.shape[1] == 1:
        weight = weight[:, 0]
    if weight.shape.rank == 1:
        return Batch(signal, target, None, weight, count, sigma)
    return Batch(signal, target, observation_mask(weight, signal), None, count, sigma)
