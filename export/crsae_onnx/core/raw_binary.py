"""Raw binary recordings: sample after sample, the channels side by side (NumPy)."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from crsae_onnx.core.errors import FileError
from crsae_onnx.core.raw_checks import check_not_text, fitting_channels, likely_channels, likely_dtype, sample_stretches
from crsae_onnx.core.validation import as_positive_int

#: Endings of raw binary files, which hold no description of themselves.
RAW_SUFFIXES = (".dat", ".bin", ".raw")
#: Types of samples in a raw binary file, little-endian.
RAW_DTYPES = ("int16", "uint16", "int32", "int8", "uint8", "float32", "float64")
#: The default.
DEFAULT_RAW_DTYPE = "int16"


def open_raw(path: str | os.PathLike[str], channels: int, dtype: str = DEFAULT_RAW_DTYPE, check: bool = True
             ) -> np.memmap[Any, np.dtype[Any]]:
    """A raw binary file as a memory map (samples, channels).

    Warns where another number of channels is likely: where values that lie so many places apart are far more alike.

    Args:
        path: an existing file.
        channels: number of channels.
        dtype: of the samples, one of ``RAW_DTYPES``.
        check: look at a few stretches of the file; False accepts whatever they hold.

    Raises:
        FileError: an empty file, text, a size that is no whole number of samples, or values that cannot be of this
            type.
        ValueError: a type that is not in ``RAW_DTYPES``.

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
    _check_start(path)
    _check_size(path, channels, kind)
    recording = np.memmap(path, kind, "r", shape=(path.stat().st_size // (kind.itemsize * channels), channels))
    if check:
        _check_values(recording.reshape(-1), path, channels, dtype)
    return recording


def _check_start(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(4096)
    check_not_text(start, path)
    if start.startswith(b"\x93NUMPY"):
        raise FileError(f"{path} is a .npy file under another name. Rename it: it states its own type and channels.")


def _check_size(path: Path, channels: int, kind: np.dtype[Any]) -> None:
    size, row = path.stat().st_size, kind.itemsize * channels
    if size and not size % row:
        return
    text = f"{path} has {size} bytes, no multiple of {row}: {channels} channels of {kind.name}. "
    if size % kind.itemsize or not size:
        raise FileError(text + "No number of channels fits. Look at --dtype; or the file has a header, or was cut off.")
    fitting = fitting_channels(size // kind.itemsize, channels)
    raise FileError(text + f"Numbers of channels that fit: {', '.join(map(str, fitting))}. Look at --channels and "
                    "--dtype; or the file has a header, or was cut off.")


def _check_values(values: np.ndarray, path: Path, channels: int, dtype: str) -> None:
    other = likely_dtype(sample_stretches(values))
    if other is not None:
        hint = f"They look like {other}: --dtype {other}." if other else \
            f"Expected one of {', '.join(RAW_DTYPES)}, little-endian, without a header."
        raise FileError(f"{path} does not hold samples of type {dtype}: read so, its values are not those of a "
                        f"recording. {hint} If {dtype} is right, save the recording as .npy.")
    likely = likely_channels(values, channels)
    if likely is not None:
        warnings.warn(f"{path} looks like {likely} channel{'s' * (likely > 1)}, not {channels}: neighbouring samples "
                      f"of each channel are then far more alike. If that is right, give --channels {likely}.",
                      UserWarning, stacklevel=3)
