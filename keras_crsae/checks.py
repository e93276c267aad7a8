"""Checks at the door: data that no layer should see is refused before work starts."""

import numpy as np


def as_signal(data, rank, channels=None, kernel_size=None, name="data"):
    """``data`` as a float32 array (batch, *space, channels), or a ValueError that says what to mend."""
    array = np.asarray(data)
    layout = "(batch, time, channels)" if rank == 1 else "(batch, height, width, channels)"
    if array.dtype == object or array.dtype.kind not in "fiub":
        raise ValueError(f"`{name}` must hold real numbers in one regular array {layout}. "
                         f"Received: dtype {array.dtype}, shape {array.shape}. Take its real part or convert it first.")
    if array.ndim != rank + 2:
        raise ValueError(f"`{name}` must have shape {layout}. Received: shape {array.shape}. "
                         "Add the missing axes, for example `data[None, ..., None]`.")
    if array.size == 0:
        raise ValueError(f"`{name}` is empty: shape {array.shape}. Expected at least one sample in {layout}.")
    if channels is not None and array.shape[-1] != channels:
        raise ValueError(f"`{name}` must have {channels} channels on its last axis. Received: shape {array.shape}.")
    if kernel_size is not None and any(n < k for n, k in zip(array.shape[1:-1], kernel_size, strict=True)):
        raise ValueError(f"`{name}` is shorter than the kernel: shape {array.shape} against kernel_size={kernel_size}. "
                         "Use longer signals or a smaller kernel_size.")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        bad = int(np.size(array) - np.isfinite(array).sum())
        raise ValueError(f"`{name}` holds {bad} NaN or infinite values of {array.size} (as float32). "
                         "Remove or fill them, and mark them as missing with a 0/1 mask.")
    return array
