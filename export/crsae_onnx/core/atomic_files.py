"""Atomic writes: files and folders that appear whole, or not at all (standard library alone)."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from crsae_onnx.core.errors import FileError, one_line

#: Error numbers of a disk that takes no more. NumPy and HDF5 raise a plain OSError without a number.
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@contextmanager
def atomic_write(target: str | os.PathLike[str], overwrite: bool = True) -> Generator[Path]:
    """Write a file or a folder under a temporary name in the same folder, and rename it to ``target`` at the end.

    The temporary name keeps the suffix. The content of a file is on the disk before the rename. If the block raises,
    the temporary file is removed and ``target`` is unchanged; if the process is killed, ``target`` is unchanged.

    Args:
        target: file or folder to write.
        overwrite: replace an existing ``target``. False: a file that appeared at ``target`` in the meantime is kept,
            and the new one keeps its temporary name.

    Yields:
        The temporary path to write to.

    Raises:
        FileError: ``target`` exists and ``overwrite`` is False.
        OSError: the disk is full, or the folder cannot be written to.

    Example:
        >>> from pathlib import Path
        >>> from crsae_onnx.core.atomic_files import atomic_write
        >>> with atomic_write("notes.txt") as path:
        ...     _ = path.write_text("whole")
        >>> Path("notes.txt").read_text()
        'whole'
    """
    target = Path(target)
    temporary = target.with_name(f"{target.stem}.part-{os.getpid()}{target.suffix}")
    try:
        yield temporary
        if temporary.is_file():
            _flush(temporary)
    except BaseException as error:
        _remove(temporary)
        if isinstance(error, OSError) and (error.errno in _NO_SPACE or type(error) is OSError and error.errno is None):
            raise OSError(f"{target} could not be written ({error.strerror or one_line(error)}). What was there before "
                          "is unchanged. Free space on the disk, or choose another output.") from error
        raise
    if target.exists() and not overwrite:
        raise FileError(f"{target} appeared while it was being written, and is kept. The result is in {temporary}.")
    try:
        if temporary.is_dir() and target.is_dir():
            shutil.rmtree(target)  # a folder cannot be replaced in one step
        os.replace(temporary, target)
    except BaseException:
        _remove(temporary)
        raise


@contextmanager
def atomic_update(folder: str | os.PathLike[str]) -> Generator[Path]:
    """Write several files into a temporary folder, and move them into ``folder`` at the end.

    ``folder`` is created where needed. Files of the same names are replaced, others stay. If the block raises,
    ``folder`` is unchanged.

    Yields:
        The temporary folder to write to, which exists.

    Example:
        >>> from pathlib import Path
        >>> from crsae_onnx.core.atomic_files import atomic_update
        >>> with atomic_update("results") as temporary:
        ...     _ = (temporary / "a.txt").write_text("1")
        >>> Path("results/a.txt").read_text()
        '1'
    """
    folder = Path(folder)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.absolute().parent,
                                     ignore_cleanup_errors=True) as name:
        temporary = Path(name)
        yield temporary
        folder.mkdir(exist_ok=True)
        for file in sorted(temporary.iterdir()):
            os.replace(file, folder / file.name)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink(missing_ok=True)
