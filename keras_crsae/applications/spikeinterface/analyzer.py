"""Results as SpikeInterface's ``SortingAnalyzer``, which its GUI opens, and as a folder for Phy."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from crsae_onnx.core.errors import FileError
from crsae_onnx.core.optional import import_optional

from keras_crsae.applications.spike_sorting.motion import sorted_traces, without_motion
from keras_crsae.applications.spike_sorting.recording_view import is_recording
from keras_crsae.applications.spike_sorting.result import SpikeSortingResult
from keras_crsae.applications.spike_sorting.templates import WIDE_PROBE_CHANNELS
from keras_crsae.applications.spikeinterface.convert import as_sorting

if TYPE_CHECKING:
    from spikeinterface.core import SortingAnalyzer

#: What SpikeInterface's GUI and Phy show, in the order in which it is computed.
_EXTENSIONS: dict[str, dict[str, Any]] = {
    "random_spikes": {}, "waveforms": {}, "templates": {}, "noise_levels": {},
    "unit_locations": {"method": "center_of_mass"}, "spike_amplitudes": {}, "correlograms": {},
    "template_similarity": {}}
#: Quality metrics, where pandas is installed.
_METRICS = ["num_spikes", "firing_rate", "snr", "isi_violation", "rp_violation"]
#: Micrometres between channels whose positions are not known.
_UNKNOWN_PITCH_UM = 20.0


def as_analyzer(result: SpikeSortingResult, recording: Any, folder: str | os.PathLike[str] | None = None, *,
                overwrite: bool = False, job_kwargs: Mapping[str, Any] | None = None) -> SortingAnalyzer:
    """A result and its recording as SpikeInterface's ``SortingAnalyzer``, with what its GUI shows.

    The analyzer sees the recording with the band and the common reference that sorting used. Channels without
    positions get a column, 20 micrometres apart.

    Args:
        result: of ``spike_sorting.sort``.
        recording: the recording that was sorted, as ``sort`` takes it.
        folder: where the analyzer is saved; None: in memory.
        overwrite: replace an analyzer in ``folder``.
        job_kwargs: of SpikeInterface, such as ``{"n_jobs": 4}``.

    Returns:
        ``SortingAnalyzer`` with waveforms, templates, amplitudes, positions, correlograms, similarity and, where
        pandas is installed, quality metrics.

    Raises:
        ValueError: no units, a recording of another shape.
        FileError: the folder exists.

    Example:
        >>> from keras_crsae.applications import spike_sorting
        >>> from keras_crsae.applications.spikeinterface import as_analyzer
        >>> from keras_crsae.data.simulate import simulate_spikes, spike_templates
        >>> truth = spike_templates(kernel_size=24, filters=2, seed=3)
        >>> traces = simulate_spikes(truth, windows=1, samples=30_000, events_per_window=40, amplitude=(16.0, 1.0),
        ...                          refractory=30, seed=1).signal[0]
        >>> result = spike_sorting.sort(traces, sampling_frequency=10000,
        ...                             parameters=spike_sorting.SortingParameters(epochs=1))
        >>> as_analyzer(result, traces).get_extension("templates").get_data().shape[0]
        2
    """
    core = import_optional("spikeinterface.core", "An analyzer")
    if not result.num_units:
        raise ValueError("The result has no units, of which nothing can be computed.")
    extractor = as_extractor(result, recording)
    if folder is not None and Path(folder).exists() and not overwrite:
        raise FileError(f"{folder} exists. Choose another folder, or ask to overwrite (overwrite=True, --overwrite).")
    jobs = {"progress_bar": False, **(job_kwargs or {})}
    wide = extractor.get_num_channels() > WIDE_PROBE_CHANNELS
    with warnings.catch_warnings():
        # Recordings in memory, and those without gains: as they are.
        warnings.filterwarnings("ignore", ".*not serializable")
        warnings.filterwarnings("ignore", ".*does not have scaling to uV")
        analyzer = core.create_sorting_analyzer(
            as_sorting(result, extractor), extractor, format="memory" if folder is None else "binary_folder",
            folder=folder, sparse=wide, overwrite=overwrite, seed=0, job_kwargs=jobs)
        analyzer.compute(dict(_EXTENSIONS), **jobs)
        if importlib.util.find_spec("pandas") is not None:
            analyzer.compute({"quality_metrics": {"metric_names": list(_METRICS)}}, **jobs)
    return analyzer


def write_phy(result: SpikeSortingResult, recording: Any, folder: str | os.PathLike[str], *, overwrite: bool = False,
              job_kwargs: Mapping[str, Any] | None = None) -> Path:
    """Write a folder that Phy opens: ``phy template-gui FOLDER/params.py``. The recording is copied into it.

    Args:
        result, recording, overwrite, job_kwargs: of ``as_analyzer``.
        folder: new, unless ``overwrite``.

    Returns:
        The folder.

    Raises:
        ValueError: see ``as_analyzer``; several segments, which Phy does not know.
        FileError: the folder exists.
    """
    import_optional("pandas", "Phy's tables")
    exporters = import_optional("spikeinterface.exporters", "Phy")
    folder = Path(folder)
    if result.segments is not None:
        raise ValueError(f"Phy knows one segment, and {len(result.segments)} were sorted. Sort "
                         "spikeinterface.concatenate_recordings([recording]) for Phy.")
    if folder.exists() and not overwrite:
        raise FileError(f"{folder} exists. Choose another folder, or ask to overwrite (overwrite=True, --overwrite).")
    jobs = {"progress_bar": False, **(job_kwargs or {})}
    analyzer = as_analyzer(result, recording, job_kwargs=job_kwargs)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Empty units have been removed")
        exporters.export_to_phy(analyzer, folder, remove_if_exists=overwrite, verbose=False, use_relative_path=True,
                                additional_properties=["peak_amplitude", "median_amplitude", "snr"], **jobs)
    return folder


def as_extractor(result: SpikeSortingResult, recording: Any) -> Any:
    """The recording that was sorted as a SpikeInterface recording, with positions, still, filtered as for sorting.

    Args:
        result: of ``spike_sorting.sort``.
        recording: as ``sort`` takes it; a memory-mapped file stays on the disk.

    Raises:
        ValueError: another length or number of channels than the one that was sorted.
    """
    core = import_optional("spikeinterface.core", "An analyzer")
    known = is_recording(recording)
    traces = sorted_traces(result, recording)  # checks its shape
    if result.motion is not None:
        frequency = None if known else result.sampling_frequency
        recording, known = without_motion(recording, result.motion, frequency, result.channel_locations), True
    extractor = recording if known else _from_array(core, traces, result.sampling_frequency)
    if not extractor.has_probe():
        places = result.channel_locations
        if places is None:
            places = np.stack([np.zeros(traces.shape[1]), _UNKNOWN_PITCH_UM * np.arange(traces.shape[1])], axis=1)
        extractor = extractor.select_channels(extractor.channel_ids)  # the user's own stays as it is
        extractor.set_dummy_probe_from_locations(places)
    return _filtered(extractor, result.settings)


def _from_array(core: Any, traces: Any, frequency: float) -> Any:
    if isinstance(traces, np.memmap) and traces.flags.c_contiguous and traces.filename is not None:
        # By the file's name, so that an analyzer that is loaded later finds it.
        return core.read_binary(str(traces.filename), sampling_frequency=frequency, dtype=traces.dtype.str,
                                num_channels=traces.shape[1], file_offset=int(traces.offset))
    return core.NumpyRecording([np.asarray(traces[:traces.shape[0]])], frequency)


def _filtered(extractor: Any, settings: Mapping[str, Any]) -> Any:
    band = settings["band"]
    if band is not None or settings["common_reference"]:
        preprocessing = import_optional("spikeinterface.preprocessing", "A filtered recording")
        if band is not None:
            low, high = band
            if high >= 0.99 * extractor.get_sampling_frequency() / 2:
                extractor = preprocessing.highpass_filter(extractor, freq_min=low, dtype="float32")
            else:
                extractor = preprocessing.bandpass_filter(extractor, freq_min=low, freq_max=high, dtype="float32")
        if settings["common_reference"]:
            extractor = preprocessing.common_reference(extractor, dtype="float32")
    return extractor
