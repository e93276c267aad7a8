"""Arrays as plain values of JSON, in a saved model's configuration."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np


def stored(array: np.ndarray, dtype: str = "<f4") -> dict[str, Any]:
    """Shape and values of an array, as text.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.problem.stored_arrays import restored, stored
        >>> restored(stored(np.array([[1.0, 2.0]]))).tolist()
        [[1.0, 2.0]]
    """
    array = np.ascontiguousarray(array, dtype)
    return {"shape": list(array.shape), "dtype": dtype, "values": base64.b64encode(array.tobytes()).decode("ascii")}


def restored(value: Any) -> Any:
    """The array of ``stored``; what else there is as it is."""
    if not isinstance(value, Mapping):
        return value
    value = dict[str, Any](value)  # pyright: ignore[reportUnknownArgumentType]
    return np.frombuffer(base64.b64decode(value["values"]), value["dtype"]).reshape(value["shape"]).copy()
