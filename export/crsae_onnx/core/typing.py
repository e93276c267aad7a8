"""Types of arrays, and of what can be read like one (NumPy)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
FloatArray: TypeAlias = NDArray[np.float32]
IntArray: TypeAlias = NDArray[np.int64]


class ArraySource(Protocol):
    """Something with a shape whose slices are arrays: an array, memory map, HDF5 or Zarr dataset."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, index: Any, /) -> Any: ...


#: Signals (batch, time, channels) -> codes (batch, positions, units).
Encode: TypeAlias = Callable[[FloatArray], Array]
#: ``progress(done, total)``.
Progress: TypeAlias = Callable[[int, int], object]


def is_array(value: object) -> TypeGuard[Array]:
    """Whether ``value`` is a NumPy array."""
    return isinstance(value, np.ndarray)
