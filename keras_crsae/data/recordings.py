"""Recordings from files: arrays, raw binary, and what SpikeInterface reads (NWB, Neo's formats, its own folders)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from crsae_onnx.core.errors import FileError, one_line
from crsae_onnx.core.optional import import_optional
from crsae_onnx.core.raw_binary import DEFAULT_RAW_DTYPE, RAW_SUFFIXES, open_raw
from crsae_onnx.core.signals import check_recording

from keras_crsae.data.arrays import read_array
from keras_crsae.data.paths import ARRAY_SUFFIXES, WAV, existing_file
from keras_crsae.data.wav import read_wav

#: What SpikeInterface leaves in a folder (binary, Zarr) that it saved a recording to.
_SAVED = ("si_folder.json", "cached.json", "binary.json", "spikeinterface_info.json", ".zattrs", "zarr.json")


def read_recording(path: str | PathLike[str], sampling_frequency: float | None = None, channels: int | None = None,
                   dtype: str | None = None, key: str | None = None, stream: str | None = None,
                   segment: int | None = None) -> Any:
    """A recording, memory-mapped: only the samples that are read come into memory.

    What is given and contradicts the file (its sampling frequency, channels, type of samples) is refused.

    Args:
        path: ``.npy`` or ``.npz``, (samples,) or (samples, channels); raw binary (``.dat``, ``.bin``, ``.raw``),
            sample after sample with the channels side by side; ``.wav``; ``.nwb``; a file or folder of another
            format that SpikeInterface reads, or a folder that it saved.
        sampling_frequency: Hz, of files that do not store it.
        channels: number of channels; raw files need it.
        dtype: of the samples, one of ``RAW_DTYPES``; None: int16 for a raw file.
        key: name of the array of a ``.npz`` file that holds several.
        stream: name of the signal where a file holds several; path of the ElectricalSeries in a ``.nwb`` file.
        segment: which of several segments that SpikeInterface reads, from 0; None: all, for ``select_segments``.

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
    if sampling_frequency is None and states_no_frequency(path, channels):
        existing_file(path, "a recording")
        raise FileError(f"{path} does not store its sampling frequency. Give it in Hz: --fs 30000.")
    recording = open_recording(path, sampling_frequency, channels, dtype, key, stream, segment)
    if getattr(recording, "ndim", 2) not in (1, 2):
        raise FileError(f"{path} has shape {recording.shape}. Expected (samples,) or (samples, channels).")
    return recording


def open_recording(path: str | PathLike[str], sampling_frequency: float | None, channels: int | None = None,
                   dtype: str | None = None, key: str | None = None, stream: str | None = None,
                   segment: int | None = None) -> Any:
    """As ``read_recording``, for work that needs no sampling frequency; arrays may have any number of axes."""
    path = Path(path)
    if _is_array(path):
        recording = read_array(path, key)
    elif _is_raw(path, channels):
        recording = read_raw(path, channels, dtype)
    elif path.suffix.lower() == WAV and not path.is_dir():
        recording = read_wav(path)[1]
    else:
        if not path.exists():
            raise FileError(f"No file or folder at {path}. Expected a recording.")
        recording = _read_by_spikeinterface(path, "" if path.is_dir() else path.suffix.lower(), stream)
    _check_facts(recording, path, sampling_frequency, channels, dtype)
    return _of_segment(recording, path, segment)


def states_no_frequency(path: str | PathLike[str], channels: int | None = None) -> bool:
    """Whether a file is of a kind that does not store its sampling frequency.

    Example:
        >>> from keras_crsae.data.recordings import states_no_frequency
        >>> states_no_frequency("y.npy"), states_no_frequency("y.nwb")
        (True, False)
    """
    path = Path(path)
    return _is_array(path) or (_is_raw(path, channels) and not _spikeglx_facts(path).get("frequency"))


def _is_array(path: Path) -> bool:
    return path.suffix.lower() in ARRAY_SUFFIXES and not path.is_dir()


def _is_raw(path: Path, channels: int | None = 0) -> bool:
    """Whether a file is read as raw binary; where SpikeGLX describes it in a .meta file, only if channels are given."""
    described = channels is None and path.name != "" and path.with_suffix(".meta").is_file()
    return path.suffix.lower() in RAW_SUFFIXES and not path.is_dir() and not described


def _spikeglx_facts(path: Path) -> dict[str, float]:
    """``channels`` and ``frequency`` (Hz) that SpikeGLX states of a .bin file in the .meta file of the same name."""
    meta, facts = path.with_suffix(".meta"), {}
    if meta.is_file():
        for line in meta.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.strip().partition("=")
            fact = {"nSavedChans": "channels", "imSampRate": "frequency", "niSampRate": "frequency"}.get(name)
            if fact and value.replace(".", "", 1).isdigit():
                facts[fact] = float(value)
    return facts


def _check_facts(recording: Any, path: Path, sampling_frequency: float | None, channels: int | None, dtype: str | None
                 ) -> None:
    """Refuse a sampling frequency, number of channels or type of samples that the file contradicts."""
    known = hasattr(recording, "get_sampling_frequency")
    rate = float(recording.get_sampling_frequency()) if known else stored_frequency(path)
    if sampling_frequency is not None and rate is not None and abs(sampling_frequency - rate) > 1e-3 * rate:
        raise FileError(f"{path} has a sampling frequency of {rate:g} Hz, not {sampling_frequency:g}. Omit it.")
    stated = _spikeglx_facts(path).get("channels") if _is_raw(path) else None
    count = _channels(recording) if stated is None else round(stated)
    if channels is not None and count != channels:
        raise FileError(f"{path} has {count} channels, not {channels}.")
    stored = np.dtype(recording.get_dtype() if hasattr(recording, "get_dtype") else recording.dtype).name
    if dtype is not None and stored != dtype:
        raise FileError(f"{path} holds samples of type {stored}, not {dtype}. Omit it: --dtype is for raw files.")


def _of_segment(recording: Any, path: Path, segment: int | None) -> Any:
    if segment is None:
        return recording
    if not hasattr(recording, "select_segments"):
        if segment != 0:
            raise FileError(f"{path} holds 1 segment, its number is 0. Received: segment={segment}.")
        return recording
    try:
        return recording.select_segments([check_segment(recording, segment)])
    except ValueError as error:
        raise FileError(f"{path}: {error}") from error


def check_segment(recording: Any, segment: int | None = None) -> int:
    """Index of the segment of a SpikeInterface recording that is meant.

    Raises:
        ValueError: several segments and none chosen, or no such segment.

    Example:
        >>> import numpy as np
        >>> from spikeinterface.core import NumpyRecording
        >>> from keras_crsae.data.recordings import check_segment
        >>> check_segment(NumpyRecording([np.zeros((9000, 4)), np.zeros((5000, 4))], 30000.0), segment=1)
        1
    """
    count = recording.get_num_segments()
    if segment is None:
        if count == 1:
            return 0
        raise ValueError(f"The recording has {count} segments; one continuous stretch is expected. Choose one of 0 to "
                         f"{count - 1}: recording.select_segments([0]), or --segment 0 on the command line; or join "
                         "them with spikeinterface.concatenate_recordings([recording]).")
    if isinstance(segment, bool) or not isinstance(segment, int | np.integer) or not 0 <= segment < count:
        numbers = "its number is 0" if count == 1 else f"their numbers are 0 to {count - 1}"
        raise ValueError(f"The recording has {count} segment{'s' * (count > 1)}, {numbers}. Received: "
                         f"segment={segment!r}.")
    return int(segment)


def _channels(recording: Any) -> int:
    if hasattr(recording, "get_num_channels"):
        return int(recording.get_num_channels())
    return 1 if recording.ndim == 1 else recording.shape[-1]


def stored_frequency(path: str | Path, default: float | None = None) -> float | None:
    """Sampling frequency in Hz that a ``.wav`` file or SpikeGLX's .meta file states; of other files ``default``."""
    path = Path(path)
    if path.suffix.lower() == WAV and path.is_file():
        return float(read_wav(path)[0])
    return _spikeglx_facts(path).get("frequency", default) if _is_raw(path) else default


def read_raw(path: str | PathLike[str], channels: int | None, dtype: str | None = None) -> np.ndarray:
    """A raw binary file as a memory map (samples, channels); see ``open_raw`` for what is checked.

    Raises:
        FileError: missing file, no number of channels, a type that is not in ``RAW_DTYPES``, a size that is no whole
            number of samples, or values that are not of this type.
    """
    path = existing_file(path, "a raw recording")
    if channels is None:
        raise FileError(f"{path} does not store its number of channels. Give it: --channels 4.")
    try:
        return open_raw(path, channels, dtype or DEFAULT_RAW_DTYPE)
    except FileError:
        raise
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
    """``read()``; of a file that is refused one message remains, whatever the reader warned of before."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default", UserWarning)
            recording = read()
        for warning in caught:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        return recording
    except ModuleNotFoundError as error:
        raise FileError(f"{path} needs a package that is not installed: {one_line(error)}.") from error
    except Exception as error:  # every format raises a family of its own
        kind = "folder" if path.is_dir() else "file"
        raise FileError(f"{path} is no {kind} that SpikeInterface reads as a recording ({one_line(error, 600)}). If it "
                        "holds several signals, choose one with --stream NAME.") from error


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
        check_segment(recording)
        return (int(recording.get_num_samples()), int(recording.get_num_channels()),
                lambda first, stop: recording.get_traces(start_frame=first, end_frame=stop))
    check_recording(recording)
    samples, channels = (int(n) for n in recording.shape)
    return samples, channels, lambda first, stop: recording[first:stop]
