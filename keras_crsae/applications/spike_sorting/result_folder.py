"""The folder of a saved sorting result: its files, and checks before it is written or read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from crsae_onnx.core.errors import FileError
from crsae_onnx.core.spikes.csv_table import write_header, write_rows
from crsae_onnx.core.spikes.detector import Spikes

#: Files of a saved result.
SPIKES = "spikes.csv"
TEMPLATES = "templates.npy"
MODEL = "model.keras"
READER = "reader.json"
SETTINGS = "settings.json"


def check_new_folder(folder: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """``folder`` as a Path, where a result may be written: new or empty, or ``overwrite``.

    Raises:
        FileError: a file, a folder that holds files, no parent folder, or no permission to write.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise FileError(f"{folder} is a file. A result is a folder: choose another name.")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise FileError(f"{folder} holds files already. Choose another folder, or ask to overwrite (overwrite=True, "
                        "--overwrite).")
    if not folder.absolute().parent.is_dir():
        raise FileError(f"No folder {folder.parent} for the result {folder.name}. Create it first.")
    try:
        with tempfile.TemporaryFile(dir=folder if folder.is_dir() else folder.absolute().parent):
            pass
    except OSError as error:
        raise FileError(f"{folder} cannot be written to ({error.strerror}). Choose another folder.") from error
    return folder


def existing_folder(folder: str | os.PathLike[str], names: Iterable[str]) -> Path:
    """``folder`` as a Path that holds the files ``names``.

    Raises:
        FileError: no such folder, or a file is missing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileError(f"No folder at {folder}. Expected one that `keras-crsae sort` or result.save wrote.")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise FileError(f"{folder} has no {', '.join(missing)}. Expected a folder that `keras-crsae sort` or "
                        "result.save wrote.")
    return folder


def write_spikes(path: str | os.PathLike[str], spikes: Spikes, sampling_frequency: float) -> None:
    """Write ``Spikes`` as a table (``crsae_onnx.core.spikes.csv_table``)."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        write_header(file)
        write_rows(file, spikes, sampling_frequency)
