"""Functions of plain loops as machine code, by numba where it is installed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, TypeVar

from crsae_onnx.core.optional import import_optional

F = TypeVar("F", bound=Callable[..., Any])


@functools.cache
def can_compile() -> bool:
    """Whether numba is installed."""
    return find_spec("numba") is not None


def compiled(function: F) -> F:
    """A function of loops over arrays as machine code; the function itself where numba is not installed.

    The machine code is kept on disk where numba finds a folder to write to, so only the first process compiles. Other
    compiled functions that it calls must be defined in the same file: numba's store does not see changes elsewhere.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.compiled import compiled
        >>> @compiled
        ... def total(values):
        ...     out = 0.0
        ...     for value in values:
        ...         out += value
        ...     return out
        >>> float(total(np.ones(3)))
        3.0
    """
    if not can_compile():
        return function
    numba: Any = import_optional("numba", "Compiled loops")
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no folder that can be written to, or no file that holds the function
        return numba.njit(nogil=True)(function)
