"""Save and load the parts of a sorting result: spikes, templates, model, reader and settings."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from crsae_onnx.core.atomic_files import atomic_update
from crsae_onnx.core.errors import FileError
from crsae_onnx.core.spikes.csv_table import read_table
from crsae_onnx.core.spikes.detector import SpikeReader, Spikes

from keras_crsae.applications.spike_sorting.result_folder import (
    FORMAT,
    MODEL,
    READER,
    SETTINGS,
    SPIKES,
    TEMPLATES,
    check_new_folder,
    existing_folder,
    read_file,
    read_reader,
    read_settings,
    write_spikes,
)
from keras_crsae.models.crsae import CRsAE
from keras_crsae.models.serialization import load_crsae


class SavedSorting(NamedTuple):
    """The parts of a sorting result as they are stored."""

    spikes: Spikes
    templates: np.ndarray  #: (units, time, channels)
    model: CRsAE
    reader: SpikeReader
    settings: dict[str, Any]  #: plain JSON


def write_sorting(folder: str | os.PathLike[str], sorting: SavedSorting, overwrite: bool = False) -> Path:
    """Write ``spikes.csv`` (time_s, unit, amplitude, sample), ``templates.npy`` (units, time, channels),
    ``model.keras``, ``reader.json`` and ``settings.json``.

    All are written into a temporary folder first: if one fails, an earlier result stays as it was.

    Args:
        folder: new or empty, unless ``overwrite``; other files in it stay.
        sorting: what to write.
        overwrite: replace the files of an earlier result.

    Returns:
        The folder's Path.

    Raises:
        FileError: see ``check_new_folder``.
    """
    folder = check_new_folder(folder, overwrite)
    with atomic_update(folder) as temporary:
        write_spikes(temporary / SPIKES, sorting.spikes, sorting.reader.sampling_frequency)
        np.save(temporary / TEMPLATES, np.asarray(sorting.templates, np.float32), allow_pickle=False)
        sorting.model.save(temporary / MODEL)
        (temporary / READER).write_text(sorting.reader.to_json(), encoding="utf-8")
        settings = {"format": FORMAT, **sorting.settings}
        (temporary / SETTINGS).write_text(json.dumps(settings, indent=2), encoding="utf-8")
    return folder


def read_sorting(folder: str | os.PathLike[str]) -> SavedSorting:
    """The parts that ``write_sorting`` wrote.

    Raises:
        FileError: no such folder, a file of it missing, damaged, or of a newer format.
    """
    folder = existing_folder(folder, (SPIKES, TEMPLATES, MODEL, READER, SETTINGS))
    settings = read_settings(folder)
    spikes = read_file(folder / SPIKES, read_table)
    templates = read_file(folder / TEMPLATES, lambda path: np.load(path, allow_pickle=False))
    model, reader = load_reader(folder)
    if templates.ndim != 3 or len(templates) != reader.kernel.shape[2] or (
            len(spikes.unit_id) and not 0 <= spikes.unit_id.min() <= spikes.unit_id.max() < len(templates)):
        raise FileError(f"{folder}: {TEMPLATES}, of shape {templates.shape}, does not fit the {reader.kernel.shape[2]} "
                        f"units of {READER} and the units in {SPIKES}. Sort again.")
    return SavedSorting(spikes, templates, model, reader, settings)


def load_reader(folder: str | os.PathLike[str]) -> tuple[CRsAE, SpikeReader]:
    """(model, reader) of a saved result, to find spikes in other recordings: ``reader.find(model.encode, traces)``.

    Raises:
        FileError: no such folder, a file of it missing or damaged.
    """
    folder, reader = Path(folder), read_reader(folder)
    model = load_crsae(folder / MODEL)
    shape = (*model.dictionary.kernel_size, model.dictionary.channels, model.dictionary.filters)
    if reader.kernel.shape != shape:
        raise FileError(f"{folder}: {READER} is for filters of shape {reader.kernel.shape}, {MODEL} has {shape}. They "
                        "come from different sortings: sort again.")
    return model, reader
