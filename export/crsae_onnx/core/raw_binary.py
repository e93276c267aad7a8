"""Raw binary recordings: sample after sample, the channels side by side (NumPy)."""

from pathlib import Path

import numpy as np

#: Endings of raw binary files, which say nothing of themselves.
RAW_SUFFIXES = (".dat", ".bin", ".raw")
#: Types of samples in a raw binary file, little-endian.
RAW_DTYPES = ("int16", "uint16", "int32", "int8", "uint8", "float32", "float64")


def open_raw(path, channels, dtype="int16"):
    """A raw binary file as a map (samples, channels).

    Args:
        path: an existing file.
        channels: number of channels.
        dtype: of the samples, one of ``RAW_DTYPES``.

    Raises:
        ValueError: a type that is not in ``RAW_DTYPES``, an empty file, or a size that is no whole number of samples.

    Example:
        >>> np.zeros((60000, 4), "<i2").tofile("tetrode.dat")
        >>> open_raw("tetrode.dat", channels=4).shape
        (60000, 4)
    """
    path = Path(path)
    if dtype not in RAW_DTYPES:
        raise ValueError(f"Samples of type {dtype!r} are not known. Expected one of {', '.join(RAW_DTYPES)}.")
    kind = np.dtype(dtype).newbyteorder("<")
    size, row = path.stat().st_size, kind.itemsize * channels
    if size % row or not size:
        raise ValueError(f"{path} has {size} bytes, no multiple of {row}: {channels} channels of {dtype}. Look at "
                         "--dtype and the number of channels.")
    return np.memmap(path, kind, "r", shape=(size // row, channels))
