"""The folder of a saved sorting result: its files, and checks before it is written or read."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from crsae_onnx.core.errors import FileError, one_line
from crsae_onnx.core.spikes.csv_table import read_table, write_header, write_rows
from crsae_onnx.core.spikes.detector import SpikeReader, Spikes

#: Files of a saved result.
SPIKES = "spikes.csv"
TEMPLATES = "templates.npy"
MODEL = "model.keras"
READER = "reader.json"
SETTINGS = "settings.json"
#: Format of ``settings.json``.
FORMAT = 1


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


def read_file(path: Path, read: Callable[[Path], Any]) -> Any:
    """``read(path)``, with a FileError in place of the errors of a damaged file."""
    try:
        return read(path)
    except (ValueError, EOFError, OSError) as error:
        raise FileError(f"{path} cannot be read: {one_line(error, 300)}") from error


def read_reader(folder: str | os.PathLike[str]) -> SpikeReader:
    """The ``SpikeReader`` of a saved result, without its model: TensorFlow is not needed.

    Raises:
        FileError: no such folder, a file of it missing or damaged.
    """
    path = existing_folder(folder, (MODEL, READER)) / READER
    return read_file(path, lambda path: SpikeReader.from_json(path.read_text(encoding="utf-8")))


def read_settings(folder: Path) -> dict[str, Any]:
    """The content of ``settings.json`` without its format.

    Raises:
        FileError: damaged, or of a newer format.
    """
    settings = read_file(folder / SETTINGS, lambda path: json.loads(path.read_text(encoding="utf-8")))
    version = settings.pop("format", None) if isinstance(settings, dict) else None
    if not isinstance(version, int) or version > FORMAT:
        raise FileError(f"{folder / SETTINGS} has format {version!r}; this release reads up to {FORMAT}. Update "
                        "keras-crsae, or sort again.")
    return settings


def describe_sorting(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What a saved sorting holds: spikes of each unit, settings, parameters and messages; TensorFlow is not needed.

    Raises:
        FileError: no such folder, a file of it missing, damaged, or of a newer format.
    """
    folder = existing_folder(folder, (SPIKES, SETTINGS))
    settings = read_settings(folder)
    spikes = read_file(folder / SPIKES, read_table)
    counts = {f"unit {unit}": int((spikes.unit_id == unit).sum()) for unit in sorted(set(spikes.unit_id.tolist()))}
    names = ("sampling_frequency", "recording_samples", "settings", "parameters", "messages")
    return {"spikes": counts, **{name: settings[name] for name in names if name in settings}}
