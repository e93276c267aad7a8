"""Raw binary recordings: sample after sample, the channels side by side (NumPy)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from crsae_onnx.core.validation import as_positive_int

#: Endings of raw binary files, which hold no description of themselves.
RAW_SUFFIXES = (".dat", ".bin", ".raw")
#: Types of samples in a raw binary file, little-endian.
RAW_DTYPES = ("int16", "uint16", "int32", "int8", "uint8", "float32", "float64")


def open_raw(path: str | os.PathLike[str], channels: int, dtype: str = "int16") -> np.memmap[Any, np.dtype[Any]]:
    """A raw binary file as a memory map (samples, channels).

    Args:
        path: an existing file.
        channels: number of channels.
        dtype: of the samples, one of ``RAW_DTYPES``.

    Raises:
        ValueError: a type that is not in ``RAW_DTYPES``, an empty file, or a size that is no whole number of samples.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.raw_binary import open_raw
        >>> np.zeros((60000, 4), "<i2").tofile("tetrode.dat")
        >>> open_raw("tetrode.dat", channels=4).shape
        (60000, 4)
    """
    path, channels = Path(path), as_positive_int(channels, "channels")
    if dtype not in RAW_DTYPES:
        raise ValueError(f"Samples of type {dtype!r} cannot be read. Expected one of {', '.join(RAW_DTYPES)}.")
    kind: np.dtype[Any] = np.dtype(dtype).newbyteorder("<")
    size, row = path.stat().st_size, kind.itemsize * channels
    if size % row or not size:
        raise ValueError(f"{path} has {size} bytes, no multiple of {row}: {channels} channels of {dtype}. Look at "
                         "--dtype and the number of channels.")
    return np.memmap(path, kind, "r", shape=(size // row, channels))
