"""Signals (batch, *space, channels): layout, finite values, noise level (NumPy)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from crsae_onnx.core.errors import SignalError, one_line
from crsae_onnx.core.layout_hints import recording_hint, signal_hint

#: Median of |x| for x ~ N(0, 1).
_NORMAL_MAD = 0.6745
#: Axes of space, by rank.
_SPACE = {1: "time", 2: "height, width"}
#: Real types of TensorFlow and JAX that NumPy does not count among its own floats.
_SMALL_FLOATS = ("bfloat16", "float8_e4m3fn", "float8_e5m2")


def robust_std(values: Any, axis: int | tuple[int, ...] | None = None, center: Any = None) -> Any:
    """Standard deviation of normal noise that outliers hardly change: median |x - median x| / 0.6745.

    The median absolute deviation (MAD) of N(0, sigma^2) is 0.6745 sigma.

    Args:
        values: array.
        axis: axes of the medians; None: all.
        center: what is subtracted; None: the median over ``axis``.

    Returns:
        The values' dtype (floats), without ``axis``.

    Example:
        >>> from crsae_onnx.core.signals import robust_std
        >>> round(float(robust_std([-1.0, 0.0, 1.0, 1000.0])), 3)
        1.483
    """
    refuse_other_containers(values, "values")
    values = np.asarray(values)
    middle = np.median(values, axis=axis, keepdims=True) if center is None else center
    return np.median(np.abs(values - middle), axis=axis) / _NORMAL_MAD


def layout_text(rank: int, channels: int | None = None) -> str:
    """The axes of a signal as messages show them: "(batch, time, 2 channels)"."""
    return f"(batch, {_SPACE[rank]}, {'' if channels is None else f'{channels} '}channels)"


class ConvertedArray:
    """An array of which every piece that is read is converted; nothing is read before.

    Args:
        values: array, or any object with ``shape`` and ``__getitem__``.
        convert: function of a piece.
        dtype: of what ``convert`` returns.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.signals import ConvertedArray
        >>> view = ConvertedArray(np.zeros((100, 2)), np.isfinite, "bool")
        >>> view.shape, view[:3].dtype.name
        ((100, 2), 'bool')
    """

    def __init__(self, values: Any, convert: Callable[[Any], np.ndarray], dtype: Any) -> None:
        self.values, self.convert, self.dtype = values, convert, np.dtype(dtype)
        self.shape = tuple(values.shape)
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        return self.convert(self.values[index])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[...], dtype)


def is_masked(values: Any) -> bool:
    """Whether ``values`` is a NumPy masked array with a masked value, or a list that holds one."""
    items: Any = values
    parts: tuple[Any, ...] = tuple(items) if isinstance(values, list | tuple) else (items,)
    masked: type[Any] = np.ma.MaskedArray
    return any(isinstance(part, masked) and bool(np.ma.is_masked(part)) for part in parts)


def split_masked(values: Any) -> tuple[Any, Any]:
    """A NumPy masked array as its values, zero where they are masked, and a mask that is False there.

    Both are read piece by piece (``ConvertedArray``), so that a masked memory map stays on the disk;
    ``numpy.asarray`` gives them whole. What is not masked comes back as it is, with None.

    Args:
        values: anything; a list of masked arrays of one shape counts as one array.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.signals import split_masked
        >>> filled, observed = split_masked(np.ma.masked_equal([[1, -1, 3]], -1))
        >>> np.asarray(filled).tolist(), np.asarray(observed).tolist()
        ([[1, 0, 3]], [[True, False, True]])
        >>> split_masked([1.0, 2.0])
        ([1.0, 2.0], None)
    """
    if not is_masked(values):
        return values, None
    parts: Any = values
    array: Any = np.ma.stack(parts) if isinstance(values, list | tuple) else values
    return (ConvertedArray(array, lambda piece: np.ma.filled(piece, 0), array.dtype),
            ConvertedArray(array, lambda piece: ~np.ma.getmaskarray(piece), bool))


def with_own_mask(signal: Any, mask: Any = None) -> tuple[Any, Any]:
    """A signal without the mask of its own that a NumPy masked array has, and that mask times ``mask``.

    Args:
        signal: (batch, *space, channels), of any kind.
        mask: None, or 0/1 of its shape, or without the channels: the observed samples.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.signals import with_own_mask
        >>> signal = np.ma.masked_equal([[[1.0], [2.0], [-1.0]]], -1.0)
        >>> np.ravel(with_own_mask(signal, np.array([[0, 1, 1]]))[1]).tolist()
        [0, 1, 0]
    """
    signal, observed = split_masked(signal)
    if observed is None or mask is None:
        return signal, mask if observed is None else observed
    refuse_other_containers(mask, "mask")
    given = np.asarray(mask)
    return signal, np.asarray(observed) * (given[..., None] if given.ndim == observed.ndim - 1 else given)


def refuse_other_containers(values: Any, name: str = "signal") -> None:
    """SignalError for a container that would lose part of what it says: masked, sparse or ragged arrays.

    Args:
        values: anything.
        name: for the message.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.signals import refuse_other_containers
        >>> refuse_other_containers(np.zeros(3))
    """
    if is_masked(values):
        raise SignalError(f"`{name}` is a masked array with masked values, and there is no mask for it here: they "
                          f"would count as data. Fill them, for example numpy.ma.filled({name}, 0.0).")
    if hasattr(values, "toarray") and hasattr(values, "nnz"):
        raise SignalError(f"`{name}` must be an array. Received: a sparse {type(values).__name__}. Give its values, "
                          f"{name}.toarray().")
    if hasattr(values, "row_splits") and hasattr(values, "flat_values"):
        raise SignalError(f"`{name}` must be one regular array. Received: {type(values).__name__}, whose parts have "
                          f"lengths of their own. Pad them, {name}.to_tensor(), and mark the padding with a 0/1 mask.")


def check_layout(signal: Any, rank: int, kernel_size: Sequence[int] | None = None, channels: int | None = None,
                 name: str = "signal", original: Any = None) -> None:
    """Check the type and the shape of a signal; its values are not read.

    Args:
        signal: an array, memory map, HDF5 or Zarr dataset, or any object with ``shape`` and ``__getitem__``.
        rank: axes of space: 1 signals, 2 images.
        kernel_size: None, or the filters' sizes, one an axis of space, which the signal must not be shorter than.
        channels: None, or the size of the last axis.
        name: for the message.
        original: None, or what the caller gave in place of ``signal``, such as a list.

    Raises:
        SignalError: not real, other axes than (batch, *space, channels), empty, or shorter than the kernel.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.signals import check_layout
        >>> check_layout(np.zeros((1, 100, 2)), rank=1, kernel_size=(45,), channels=2)
    """
    refuse_other_containers(signal, name)
    layout = layout_text(rank)
    shape, dtype = getattr(signal, "shape", None), getattr(signal, "dtype", None)
    if shape is None or not hasattr(signal, "__getitem__"):
        raise SignalError(f"`{name}` must be an array {layout}, or an object with `shape` and `__getitem__`. "
                          f"Received: {type(signal).__name__}.")
    shape = tuple(shape)
    if dtype is not None and not _is_real(dtype):
        raise SignalError(f"`{name}` must hold real numbers in one regular array {layout}. Received: dtype {dtype}, "
                          f"shape {shape}. Take its real part or convert it first.")
    hint = partial(signal_hint, signal, rank, channels=channels, name=name, original=original)
    if len(shape) != rank + 2:
        mend = hint(kernel_size=kernel_size) or hint(kernel_size=None)
        if not mend and len(shape) > rank + 2:
            mend = "Give one array of signals, not several."
        mend += " For images use rank=2." if rank == 1 and len(shape) == 4 else ""
        raise SignalError(f"`{name}` must have shape {layout_text(rank, channels)}. Received: shape {shape}. "
                          f"{mend}".rstrip())
    if 0 in shape:
        raise SignalError(f"`{name}` is empty: shape {shape}. Expected at least one sample in {layout}.")
    if channels is not None and shape[-1] != channels:
        raise SignalError(f"`{name}` must have shape {layout_text(rank, channels)}. Received: shape {shape}. "
                          f"{hint(kernel_size=kernel_size)}".rstrip())
    if kernel_size is not None and any(n < k for n, k in zip(shape[1:-1], kernel_size, strict=True)):
        mend = hint(kernel_size=kernel_size) or "Use longer signals or a smaller kernel_size."
        raise SignalError(f"`{name}` is shorter than the kernel: shape {shape} against kernel size "
                          f"{tuple(kernel_size)}. {mend}")


def _is_real(dtype: Any) -> bool:
    return str(dtype) in _SMALL_FLOATS or np.dtype(dtype).kind in "fiub"


def as_float32(values: Any, name: str = "signal", rank: int | None = None) -> np.ndarray:
    """``values`` as a contiguous float32 array; real types alone are taken.

    Raises:
        SignalError: parts of different shapes, complex numbers, texts, objects.
    """
    refuse_other_containers(values, name)
    layout = "" if rank is None else f" {layout_text(rank)}"
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise SignalError(f"`{name}` must be one regular array{layout}. Received: {type(values).__name__} whose parts "
                          "have different shapes. Cut or pad them to one length.") from error
    except (TypeError, RuntimeError) as error:  # tensors of other libraries say so where NumPy cannot read them
        raise SignalError(f"`{name}` must be one regular array{layout}. Received: {type(values).__name__}, which NumPy "
                          f"cannot read ({one_line(error)}).") from error
    if not _is_real(array.dtype):
        raise SignalError(f"`{name}` must hold real numbers in one regular array{layout}. Received: dtype "
                          f"{array.dtype}, shape {array.shape}. Take its real part or convert it first.")
    with np.errstate(over="ignore", invalid="ignore"):  # a float64 too large for float32 becomes infinite
        return np.asarray(array, np.float32)


def as_finite(piece: Any, first_sample: int = 0, name: str = "signal") -> np.ndarray:
    """``piece`` as a contiguous float32 array of finite values.

    Args:
        piece: real array (batch, *space, channels).
        first_sample: index of its first sample in the whole signal, for the message.
        name: for the message.

    Raises:
        SignalError: NaN or infinite values, as float32; the first one's index is named.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.signals import as_finite
        >>> as_finite(np.zeros((1, 3, 1), "int16")).dtype.name
        'float32'
    """
    piece = np.ascontiguousarray(as_float32(piece, name))
    with np.errstate(over="ignore", invalid="ignore"):
        # The sum is finite when every value is (float32 values cannot overflow it), and reads memory once.
        total = float(np.sum(piece, dtype=np.float64))
    if not math.isfinite(total):
        bad = np.argwhere(~np.isfinite(piece))
        first = [int(i) for i in bad[0]]
        first[1] += first_sample
        raise SignalError(f"`{name}` holds {len(bad)} NaN or infinite values of {piece.size} (as float32), the first "
                          f"at index {tuple(first)} (batch, *space, channel). Remove or fill them, and mark them as "
                          "missing with a 0/1 mask.")
    return piece


def as_signal(data: Any, rank: int, channels: int | None = None, kernel_size: Sequence[int] | None = None,
              name: str = "data", finite: bool = True) -> np.ndarray:
    """``data`` as a float32 array (batch, *space, channels).

    Args:
        data: array-like of real numbers.
        rank, channels, kernel_size, name: see ``check_layout``.
        finite: False lets NaN and infinite values pass.

    Raises:
        SignalError: see ``check_layout`` and ``as_finite``.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.signals import as_signal
        >>> as_signal(np.ones((1, 3, 1), "int16"), rank=1).dtype.name
        'float32'
    """
    array = as_float32(data, name, rank)
    check_layout(array, rank, kernel_size, channels, name, data)
    return as_finite(array, name=name) if finite else array


def as_sigma(sigma: Any, batch: int) -> np.ndarray:
    """A noise standard deviation as float32, () or (batch,).

    Raises:
        SignalError: not a positive number, or not one for each batch entry.
    """
    try:
        array = np.asarray(sigma, np.float32)
    except (TypeError, ValueError):
        array = np.full(1 + batch, np.nan)  # refused below by its shape
    if array.shape not in ((), (batch,)) or not np.isfinite(array).all() or not (array > 0).all():
        raise SignalError(f"`sigma` must be a positive number or one a batch entry ({batch}). "
                          f"Received: sigma={sigma!r}")
    return array


def check_recording(recording: Any, channels: int | None = None, shortest: int = 1, name: str = "recording") -> None:
    """Check the shape of a recording (samples, channels); its values are not read.

    Args:
        recording: an array, or any object with ``shape``.
        channels: None, or the size of the last axis.
        shortest: samples that it must hold.
        name: for the message.

    Raises:
        SignalError: other axes, another number of channels, too few samples, a masked or sparse array.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.signals import check_recording
        >>> check_recording(np.zeros((1000, 4)), channels=4)
    """
    refuse_other_containers(recording, name)
    shape = tuple(getattr(recording, "shape", ()))
    expected = f"(samples, {'' if channels is None else f'{channels} '}channels)"
    if len(shape) != 2 or (channels is not None and shape[1] != channels):
        hint = recording_hint(recording, channels, shortest, name)
        raise SignalError(f"`{name}` must have shape {expected}. Received: shape {shape}.{hint and ' '}{hint}")
    if shape[0] < shortest:
        raise SignalError(f"`{name}` has {shape[0]} samples. Expected at least {shortest}.")
