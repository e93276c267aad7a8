"""Arrays from files (``.npy``, ``.npz``, ``.wav``)."""

from __future__ import annotations

import zipfile
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from crsae_onnx.core.errors import FileError, one_line

from keras_crsae.data.archives import check_archive, check_array_member, read_array_header
from keras_crsae.data.paths import ARRAY_SUFFIXES, IMAGE_SUFFIXES, WAV, existing_file
from keras_crsae.data.wav import read_wav

#: How every .npy file begins.
_NPY = b"\x93NUMPY"
_CHUNK = 1 << 22  # values checked in one piece, so that a memory-mapped file is never in memory as a whole


def read_array(path: str | PathLike[str], key: str | None = None) -> np.ndarray:
    """Real numbers of a ``.npy`` or ``.wav`` file (memory-mapped) or of one array of a ``.npz`` file.

    Args:
        path: the file.
        key: name of the array inside a ``.npz`` file; None: the only one.

    Raises:
        FileError: missing, damaged, pickled or empty file, several arrays and no key, no real numbers.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.data import read_array
        >>> np.save("recording.npy", np.zeros((1000, 4), "int16"))
        >>> read_array("recording.npy").shape
        (1000, 4)
    """
    path = existing_file(path, "a .npy, .npz or .wav file")
    if path.suffix.lower() == WAV and key is None:
        return read_wav(path)[1]
    if path.suffix.lower() not in ARRAY_SUFFIXES:
        raise FileError(f"{path}: cannot read files of type {path.suffix!r}. Expected one of "
                        f"{', '.join((*ARRAY_SUFFIXES, WAV, *IMAGE_SUFFIXES))}; save other data with numpy.save first.")
    if path.suffix.lower() == ".npy" and key is not None:
        raise FileError(f"{path} holds one array without a name. Omit the key {key!r}.")
    try:
        array = _read_npz(path, key) if path.suffix.lower() == ".npz" else _map_npy(path)
    except FileError:
        raise
    except Exception as error:  # damaged headers raise from tokenize, struct, zipfile, zlib and more
        raise FileError(f"{path} cannot be read as {path.suffix}: {one_line(error)}. Expected an undamaged file of "
                        "real numbers; save it again with numpy.save or numpy.savez.") from error
    if array.dtype.kind not in "fiub":
        raise FileError(f"{path} holds values of type {array.dtype}. Expected real numbers (integers or floats).")
    if array.size == 0:
        raise FileError(f"{path} holds no values: shape {array.shape}.")
    return array


def _map_npy(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        if file.read(len(_NPY)) != _NPY:
            raise FileError(f"{path} is not a .npy file: it does not start like one. Save the data with numpy.save.")
        file.seek(0)
        read_array_header(file, path)  # np.load's own refusal of Python objects advises to allow them
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _read_npz(path: Path, key: str | None) -> np.ndarray:
    check_archive(path)  # also, np.load takes a file of any kind, whatever its name
    with np.load(path, allow_pickle=False) as archive:
        names = list(archive.files)
        if key is None and len(names) != 1:
            raise FileError(f"{path} holds {len(names)} arrays: {', '.join(names)}. Say which one: --key NAME.")
        key = names[0] if key is None else key
        if key not in names:
            raise FileError(f"{path} has no array {key!r}. It holds: {', '.join(names)}.")
        with zipfile.ZipFile(path) as members:
            check_array_member(members, key if key in members.namelist() else f"{key}.npy", path)
        return archive[key]


def check_finite(array: Any, path: str | PathLike[str]) -> None:
    """Refuse NaN and infinite values with the position of the first; constant memory."""
    if array.dtype.kind != "f":
        return
    rows = max(1, _CHUNK // max(1, array[0].size)) if array.ndim > 1 else _CHUNK
    for start in range(0, len(array), rows):
        bad = ~np.isfinite(array[start:start + rows])
        if bad.any():
            index = [int(i) for i in np.argwhere(bad)[0]]
            index[0] += start
            raise FileError(f"{path} holds NaN or infinite values, the first at index {tuple(index)} of shape "
                            f"{array.shape}. Remove or fill them first, for example with numpy.nan_to_num.")
