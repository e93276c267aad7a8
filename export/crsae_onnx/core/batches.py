"""Arrays of files as batches of signals or images (batch, *space, channels) (NumPy)."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np

from crsae_onnx.core.errors import FileError
from crsae_onnx.core.typing import Array


def as_batch(array: Array, rank: int, path: str | PathLike[str]) -> Array:
    """An array of a file as (batch, *space, channels), a view where possible.

    Rank 1: (samples,), (samples, channels) or (batch, time, channels). Rank 2: (height, width),
    (height, width, channels) or (batch, height, width, channels).

    Raises:
        FileError: another number of axes, or more channels than samples (transposed).
    """
    layouts = {1: "(samples,), (samples, channels) or (batch, time, channels)",
               2: "(height, width), (height, width, channels) or (batch, height, width, channels)"}[rank]
    if not rank <= array.ndim <= rank + 2:
        raise FileError(f"{path} has shape {array.shape}. Expected {layouts}. "
                        + ("For images add --rank 2." if rank == 1 and array.ndim == 4 else ""))
    if array.ndim == rank:
        array = array[..., None]
    if array.ndim == rank + 1:
        array = array[None]
    if min(array.shape[1:-1]) < array.shape[-1] and array.shape[-1] > 4:
        raise FileError(f"{path} has {array.shape[-1]} channels but only {' x '.join(map(str, array.shape[1:-1]))} "
                        f"{'samples' if rank == 1 else 'pixels'}. "
                        f"Expected {layouts}: transpose it so that the channels come last.")
    return array


class SingleBatch:
    """A recording (samples, channels) as a batch (1, samples, channels), read a stretch at a time.

    Args:
        recording: any object with ``shape``, ``dtype`` and slices of time.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.batches import SingleBatch
        >>> SingleBatch(np.zeros((9000, 4)))[:1, 100:300].shape
        (1, 200, 4)
    """

    ndim = 3

    def __init__(self, recording: Any) -> None:
        self.recording, self.dtype = recording, recording.dtype
        self.shape: tuple[int, ...] = (1, *recording.shape)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: tuple[Any, ...]) -> Array:
        entries, *rest = index
        return np.asarray(self.recording[rest[0] if len(rest) == 1 else tuple(rest)])[None][entries]
