"""Results as the units table of an NWB file. Needs pynwb (extra ``nwb``)."""

from __future__ import annotations

import datetime
import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from crsae_onnx.core.atomic_files import atomic_write
from crsae_onnx.core.errors import FileError, one_line
from crsae_onnx.core.optional import import_optional
from crsae_onnx.core.version import package_version

from keras_crsae.applications.spike_sorting.quality import unit_quality
from keras_crsae.applications.spike_sorting.recording_view import is_recording
from keras_crsae.applications.spike_sorting.result import SpikeSortingResult
from keras_crsae.applications.spikeinterface.convert import best_channels
from keras_crsae.data.paths import check_output

#: Columns of the units table besides spike times and templates.
_COLUMNS = {
    "best_channel": "index of the channel with the largest magnitude of the template, from 0",
    "peak_amplitude": "the template's extremum on that channel, in the recording's unit",
    "snr": "magnitude of that extremum over the noise of the channel",
    "isi_violations_ratio": "of intervals below 1.5 ms (Hill et al. 2011)",
    "rp_contamination": "fraction of foreign spikes that explains pairs within 1 ms (Llobet et al. 2022)"}


def write_nwb(result: SpikeSortingResult, path: str | os.PathLike[str], recording: Any = None, *,
              session_start_time: datetime.datetime | None = None, append: bool = False, overwrite: bool = False
              ) -> Path:
    """Write the units of a result into an NWB file: spike times, templates, and how good each unit is.

    Spike times are in seconds from the start of the session. With several segments, or a recording that starts later,
    the times are the recording's own where it is given.

    Args:
        result: of ``spike_sorting.sort``.
        path: ``.nwb`` file to write.
        recording: the SpikeInterface recording that was sorted: its times, and templates in volts where it has gains.
        session_start_time: with a time zone; None: the time of writing, which the file's description then says.
        append: add the units to an existing file, for example the recording's, which must have none.
        overwrite: replace an existing file.

    Returns:
        The path.

    Raises:
        FileError: the file exists; with ``append``: it does not, is no NWB file, or has units.
        ModuleNotFoundError: pynwb is missing.
    """
    pynwb = import_optional("pynwb", "NWB")
    path = Path(path)
    if not append:
        check_output(path, (".nwb",), overwrite)
        file = _new_file(pynwb, session_start_time)
        file.units = _units(pynwb, result, recording)
        with atomic_write(path, overwrite) as temporary, pynwb.NWBHDF5IO(str(temporary), "w") as io:
            io.write(file)
        return path
    if not path.is_file():
        raise FileError(f"No file at {path} to add units to. Omit append to write a new one.")
    try:
        io = pynwb.NWBHDF5IO(str(path), "a", load_namespaces=True)
    except Exception as error:  # h5py's and hdmf's own
        raise FileError(f"{path} is no NWB file ({one_line(error)}).") from error
    with io:
        file = io.read()
        if file.units is not None:
            raise FileError(f"{path} has units already. Write another file.")
        file.units = _units(pynwb, result, recording)
        io.write(file)
    return path


def _new_file(pynwb: Any, start: datetime.datetime | None) -> Any:
    known = "" if start is not None else " The start of the session is not known: it is the time of writing."
    return pynwb.NWBFile(session_description=f"Units sorted by keras-crsae {package_version()}.{known}",
                         identifier=str(uuid.uuid4()),
                         session_start_time=start or datetime.datetime.now(datetime.UTC))


def _units(pynwb: Any, result: SpikeSortingResult, recording: Any) -> Any:
    frequency, known = result.sampling_frequency, is_recording(recording)
    units = pynwb.misc.Units(name="units", resolution=1 / frequency, waveform_rate=float(frequency),
                             description=f"Sorted by keras-crsae {package_version()}. " + " ".join(result.messages))
    for name, text in _COLUMNS.items():
        units.add_column(name, text)
    times, intervals = _times(result, recording if known else None)
    channels = best_channels(result.templates)
    quality = unit_quality(result.spike_samples, result.spike_units, result.num_units, samples=result.recording_samples,
                           sampling_frequency=frequency, noise=result.noise,
                           templates=None if result.noise is None else result.templates) if result.num_units else {}
    for unit in range(result.num_units):
        wave = result.templates[unit, :, channels[unit]]
        values = {"best_channel": int(channels[unit]), "peak_amplitude": float(wave[np.abs(wave).argmax()])}
        values |= {name: float(quality[name][unit]) if name in quality else np.nan
                   for name in ("snr", "isi_violations_ratio", "rp_contamination")}
        if known and recording.has_scaleable_traces():  # NWB's waveforms are in volts
            values["waveform_mean"] = 1e-6 * np.asarray(result.templates[unit], np.float64)
        units.add_unit(id=unit, spike_times=times[result.spike_units == unit], obs_intervals=intervals, **values)
    return units


def _times(result: SpikeSortingResult, recording: Any) -> tuple[np.ndarray, np.ndarray]:
    """(seconds of each spike, (start, stop) seconds of each segment)."""
    segments = result.segments or [(0, result.recording_samples)]
    if recording is None:
        return result.spike_samples / result.sampling_frequency, np.array(segments) / result.sampling_frequency
    times, intervals = np.zeros(len(result.spike_samples)), []
    for index, (start, stop) in enumerate(segments):
        inside = (result.spike_samples >= start) & (result.spike_samples < stop)
        times[inside] = recording.sample_index_to_time(result.spike_samples[inside] - start, segment_index=index)
        first, last = (float(recording.sample_index_to_time(np.array([sample]), segment_index=index)[0])
                       for sample in (0, stop - start - 1))
        intervals.append((first, last + 1 / result.sampling_frequency))
    return times, np.array(intervals)
