"""Checks of numbers given as arguments: what cannot be used is refused before work starts (NumPy)."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np


def as_int(value: Any, name: str, minimum: int = 1, maximum: int | None = None) -> int:
    """``value`` as a Python int in a range; NumPy integers are taken, booleans and floats are not.

    Raises:
        ValueError: anything else.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.validation import as_int
        >>> as_int(np.int16(0), "epochs", minimum=0)
        0
    """
    try:
        number = minimum - 1 if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        number = minimum - 1  # refused below
    if number >= minimum and (maximum is None or number <= maximum):
        return number
    if maximum is not None:
        expected = f"an int from {minimum} to {maximum}"
    else:
        expected = "a positive int" if minimum == 1 else f"an int of at least {minimum}"
    raise ValueError(f"`{name}` must be {expected}. Received: {name}={value!r}")


def as_positive_int(value: Any, name: str) -> int:
    """``value`` as a positive Python int; NumPy integers are taken, booleans and floats are not.

    Raises:
        ValueError: anything else.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.validation import as_positive_int
        >>> as_positive_int(np.int64(3), "filters")
        3
    """
    return as_int(value, name)


def as_rank(rank: Any, *sizes: Any) -> int:
    """Axes of space: ``rank``, or where it is None the number of values of the first size that has several.

    Args:
        rank: 1 (signals), 2 (images) or None.
        *sizes: kernel size, strides: ints or sequences of one int an axis.

    Raises:
        ValueError: another rank.

    Example:
        >>> from crsae_onnx.core.validation import as_rank
        >>> as_rank(None, 9), as_rank(None, (4, 4)), as_rank(2, 9)
        (1, 2, 2)
    """
    found = rank
    if rank is None:
        found = next((len(size) for size in sizes if np.ndim(size)), 1)
    if isinstance(found, bool) or found not in (1, 2):
        raise ValueError(f"`rank` must be 1 (signals) or 2 (images), or None: taken from the number of sizes. "
                         f"Received: rank={rank!r}" + (f" and sizes {sizes}" if rank is None else ""))
    return int(found)


def as_sizes(value: Any, rank: int, name: str) -> tuple[int, ...]:
    """A positive int, or ``rank`` of them, as a tuple of ``rank`` ints.

    Raises:
        ValueError: anything else.

    Example:
        >>> from crsae_onnx.core.validation import as_sizes
        >>> as_sizes(5, 2, "kernel_size"), as_sizes([5, 7], 2, "kernel_size")
        ((5, 5), (5, 7))
    """
    items: Any = value
    values: tuple[Any, ...] = (value,) * rank
    if isinstance(value, tuple | list | np.ndarray) and np.ndim(items):
        values = tuple(items)
    if len(values) != rank:
        axes = "axis" if rank == 1 else "axes"
        raise ValueError(f"`{name}` must be a positive int or {rank} of them: there {'is' if rank == 1 else 'are'} "
                         f"{rank} {axes} of space (rank={rank}). Received: {name}={value!r}")
    return tuple(as_positive_int(v, name) for v in values)


def as_positive(value: Any, name: str) -> float:
    """``value`` as a positive finite float.

    Raises:
        ValueError: anything else, texts and booleans included.

    Example:
        >>> from crsae_onnx.core.validation import as_positive
        >>> as_positive(2, "sigma")
        2.0
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, str | bool | np.bool_) or not 0 < number < math.inf:
        raise ValueError(f"`{name}` must be a positive finite number. Received: {name}={value!r}")
    return number
