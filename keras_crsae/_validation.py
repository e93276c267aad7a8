"""Checks at the door: what no layer should see is refused before work starts."""

import operator

import numpy as np


def as_whole(value, name):
    """``value`` as a positive Python int (NumPy integers too), or a ValueError."""
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if isinstance(value, bool | np.bool_) or number < 1:
        raise ValueError(f"`{name}` must be a positive int. Received: {name}={value!r}")
    return number


def as_sizes(value, rank, name):
    """A positive int, or ``rank`` of them, as a tuple of ``rank`` ints."""
    values = tuple(value) if isinstance(value, tuple | list | np.ndarray) and np.ndim(value) else (value,) * rank
    if len(values) != rank:
        raise ValueError(f"`{name}` must be a positive int or {rank} of them. Received: {name}={value!r}")
    return tuple(as_whole(v, name) for v in values)


def as_positive(value, name):
    """``value`` as a positive finite float, or a ValueError."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if isinstance(value, str | bool) or not 0 < number < float("inf"):
        raise ValueError(f"`{name}` must be a positive finite number. Received: {name}={value!r}")
    return number


def as_lambda(value, filters, shared):
    """First lambda as "donoho", a float or a list of ``filters`` floats, or a ValueError."""
    if isinstance(value, str) and value == "donoho":
        return value
    expected = "'donoho', a positive number or one a filter"
    try:
        values = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        values = np.asarray(-1.0)
    if values.ndim > 1 or not (np.isfinite(values) & (values > 0)).all() or (
            values.ndim and len(values) not in (1, filters)):
        raise ValueError(f"`lambda_init` must be {expected}. Received: lambda_init={value!r} with filters={filters}")
    if shared and values.ndim:
        if (values != values[0]).any():
            raise ValueError("lambda_shared=True has one lambda for all filters, and `lambda_init` gives several. "
                             f"Give one number or lambda_shared=False. Received: lambda_init={value!r}")
        values = values[0]
    return values.tolist()


def as_signal(data, rank, channels=None, kernel_size=None, name="data", finite=True):
    """``data`` as a float32 array (batch, *space, channels), or a ValueError that says what to mend.

    ``finite=False`` lets NaN and infinite values pass.
    """
    layout = "(batch, time, channels)" if rank == 1 else "(batch, height, width, channels)"
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ValueError(f"`{name}` must be one regular array {layout}. Received: {type(data).__name__} whose parts "
                         "have different shapes. Cut or pad them to one length.") from error
    if array.dtype.name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        array = array.astype(np.float32)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"`{name}` must hold real numbers in one regular array {layout}. "
                         f"Received: dtype {array.dtype}, shape {array.shape}. Take its real part or convert it first.")
    if array.ndim != rank + 2:
        hint = "Add the missing axes, for example `data[None, ..., None]`." if array.ndim < rank + 2 else \
            "Give one array of signals, not several." + (" For images use rank=2." if rank == 1 else "")
        raise ValueError(f"`{name}` must have shape {layout}. Received: shape {array.shape}. {hint}")
    if array.size == 0:
        raise ValueError(f"`{name}` is empty: shape {array.shape}. Expected at least one sample in {layout}.")
    if channels is not None and array.shape[-1] != channels:
        raise ValueError(f"`{name}` must have {channels} channels on its last axis. Received: shape {array.shape}.")
    if kernel_size is not None and any(n < k for n, k in zip(array.shape[1:-1], kernel_size, strict=True)):
        raise ValueError(f"`{name}` is shorter than the kernel: shape {array.shape} against kernel_size={kernel_size}. "
                         "Use longer signals or a smaller kernel_size.")
    with np.errstate(over="ignore"):  # a float64 too large for float32 becomes infinite and is reported below
        array = array.astype(np.float32, copy=False)
    if finite and not np.isfinite(array).all():
        bad = int(np.size(array) - np.isfinite(array).sum())
        raise ValueError(f"`{name}` holds {bad} NaN or infinite values of {array.size} (as float32). "
                         "Remove or fill them, and mark them as missing with a 0/1 mask.")
    return array


def as_sample_weight(weight, signal, name="sample_weight"):
    """``sample_weight`` of ``signal`` (batch, *space, channels), checked, as float32, or None.

    Returns:
        (batch,): weights of the losses; or of signal's rank: a 0/1 mask of observed samples.

    Raises:
        ValueError: another shape, NaN, negative weights, a mask with other values than 0 and 1, nothing observed.
    """
    if weight is None:
        return None
    weight = np.asarray(weight)
    batch = signal.shape[0]
    if weight.dtype.kind not in "fiub" or not np.isfinite(weight.astype(np.float32)).all():
        raise ValueError(f"`{name}` must hold finite real numbers. Received: dtype {weight.dtype}")
    weight = weight.astype(np.float32)
    if weight.shape == (batch, 1):
        weight = weight[:, 0]
    if weight.shape == signal.shape[:-1]:
        weight = weight[..., None]
    if weight.shape == (batch,):
        if (weight < 0).any() or not weight.any():
            raise ValueError(f"`{name}` of shape (batch,) must be non-negative, with at least one positive weight.")
        return weight
    if weight.ndim != signal.ndim or any(w not in (1, n) for w, n in zip(weight.shape, signal.shape, strict=True)) \
            or weight.shape[0] != batch:
        raise ValueError(f"`{name}` must be a 0/1 mask of the data's shape {signal.shape}, or weights of shape "
                         f"({batch},). Received: shape {weight.shape}")
    if not np.isin(weight, (0.0, 1.0)).all():
        raise ValueError(f"`{name}` of the data's shape is a mask of observed samples: 0 or 1. "
                         f"Received values from {weight.min():.6g} to {weight.max():.6g}")
    if not weight.any():
        raise ValueError(f"`{name}` marks every sample as missing. Mark observed samples with 1.")
    return weight
