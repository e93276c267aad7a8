"""Archives of unknown origin: their size is bounded before anything is unpacked, and they name no outside file."""

from __future__ import annotations

import zipfile
from os import PathLike
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

import numpy as np
from crsae_onnx.core.errors import FileError, one_line

#: Bytes of content that are unpacked whatever the size of their archive.
UNBOUNDED_BYTES = 256 * 2**20
#: Beyond them: times the archive's own size. Signals and codes compress far less, bombs far more.
MAX_RATIO = 200
_MAX_MEMBERS = 10_000
_MAX_DESCRIPTION_BYTES = 16 * 2**20  # bytes of a description in an archive
#: Where classes that a description may name live.
_MODULES = ("keras", "keras_crsae", "builtins")
_ENCRYPTED = 0x1


def check_archive(path: str | PathLike[str]) -> None:
    """Refuse a zip archive that would unpack to far more than its size, or that names files outside of itself.

    Args:
        path: the file; only its table of contents is read.

    Raises:
        FileError: a bomb, a path that is absolute or leads upwards, a name that occurs twice, encrypted content.
        zipfile.BadZipFile: no zip archive.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.data.archives import check_archive
        >>> np.savez("a.npz", a=np.zeros(3))
        >>> check_archive("a.npz")
    """
    path = Path(path)
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if len(members) > _MAX_MEMBERS:
        raise FileError(f"{path} lists {len(members)} files, more than {_MAX_MEMBERS}. Expected an archive of few "
                        "arrays.")
    names = set()
    for member in members:
        name = member.filename
        outside = PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or PureWindowsPath(name).root \
            or ".." in PureWindowsPath(name).parts
        if outside or "\0" in name or name in names:
            raise FileError(f"{path} holds a file named {one_line(name)!r}: it occurs twice, or leads outside of the "
                            "archive. Nothing was unpacked.")
        if member.flag_bits & _ENCRYPTED:
            raise FileError(f"{path} is encrypted. Expected an archive without a password.")
        names.add(name)
    total, size = sum(member.file_size for member in members), path.stat().st_size
    if total > UNBOUNDED_BYTES and total > MAX_RATIO * size:  # the file's size, as bombs let members share their bytes
        raise FileError(f"{path} of {size} bytes would unpack to {total}, more than {MAX_RATIO} times as much: that is "
                        "no data but an attack, or a constant. Nothing was unpacked.")


def read_array_header(file: IO[bytes], path: str | PathLike[str]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """(shape, dtype) of the array of an open ``.npy`` file, by its header.

    Args:
        file: open for reading bytes, at its beginning.
        path: for the message.

    Raises:
        FileError: the array holds Python objects, whose reading could run code.
        ValueError: no header, or a damaged one.
    """
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:  # later versions are for names of fields, which an array of numbers does not have
        raise ValueError(f"version {version} of the format")
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise FileError(f"{path} holds Python objects. Expected an array of real numbers.")
    return shape, dtype


def check_array_member(archive: zipfile.ZipFile, name: str, path: str | PathLike[str]) -> None:
    """Refuse an array of a ``.npz`` file that holds Python objects, or whose header promises more than the file holds.

    Args:
        archive: open ``zipfile.ZipFile``.
        name: of the member, with its ``.npy``.
        path: for the message.
    """
    with archive.open(name) as file:
        shape, dtype = read_array_header(file, path)
    promised, there = int(np.prod(shape, dtype=object)) * dtype.itemsize, archive.getinfo(name).file_size
    if promised > there:
        raise FileError(f"{path}: the array {name.removesuffix('.npy')!r} of shape {shape} would take {promised} "
                        f"bytes, and the file holds {there}. It is damaged.")


def check_description(config: Any, path: str | PathLike[str]) -> None:
    """Refuse the description of a Keras model that names code: Lambda layers, functions, classes of other packages.

    Args:
        config: parsed ``config.json``.
        path: for the message.
    """
    items = [config]
    while items:
        item = items.pop()
        if isinstance(item, list):
            items.extend(item)
        elif isinstance(item, dict):
            items.extend(item.values())
            kind, module = item.get("class_name"), item.get("module")
            if kind is None:
                continue
            known = module is None or (isinstance(module, str) and module.split(".")[0] in _MODULES)
            if not isinstance(kind, str) or kind in ("Lambda", "__lambda__", "function") or not known:
                raise FileError(f"{path} names {one_line(module)}.{one_line(kind)}, which is not loaded: a model file "
                                "may hold numbers and sizes, no code. Expected classes of Keras and keras-crsae.")


def read_description(archive: zipfile.ZipFile, name: str) -> bytes:
    """Bytes of a small text member, bounded."""
    if archive.getinfo(name).file_size > _MAX_DESCRIPTION_BYTES:
        raise ValueError(f"{name} has {archive.getinfo(name).file_size} bytes, more than {_MAX_DESCRIPTION_BYTES}")
    return archive.read(name)


def check_weights(archive: zipfile.ZipFile, name: str, path: str | PathLike[str]) -> None:
    """Refuse an HDF5 member that points to other files, or whose arrays promise far more than it holds.

    Args:
        archive: open ``zipfile.ZipFile``.
        name: of the member.
        path: for the message.
    """
    import h5py

    size = archive.getinfo(name).file_size
    with archive.open(name) as stored, h5py.File(stored, "r") as file:
        seen = promised = 0
        groups: list[h5py.Group] = [file]
        while groups:
            group = groups.pop()
            for key in group:
                seen += 1
                link = group.get(key, getlink=True)
                if not isinstance(link, h5py.HardLink) or seen > _MAX_MEMBERS:
                    raise FileError(f"{path}: {name} holds links to other places, or {seen} objects. Expected the "
                                    "weights of one model.")
                item = group[key]
                if isinstance(item, h5py.Group):
                    groups.append(item)
                    continue
                if isinstance(item, h5py.Dataset):  # a named type holds no values
                    if item.external or item.is_virtual:
                        raise FileError(f"{path}: {name} takes values from other files. Expected one with its own.")
                    promised += item.nbytes
    if promised > UNBOUNDED_BYTES // 4 and promised > 4 * size:
        raise FileError(f"{path}: the arrays of {name} would take {promised} bytes, and it holds {size}. It is damaged "
                        "or an attack.")
