"""Arguments of an encoder as arrays: signals, masks."""

from __future__ import annotations

from typing import Any

import numpy as np

from crsae_onnx.core.errors import SignalError


def as_array(value: Any, name: str) -> Any:
    """``value`` itself where it has a shape, else as an array."""
    if hasattr(value, "shape"):
        return value
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:
        raise SignalError(f"`{name}` must be an array of real numbers. Received: {type(value).__name__}, whose rows "
                          f"have different lengths or hold no numbers ({error}).") from error


def spread_mask(mask: Any, shape: tuple[int, ...]) -> Any:
    """A view of ``mask`` with the signal's shape; without the channel axis it holds for every channel."""
    if tuple(mask.shape) == shape:
        return mask
    try:
        array = np.asarray(mask)
        return np.broadcast_to(array[..., None] if array.ndim == len(shape) - 1 else array, shape)
    except ValueError as error:
        raise SignalError(f"`mask` must be broadcastable to the signal's shape {shape}. "
                          f"Received: shape {tuple(mask.shape)}") from error
