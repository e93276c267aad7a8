"""What ``fit`` and ``evaluate`` accept: arrays are checked whole, streams are looked at without losing a batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import keras
import numpy as np
from crsae_onnx.core.errors import SignalError
from crsae_onnx.core.signals import as_sigma, as_signal, is_masked, refuse_other_containers, split_masked

from keras_crsae._validation import as_sample_weight, with_observed
from keras_crsae.backend import is_dataset, tf
from keras_crsae.data.streams.batch_source import BatchSource, is_from_source
from keras_crsae.operators.convolution import code_length
from keras_crsae.problem import likelihoods
from keras_crsae.problem.likelihoods import Likelihood
from keras_crsae.problem.measurements import Identity, Mask, Measurement, observation_mask
from keras_crsae.training import counts, distribution
from keras_crsae.training.measured_inputs import as_data, as_operator, as_vectors, with_mask
from keras_crsae.typing import Tensor

#: Signals, or a dict of them and what belongs to each (``PARTS``); their targets; their weights or mask.
Arrays = tuple[Any, np.ndarray | None, np.ndarray | None]
#: Keys of a batch that is a dict: the signal, its noise level or what counts are divided by, where a code may be, the
#: number of the matrix that measured it, and, of measured data, the weight or mask.
PARTS = ("signal", "sigma", *counts.SIZE_NAMES, "support", "operator", "weight")


class Batch(NamedTuple):
    """One batch, or a replica's part of it, as tensors."""

    signal: Tensor  # (batch, *space, channels); counts are divided by their size
    target: Tensor  # of signal's shape
    observed: Tensor | None  # 0/1 of signal's shape; weights in [0, 1] where counts have sizes of their own
    weight: Tensor | None  # (batch,), weighs the losses
    count: Tensor  # signals in the batch; padding is not counted
    sigma: Tensor | None = None  # (batch,), noise standard deviation of each signal; None: the model's
    dispersion: Tensor | None = None  # (batch,), 1 / size of the signal's counts; None: the model's own
    size: Tensor | None = None  # (batch,), size of the signal's counts
    support: Tensor | None = None  # 0/1 of the code's shape: 0 where the code stays 0
    operator: Tensor | None = None  # () or (batch,), number of the matrix of a stack that measured each signal
    supervised: bool = False  # whether the target is a clean signal, not the data

    def coding(self) -> dict[str, Tensor | None]:
        """Options of the encoder for this batch."""
        given = {"sigma": self.sigma, "dispersion": self.dispersion, "support": self.support,
                 "operator": self.operator}
        return {"mask": self.observed, **{k: v for k, v in given.items() if v is not None}}

    @property
    def loss_weight(self) -> Tensor | None:
        """What weighs the signals in the reconstruction loss, (batch,): counts of a larger size weigh more."""
        if self.weight is None or self.size is None:
            return self.size if self.weight is None else self.weight
        return self.weight * self.size


class SignalLayout(NamedTuple):
    """What arrays are checked against."""

    rank: int
    channels: int | None
    kernel_size: tuple[int, ...]
    strides: tuple[int, ...] | None = None  # None: ones
    filters: int | None = None
    likelihood: Likelihood = likelihoods.get()
    measurement: Measurement = Identity()

    def code_shape(self, shape: tuple[int, ...]) -> tuple[Any, ...]:
        """(batch, *positions, filters) of the code of data of this shape."""
        strides, space = self.strides or (1,) * self.rank, self.measurement.signal_space(shape[1:-1])
        positions = (code_length(*sizes) for sizes in zip(space, self.kernel_size, strides, strict=True))
        return (shape[0], *positions, self.filters)


def is_array(x: Any) -> bool:
    """True for what Keras would cut into batches itself."""
    if isinstance(x, dict):
        return "signal" in x and is_array(x["signal"])
    return isinstance(x, np.ndarray | list) or (
        hasattr(x, "__array__") and not isinstance(x, keras.utils.PyDataset) and not is_dataset(x))


def checked_arrays(x: Any, y: Any, sample_weight: Any, layout: SignalLayout, name: str = "x",
                   finite: bool = True) -> Arrays:
    """Arrays for ``fit`` as float32, or a ValueError: signal, target (None: the signal itself), weight or mask.

    A value that is masked in a NumPy masked array, of the signal or of its target, is a missing sample.
    """
    parts = signal_parts(x, layout.likelihood, name)
    x, observed = split_masked(parts.pop("signal"))
    x = as_data(x, layout, name, finite)
    if y is not None:
        y, present = split_masked(y)
        y = as_signal(y, layout.rank, name=f"target of {name}", finite=finite)
        _check_target(y, x, layout, name)
        if present is not None:
            observed = present if observed is None else np.asarray(observed) & np.asarray(present)
    sample_weight = as_sample_weight(with_observed(sample_weight, observed, x), x)
    parts = checked_parts(parts, x, sample_weight, layout, name, finite)
    if y is not None and layout.likelihood.size_name is not None and (y < 0).any():
        raise ValueError(f"The target of `{name}` must hold expected counts, 0 or more. Received: {y.min():.6g}")
    if not layout.measurement.is_mask and sample_weight is not None:
        parts, sample_weight = {**parts, "weight": sample_weight}, None  # a target would be a clean signal
    # Keras drops sample_weight where the target is None.
    target = x if y is None and sample_weight is not None else y
    return {"signal": x, **parts} if parts else x, target, sample_weight


def _check_target(y: np.ndarray, x: np.ndarray, layout: SignalLayout, name: str) -> None:
    """ValueError where a target is no clean signal of the data ``x``."""
    measurement = layout.measurement
    channels = layout.channels or measurement.signal_channels(x.shape[-1])
    expected = (len(x), *measurement.signal_space(x.shape[1:-1]), channels)
    if y.shape != expected:
        raise ValueError(f"The target of `{name}` must have its shape {expected}: it is the clean signal. "
                         f"Received: shape {y.shape}" if measurement.is_mask else
                         f"The target of `{name}` must be the clean signals, of shape {expected}: what was measured. "
                         f"Received: shape {y.shape}")


def signal_parts(x: Any, likelihood: Likelihood, name: str = "x") -> dict[str, Any]:
    """``x`` as a dict of ``PARTS``, those that are None left out; ValueError for other keys."""
    if not isinstance(x, dict):
        return {"signal": x}
    level = likelihood.size_name or "sigma"
    expected = [key for key in PARTS if key in ("signal", level, "support")]
    if "signal" not in x or not set(x) <= set(PARTS):
        raise ValueError(f"`{name}` that is a dict must hold 'signal', and may hold others of {expected}. "
                         f"Received: {sorted(map(str, x))}")
    counts.given_size(likelihood, x.get("trials"), x.get("exposure"))
    counts.refuse_sigma(likelihood, x.get("sigma"))
    return {key: value for key, value in x.items() if value is not None}


def with_parts(x: Any, likelihood: Likelihood, trials: Any = None, exposure: Any = None, support: Any = None,
               operator: Any = None) -> Any:
    """``x`` of ``fit`` with what its options give for each signal: a dict where there are any."""
    parts = {"trials": trials, "exposure": exposure, "support": support, "operator": operator}
    parts = {key: value for key, value in parts.items() if value is not None}
    if not parts:
        return x
    counts.given_size(likelihood, trials, exposure)
    if not is_array(x):
        raise ValueError(f"{sorted(parts)} belong to arrays. A stream gives them in its batches: a dict with 'signal' "
                         f"and {sorted(parts)}, each (batch, ...), in place of the signal.")
    twice = isinstance(x, dict) and sorted(set(x) & set(parts))
    if twice:
        raise ValueError(f"{twice} are given twice: in the dict and as options. Give them once.")
    return {**(x if isinstance(x, dict) else {"signal": x}), **parts}


def checked_parts(parts: dict[str, Any], signal: np.ndarray, observed: Any, layout: SignalLayout, name: str = "x",
                  finite: bool = True, one_number: bool = False) -> dict[str, np.ndarray]:
    """What belongs to each signal, as float32 arrays of the signal's number of axes, after its checks.

    Args:
        parts: of ``signal_parts``, without the signal.
        signal: (batch, *space, channels), float32; counts are checked here.
        observed: None, or 0/1 of the signal's shape, or weights (batch,), which say nothing of samples.
        layout: of the model.
        name: of the signal, for messages.
        finite: False: values that are not finite are left to training, which omits their batches.
        one_number: whether ``operator`` may stay one number for all.
    """
    likelihood, found = layout.likelihood, {}
    if likelihood.size_name is not None:
        size = parts.get(likelihood.size_name)
        if size is not None:
            found[likelihood.size_name] = size = counts.as_call_size(likelihood, size, signal.shape)
        observed = observed if observed is not None and np.ndim(observed) == signal.ndim else None
        if not finite:
            observed = np.isfinite(signal) if observed is None else np.isfinite(signal) & (observed > 0)
        likelihood.check_counts(signal, size, name, observed)
    if "sigma" in parts:
        found["sigma"] = np.broadcast_to(as_sigma(parts["sigma"], len(signal)), (len(signal),))
    if "support" in parts:
        found["support"] = as_support(parts["support"], layout.code_shape(signal.shape))
    operator = as_operator(parts.get("operator"), layout.measurement, len(signal))
    if operator is not None:
        found["operator"] = operator if one_number else np.broadcast_to(operator, (len(signal),))
    return found


def as_support(support: Any, shape: tuple[Any, ...]) -> np.ndarray:
    """Where a code may be non-zero, 0/1 float32 of as many axes as the code, its first one the batch.

    Args:
        support: 0/1 or bool of the code's shape, with 1 where it is the same on an axis, or without the filters.
        shape: of the code, (batch, *positions, filters).

    Raises:
        ValueError: another shape or other values.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.training.inputs import as_support
        >>> as_support(np.ones((2, 92)), (2, 92, 3)).shape
        (2, 92, 1)
    """
    refuse_other_containers(support, "support")
    array = np.asarray(support)
    if array.ndim == len(shape) - 1:
        array = array[..., None]
    if array.ndim != len(shape) or any(m != 1 and n is not None and m != n for m, n in
                                       zip(array.shape, shape, strict=True)):
        shown = tuple("filters" if n is None else n for n in shape)
        raise ValueError(f"`support` must have the code's shape {shown}, or that without the filters: 1 where an event "
                         f"may start. Received: shape {array.shape}")
    if array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
        raise ValueError(f"`support` must hold 0 and 1 alone: 1 where an event may start. Received: dtype "
                         f"{array.dtype}")
    return np.broadcast_to(array.astype(np.float32), (shape[0], *array.shape[1:]))


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
    count = length(x)
    first = int(count * (1.0 - fraction)) if 0 < fraction < 1 else 0
    if not 0 < first < count:
        raise ValueError(f"`validation_split` must leave at least one of {count} signals on each side. Received: "
                         f"{fraction!r}")

    def part(where: slice) -> Arrays:
        return tuple(select(a, where) for a in (x, y, weight))

    return part(slice(first)), part(slice(first, None))


def length(x: Any) -> int:
    """Number of signals of an array, or of a dict of arrays."""
    return len(x["signal"] if isinstance(x, dict) else x)


def select(x: Any, where: slice) -> Any:
    """Some signals of an array, or of a dict of arrays; None stays None."""
    if isinstance(x, dict):
        return {key: value[where] for key, value in x.items()}
    return None if x is None else x[where]


def finite_signals(signal: Tensor, *others: Tensor | None) -> tuple[Tensor | None, ...]:
    """The signals of a batch without NaN and infinite values, and what belongs to them: mask, sizes."""
    good = tf.reduce_all(tf.math.is_finite(signal), axis=list(range(1, len(signal.shape))))
    return tuple(None if a is None else tf.boolean_mask(a, good) for a in (signal, *others))


def as_stream(x: Any) -> Any:
    """What Keras takes: one-shot iterators become generators of tuples, arrays, datasets and PyDatasets pass."""
    if is_array(x):
        return x
    refuse_other_containers(x, "x")
    if isinstance(x, keras.utils.PyDataset | BatchSource) or is_dataset(x) or iter(x) is not x:
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
    if is_dataset(x) and is_from_source(x):
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


def replica_batch(data: Any, rank: int, dtype: str, likelihood: Likelihood | str = "gaussian",
                  measurement: Measurement | None = None) -> Batch:
    """``unpack`` of a replica's part of a batch.

    The last batch of an epoch may leave a replica without any. It then works on a signal of zeros whose weight is zero:
    convolutions of nothing fail in places.
    """
    batch = unpack(data, rank, dtype, likelihood, measurement)
    if not distribution.several():
        return batch
    weight = tf.ones([batch.count], dtype) if batch.weight is None else batch.weight
    missing = tf.maximum(1 - batch.count, 0)

    def pad(a: Tensor | None, value: float = 0.0) -> Tensor | None:
        return None if a is None else tf.pad(a, [(0, missing)] + [(0, 0)] * (len(a.shape) - 1), constant_values=value)

    signal, target, observed, weight, sigma, support = (
        pad(a) for a in (batch.signal, batch.target, batch.observed, weight, batch.sigma, batch.support))
    operator = batch.operator if batch.operator is None or not batch.operator.shape.rank else pad(batch.operator, 0)
    return Batch(signal, target, observed, weight, batch.count, sigma, pad(batch.dispersion, 1.0),
                 pad(batch.size, 1.0), support, operator, batch.supervised)


def is_levelled(signal: Any) -> bool:
    """Whether a batch says its signals' noise levels, as {"signal": signal, "sigma": sigma (batch,)}."""
    return isinstance(signal, dict) and set(signal) == {"signal", "sigma"}


def unpack(data: Any, rank: int, dtype: str, likelihood: Likelihood | str = "gaussian",
           measurement: Measurement | None = None) -> Batch:
    """One batch of Keras' forms as tensors, counts divided by their size, or a ValueError."""
    likelihood = likelihoods.get(likelihood)
    batch, size = raw_batch(data, rank, dtype, likelihood, measurement)
    if isinstance(measurement, Mask):
        batch = batch._replace(observed=with_mask(measurement, batch.observed, batch.signal))
    if likelihood.size_name is None:
        return batch
    means = counts.as_means(likelihood, batch.signal, size, batch.observed)
    target = means.signal if batch.target is batch.signal else \
        counts.divided(likelihood, batch.target, size, batch.observed)
    return batch._replace(signal=means.signal, target=target, observed=means.observed, dispersion=means.dispersion,
                          size=means.size)


def raw_batch(data: Any, rank: int, dtype: str, likelihood: Likelihood,
              measurement: Measurement | None = None) -> tuple[Batch, Tensor | None]:
    """One batch of Keras' forms as tensors, counts as they are, and the size of the counts where the batch has it."""
    signal, target, weight = keras.utils.unpack_x_y_sample_weight(data)
    parts = signal_parts(signal, likelihood, "batch") if isinstance(signal, dict) and "signal" in signal else {}
    signal = parts.get("signal", signal)
    _as_batch((signal, target, weight))
    layout = "(batch, time, channels)" if rank == 1 else "(batch, height, width, channels)"
    if isinstance(signal, list | tuple | dict):
        raise ValueError(f"Expected batches of one signal tensor {layout}. Received: {type(signal).__name__} of "
                         f"{len(signal)}. A batch is `signal`, `(signal, clean)` or `(signal, clean, sample_weight)`; "
                         "with a noise level of each signal, {'signal': signal, 'sigma': sigma} in place of `signal`.")
    signal = tf.convert_to_tensor(signal)
    if signal.dtype.is_complex or not (signal.dtype.is_floating or signal.dtype.is_integer or signal.dtype.is_bool):
        raise ValueError(f"Batches must hold real numbers. Received: dtype {signal.dtype.name}")
    if signal.shape.rank == 2 and measurement is not None:
        signal = as_vectors(signal, measurement, rank)
    if signal.shape.rank not in (None, rank + 2):
        raise ValueError(f"Expected batches of signals {layout}. Received: shape {signal.shape}")
    signal = tf.cast(signal, dtype)
    target, count = signal if target is None else tf.cast(target, dtype), tf.shape(signal)[0]
    size, sigma, support = (None if parts.get(key) is None else tf.cast(parts[key], dtype) for key in
                            (str(likelihood.size_name), "sigma", "support"))
    operator = None if parts.get("operator") is None else tf.cast(parts["operator"], "int32")
    if operator is not None and operator.shape.rank == 2:
        operator = operator[:, 0]
    batch = Batch(signal, target, None, None, count, sigma, None, None, support, operator, target is not signal)
    weight = parts.get("weight") if weight is None else weight
    if weight is None:
        return batch, size
    weight = tf.cast(weight, dtype)
    if weight.shape.rank == 2 and weight.shape[1] == 1:
        weight = weight[:, 0]
    if weight.shape.rank == 1:
        return batch._replace(weight=weight), size
    return batch._replace(observed=observation_mask(weight, signal)), size
