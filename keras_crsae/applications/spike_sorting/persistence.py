"""A sorting result on disk: a folder of a table, arrays, the model and what reads spikes with it."""

import json
import tempfile
from pathlib import Path

import numpy as np
from crsae_onnx.core.atomic_files import atomic_update
from crsae_onnx.core.errors import FileError, one_line
from crsae_onnx.core.spikes.csv_table import read_table, write_header, write_rows
from crsae_onnx.core.spikes.detector import SpikeReader, Spikes

#: Files of a saved result.
SPIKES, TEMPLATES, MODEL = "spikes.csv", "templates.npy", "model.keras"
READER, SETTINGS = "reader.json", "settings.json"
#: Format of ``settings.json``.
FORMAT = 1
_KNOWN = ("settings", "messages", "history", "nbefore", "sampling_frequency", "recording_samples", "channel_locations",
          "noise")


def check_folder(folder, overwrite=False):
    """``folder`` as a Path, where a result may be written: new or empty, or ``overwrite``.

    Raises:
        FileError: a file, a folder that holds files, no folder around it, or none that can be written to.
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


def save_result(result, folder, overwrite=False):
    """Write a sorting result as a folder; ``load_result`` reads it.

    ``spikes.csv`` (time_s, unit, amplitude, sample), ``templates.npy`` (units, time, channels), ``model.keras``,
    ``reader.json`` (``SpikeReader``) and ``settings.json`` (settings, messages, training curves and sizes). All are
    written beside the folder first: what fails leaves the old result whole.

    Args:
        result: ``SpikeSortingResult``.
        folder: new or empty, unless ``overwrite``; other files in it stay.
        overwrite: replace the files of an earlier result.

    Returns:
        The folder's Path.

    Raises:
        FileError: see ``check_folder``.

    Example:
        >>> folder = save_result(result, "saved")      # result.save("saved") does the same
        >>> load_result(folder).units == result.units
        True
    """
    folder = check_folder(folder, overwrite)
    with atomic_update(folder) as temporary:
        write_spikes(temporary / SPIKES, Spikes(result.spike_samples, result.spike_units, result.spike_amplitudes),
                     result.sampling_frequency)
        np.save(temporary / TEMPLATES, np.asarray(result.templates, np.float32), allow_pickle=False)
        result.model.save(temporary / MODEL)
        (temporary / READER).write_text(result.reader.to_json(), encoding="utf-8")
        (temporary / SETTINGS).write_text(json.dumps(_settings(result), indent=2), encoding="utf-8")
    return folder


def write_spikes(path, spikes, sampling_frequency):
    """A table (``crsae_onnx.core.spikes.csv_table``) of ``Spikes``."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        write_header(file)
        write_rows(file, spikes, sampling_frequency)


def _settings(result):
    plain = {name: None if value is None else np.asarray(value, float).tolist()
             for name, value in (("channel_locations", result.channel_locations), ("noise", result.noise))}
    return {"format": FORMAT, "settings": result.settings, "messages": list(result.messages),
            "history": result.history, "nbefore": int(result.nbefore),
            "sampling_frequency": float(result.sampling_frequency),
            "recording_samples": int(result.recording_samples), **plain}


def load_reader(folder):
    """(model, reader) of a folder that ``save_result`` wrote: enough to find spikes in other recordings.

    Raises:
        FileError: no such folder, a file of it missing or damaged.

    Example:
        >>> model, reader = load_reader("sorted")
        >>> spikes = reader.find(model.encode, other)       # (samples, channels)
    """
    from keras_crsae.models.serialization import load_crsae

    folder = _existing(folder, (MODEL, READER))
    reader = _read(folder / READER, lambda path: SpikeReader.from_json(path.read_text(encoding="utf-8")))
    model = load_crsae(folder / MODEL)
    own = (*model.dictionary.kernel_size, model.dictionary.channels, model.dictionary.filters)
    if reader.kernel.shape != own:
        raise FileError(f"{folder}: {READER} reads codes of filters {reader.kernel.shape}, {MODEL} has {own}. They "
                        "come from different sortings: sort again.")
    return model, reader


def load_result(folder):
    """The ``SpikeSortingResult`` of a folder that ``save_result`` wrote.

    Raises:
        FileError: no such folder, a file of it missing, damaged, or of a newer format.

    Example:
        >>> result = load_result("sorted")
        >>> len(result.templates), result.sampling_frequency
        (2, 10000.0)
    """
    from keras_crsae.applications.spike_sorting.pipeline import SpikeSortingResult

    folder = _existing(folder, (SPIKES, TEMPLATES, MODEL, READER, SETTINGS))
    known = _read(folder / SETTINGS, lambda path: json.loads(path.read_text(encoding="utf-8")))
    version = known.pop("format", None) if isinstance(known, dict) else None
    if not isinstance(version, int) or version > FORMAT:
        raise FileError(f"{folder / SETTINGS} has format {version!r}; this release reads up to {FORMAT}. Update "
                        "keras-crsae, or sort again.")
    missing = [name for name in _KNOWN if name not in known]
    if missing:
        raise FileError(f"{folder / SETTINGS} lacks {', '.join(missing)}: it is damaged, or comes from another "
                        "version of keras-crsae. Sort again.")
    spikes = _read(folder / SPIKES, read_table)
    templates = _read(folder / TEMPLATES, lambda path: np.load(path, allow_pickle=False))
    model, reader = load_reader(folder)
    if templates.ndim != 3 or len(templates) != reader.kernel.shape[2] or (
            len(spikes.unit_id) and not 0 <= spikes.unit_id.min() <= spikes.unit_id.max() < len(templates)):
        raise FileError(f"{folder}: {TEMPLATES}, of shape {templates.shape}, does not fit the {reader.kernel.shape[2]} "
                        f"units of {READER} and the units in {SPIKES}. Sort again.")
    for name, dtype in (("channel_locations", np.float64), ("noise", np.float32)):
        known[name] = None if known[name] is None else np.array(known[name], dtype)
    return SpikeSortingResult(*spikes, templates=templates, model=model, reader=reader,
                              **{name: known[name] for name in _KNOWN})


def _existing(folder, names):
    folder = Path(folder)
    if not folder.is_dir():
        raise FileError(f"No folder at {folder}. Expected one that `keras-crsae sort` or result.save wrote.")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise FileError(f"{folder} lacks {', '.join(missing)}. Expected a folder that `keras-crsae sort` or "
                        "result.save wrote.")
    return folder


def _read(path, how):
    try:
        return how(path)
    except (ValueError, EOFError, OSError) as error:
        raise FileError(f"{path} cannot be read: {one_line(error, 300)}") from error
