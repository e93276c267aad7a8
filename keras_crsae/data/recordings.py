"""Recordings from files: arrays, raw binary, and what SpikeInterface reads (NWB, Neo's formats, its own folders)."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from crsae_onnx.core.errors import FileError, one_line
from crsae_onnx.core.optional import import_optional
from crsae_onnx.core.raw_binary import RAW_SUFFIXES, open_raw
from crsae_onnx.core.signals import check_recording

from keras_crsae.data.arrays import read_array
from keras_crsae.data.paths import ARRAY_SUFFIXES, WAV, existing_file
from keras_crsae.data.wav import read_wav

#: What SpikeInterface leaves in a folder (binary, Zarr) that it saved a recording to.
_SAVED = ("si_folder.json", "cached.json", "binary.json", "spikeinterface_info.json", ".zattrs", "zarr.json")


def read_recording(path: str | PathLike[str], sampling_frequency: float | None = None, channels: int | None = None,
                   dtype: str = "int16", key: str | None = None, stream: str | None = None) -> Any:
    """A recording, memory-mapped: only the samples that are read come into memory.

    Args:
        path: ``.npy`` or ``.npz``, (samples,) or (samples, channels); raw binary (``.dat``, ``.bin``, ``.raw``),
            sample after sample with the channels side by side; ``.wav``; ``.nwb``; a file or folder of another
            format that SpikeInterface reads, or a folder that it saved.
        sampling_frequency: Hz, of files that do not store it.
        channels: number of channels; raw files need it, others are checked against it.
        dtype: of the samples of a raw file, one of ``RAW_DTYPES``.
        key: name of the array of a ``.npz`` file that holds several.
        stream: name of the signal where a file holds several; path of the ElectricalSeries in a ``.nwb`` file.

    Returns:
        An array, or a SpikeInterface recording.

    Raises:
        FileError: missing or damaged, another layout, no sampling frequency or channels where they are needed.
        ModuleNotFoundError: the file needs SpikeInterface (extra ``spikes``), which is not installed.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.data import read_recording
        >>> np.zeros((60000, 4), "<i2").tofile("tetrode.dat")
        >>> read_recording("tetrode.dat", sampling_frequency=30000, channels=4).shape
        (60000, 4)
    """
    path = Path(path)
    suffix = path.suffix.lower() if not path.is_dir() else ""
    # SpikeGLX describes its .bin files in a .meta file of the same name.
    raw = suffix in RAW_SUFFIXES and not (channels is None and path.with_suffix(".meta").is_file())
    if suffix in ARRAY_SUFFIXES or raw:
        if sampling_frequency is None:
            existing_file(path, "a recording")
            raise FileError(f"{path} does not store its sampling frequency. Give it in Hz: --fs 30000.")
        recording = read_array(path, key) if suffix in ARRAY_SUFFIXES else read_raw(path, channels, dtype)
        if recording.ndim not in (1, 2):
            raise FileError(f"{path} has shape {recording.shape}. Expected (samples,) or (samples, channels).")
    elif suffix == WAV:
        rate, recording = read_wav(path)
        if sampling_frequency is not None and abs(sampling_frequency - rate) > 1e-3 * rate:
            raise FileError(f"{path} has a sampling frequency of {rate} Hz, not {sampling_frequency:g}. Omit it.")
    else:
        if not path.exists():
            raise FileError(f"No file or folder at {path}. Expected a recording.")
        recording = _read_by_spikeinterface(path, suffix, stream)
    count = _channels(recording)
    if channels is not None and count != channels:
        raise FileError(f"{path} has {count} channels, not {channels}.")
    return recording


def _channels(recording: Any) -> int:
    if hasattr(recording, "get_num_channels"):
        return int(recording.get_num_channels())
    return 1 if recording.ndim == 1 else recording.shape[1]


def stored_frequency(path: str | Path, default: float | None = None) -> float | None:
    """Sampling frequency in Hz that a ``.wav`` file stores; of other files ``default``."""
    return float(read_wav(path)[0]) if Path(path).suffix.lower() == WAV and Path(path).is_file() else default


def read_raw(path: str | PathLike[str], channels: int | None, dtype: str = "int16") -> np.ndarray:
    """A raw binary file as a memory map (samples, channels).

    Raises:
        FileError: missing file, no number of channels, a type that is not in ``RAW_DTYPES``, or a size that is no
            whole number of samples.
    """
    path = existing_file(path, "a raw recording")
    if channels is None:
        raise FileError(f"{path} does not store its number of channels. Give it: --channels 4.")
    try:
        return open_raw(path, channels, dtype)
    except ValueError as error:
        raise FileError(str(error)) from error


def _read_by_spikeinterface(path: Path, suffix: str, stream: str | None) -> Any:
    core = import_optional("spikeinterface.core", str(path))
    if suffix == ".nwb":
        extractors = import_optional("spikeinterface.extractors", str(path))
        return _read_or_refuse(path, lambda: extractors.read_nwb_recording(path, electrical_series_path=stream))
    if suffix == ".json" or (path.is_dir() and any((path / name).exists() for name in _SAVED)):
        recording = _read_or_refuse(path, lambda: core.load(path))
        if not isinstance(recording, core.BaseRecording):
            raise FileError(f"{path} holds a {type(recording).__name__} of SpikeInterface. Expected a recording.")
        return recording
    return _read_by_neo(path, stream)


def _read_by_neo(path: Path, stream: str | None) -> Any:
    """By the extractors of SpikeInterface whose Neo reader takes files of this suffix."""
    rawio = import_optional("neo.rawio", str(path))
    known = import_optional("spikeinterface.extractors", str(path)).recording_extractor_full_dict.values()
    names = [reader.__name__ for reader in rawio.get_rawio(path, exclusive_rawio=False)]
    extractors = [c for name in names for c in known if getattr(c, "NeoRawIOClass", None) == name]
    if not extractors:
        raise FileError(f"{path}: no reader takes recordings of this kind. Expected .npy, .npz, raw binary "
                        f"({', '.join(RAW_SUFFIXES)}), .nwb, a format of Neo, or a folder saved by SpikeInterface.")
    options = {} if stream is None else {"stream_name": stream}
    failures: list[FileError] = []
    for extractor in extractors:
        try:
            return _read_or_refuse(path, lambda extractor=extractor: extractor(path, **options))
        except FileError as error:
            failures.append(error)
    raise failures[0]


def _read_or_refuse(path: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except ModuleNotFoundError as error:
        raise FileError(f"{path} needs a package that is not installed: {one_line(error)}.") from error
    except Exception as error:  # every format raises a family of its own
        raise FileError(f"{path} cannot be read through SpikeInterface: {one_line(error, 600)}. If the file holds "
                        "several signals, choose one with --stream NAME.") from error


def sample_reader(recording: Any) -> tuple[int, int, Callable[[int, int], np.ndarray]]:
    """Size of a recording and how its samples are read, in the unit that they are stored in.

    Args:
        recording: array or dataset (samples, channels), or a SpikeInterface recording of one segment.

    Returns:
        Number of samples, number of channels, and a function from the first sample and the one behind the last to an
        array (samples, channels).

    Raises:
        ValueError: several segments, or another number of axes.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.data.recordings import sample_reader
        >>> samples, channels, read = sample_reader(np.zeros((100, 4), "int16"))
        >>> samples, channels, read(10, 30).shape
        (100, 4, (20, 4))
    """
    if hasattr(recording, "get_traces"):
        if recording.get_num_segments() != 1:
            raise ValueError(f"The recording has {recording.get_num_segments()} segments. Give one of them "
                             "(`recording.select_segments([0])`).")
        return (int(recording.get_num_samples()), int(recording.get_num_channels()),
                lambda first, stop: recording.get_traces(start_frame=first, end_frame=stop))
    check_recording(recording)
    samples, channels = (int(n) for n in recording.shape)
    return samples, channels, lambda first, stop: recording[first:stop]
