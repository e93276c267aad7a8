"""Arrays in JSON: base64 of their bytes, little-endian, with type and shape."""

from __future__ import annotations

import base64
from typing import Any, cast

import numpy as np

from crsae_onnx.core.typing import is_array


def to_plain(value: Any) -> Any:
    """``value`` as JSON can hold it; what is no array stays as it is.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.json_arrays import to_plain
        >>> to_plain(np.ones(1, np.float32))
        {'dtype': '<f4', 'shape': (1,), 'base64': 'AACAPw=='}
    """
    if not is_array(value):
        return value
    little = value.astype(value.dtype.newbyteorder("<"))
    return {"dtype": little.dtype.str, "shape": little.shape, "base64": base64.b64encode(little.tobytes()).decode()}


def from_plain(value: Any) -> Any:
    """What ``to_plain`` was given; arrays are read-only.

    Raises:
        ValueError: an array of another type than real numbers, or damaged.
    """
    if not isinstance(value, dict):
        return value
    stored = cast("dict[str, Any]", value)
    dtype: np.dtype[Any] = np.dtype(stored["dtype"])
    if dtype.kind not in "fi":
        raise ValueError(f"Expected an array of real numbers. Received: one of dtype {dtype}.")
    return np.frombuffer(base64.b64decode(stored["base64"], validate=True), dtype).reshape(stored["shape"])
