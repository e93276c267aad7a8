"""``keras-crsae sort`` and ``encode`` with a sorter: from a recording file to a folder, or to a table of spikes."""

from __future__ import annotations

import json
import math
import warnings
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from crsae_onnx.core.atomic_files import atomic_write
from crsae_onnx.core.errors import FileError
from crsae_onnx.core.optional import import_optional
from crsae_onnx.core.progress import ProgressBar
from crsae_onnx.core.raw_binary import RAW_SUFFIXES

from keras_crsae.applications import spike_sorting
from keras_crsae.applications.spike_sorting.motion import check_motion, motion_steps
from keras_crsae.applications.spike_sorting.parameters import STEPS, SortingOptions, with_options
from keras_crsae.applications.spike_sorting.recording import as_recording, check_options
from keras_crsae.applications.spike_sorting.result_folder import check_new_folder, read_reader, write_spikes
from keras_crsae.applications.spike_sorting.unit_table import unit_table
from keras_crsae.cli.sort_outputs import check_outputs, write_outputs
from keras_crsae.cli.startup import start_keras
from keras_crsae.data.paths import ENCODER_FILE, check_output, existing_file
from keras_crsae.data.recordings import read_recording, states_no_frequency, stored_frequency

if TYPE_CHECKING:
    from keras_crsae.applications.spike_sorting import SortingParameters, SpikeSortingResult

#: Report of a sorting, beside the files of the result.
REPORT_FILE = "report.html"


def sort(args: Namespace) -> SpikeSortingResult:
    """Sort with the parsed options; input, output and packages are checked before TensorFlow starts.

    Returns:
        The ``SpikeSortingResult``.

    Raises:
        FileError: invalid input or output.
        ValueError: invalid option; NoSpikesError where no unit exceeds the noise.
        ModuleNotFoundError: a package of the extra ``spikes`` is missing.
    """
    folder = check_new_folder(args.output, args.overwrite)
    if folder.is_dir() and Path(args.input).exists() and folder.samefile(args.input):
        raise FileError(f"{folder} is the recording. Choose another folder.")
    import_optional("sklearn", "Spike sorting")
    check_outputs(args)
    options = {name: value for name in SortingOptions.__annotations__ if (value := getattr(args, name)) is not None}
    parameters = with_options(read_parameters(args.parameters), **options)
    recording = _read(args)
    checked = as_recording(recording, args.fs)
    check_options(checked, args.band, args.common_reference, parameters)
    check_motion(args.motion, checked.channel_locations)
    (samples, channels), frequency = checked.traces.shape, checked.sampling_frequency
    print(f"{args.input}: {samples / frequency:.6g} s at {frequency:g} Hz, {channels} channel{'s' * (channels > 1)}",
          flush=True)
    steps = motion_steps(args.motion, STEPS)
    with ProgressBar(args.progress, steps=("start TensorFlow", *steps, "write the result")) as progress:
        progress("start TensorFlow", 0.0)
        start_keras()
        result = spike_sorting.sort(recording, args.fs, units=args.units, band=args.band,
                                    common_reference=args.common_reference, motion=args.motion, seed=args.seed,
                                    parameters=parameters, progress=progress)
        progress("write the result", 0.0)
        written = write_folder(result, folder, recording, args.overwrite)
        written += write_outputs(args, result, folder, recording)
    print(table_text(unit_table(result)))
    for message in result.messages:
        print(f"note: {message}")
    print(f"{folder}: {', '.join(written)}\nNext: keras-crsae encode {folder} OTHER_RECORDING spikes.csv")
    return result


def write_folder(result: SpikeSortingResult, folder: Path, recording: Any, overwrite: bool) -> list[str]:
    """Write the result, its encoder and, where the recording is given, its report; names of the files."""
    result.save(folder, overwrite=overwrite)
    for name in (ENCODER_FILE, REPORT_FILE):  # those of an earlier sorting do not belong to this one
        (folder / name).unlink(missing_ok=True)
    written = sorted(file.name for file in folder.iterdir())
    writers = {ENCODER_FILE: _write_encoder} | ({} if recording is None else {REPORT_FILE: _write_report})
    for name, write in writers.items():
        try:
            write(result, folder / name, recording)
            written.append(name)
        except ModuleNotFoundError as error:
            warnings.warn(f"{name} is not written. {error}", stacklevel=3)
    return written


def read_parameters(path: str | None) -> SortingParameters:
    """The ``SortingParameters`` of a JSON file that holds those which differ from their defaults; None: the defaults.

    Raises:
        FileError: missing, no JSON object, an unknown name or an invalid value.

    Example:
        >>> from keras_crsae.cli.sort import read_parameters
        >>> read_parameters(None).refractory_ms
        1.0
    """
    if path is None:
        return spike_sorting.SortingParameters()
    text = existing_file(path, "a JSON file of sorting parameters").read_text(encoding="utf-8")
    try:
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"Expected a JSON object, for example {{\"refractory_ms\": 1.5}}. Received: {values!r}")
        return spike_sorting.SortingParameters.from_dict(values)
    except ValueError as error:
        raise FileError(f"{path}: {error}") from error


def _read(args: Namespace) -> Any:
    """The recording of the options; ``args.fs`` becomes the sampling frequency of a file that stores it."""
    recording = read_recording(args.input, args.fs, args.channels, args.dtype, args.key, args.stream, args.segment)
    args.fs = stored_frequency(args.input, args.fs)
    return recording


def _write_encoder(result: SpikeSortingResult, path: Path, recording: Any) -> None:
    """An encoder that takes recordings as they are: whitening, codes and spikes are inside its graph."""
    from crsae_onnx.convert import convert

    convert(result.model, path, outputs=("code", "spikes"), spikes=result.reader)


def _write_report(result: SpikeSortingResult, path: Path, recording: Any) -> None:
    spike_sorting.write_report(result, path, recording)


def read_sorted(args: Namespace) -> Any:
    """The recording ``args.input``; what its file does not say is that of the sorter in the folder ``args.model``."""
    reader = read_reader(args.model)
    suffix = Path(args.input).suffix.lower()
    if suffix in RAW_SUFFIXES and not Path(args.input).with_suffix(".meta").is_file():
        args.channels = args.channels or reader.whitening.channels
    if args.fs is None and states_no_frequency(args.input, args.channels):  # the sorter's
        args.fs = reader.sampling_frequency
    return _read(args)


def read_alike(args: Namespace, tolerance: float = 1e-3) -> tuple[Any, Any]:
    """(recording ``args.input``, its traces), of the channels and the sampling frequency of the sorter ``args.model``.

    ``tolerance``: by which fraction the sampling frequencies may differ.

    Raises:
        FileError: another sampling frequency.
        SignalError: other channels, or shorter than a template.
    """
    reader, recording = read_reader(args.model), read_sorted(args)
    traces, frequency, _ = as_recording(recording, args.fs)
    if not math.isclose(frequency, reader.sampling_frequency, rel_tol=tolerance):
        raise FileError(f"{args.input} has a sampling frequency of {frequency:g} Hz; the sorter {args.model} was "
                        f"trained at {reader.sampling_frequency:g} Hz. Resample the recording, or sort it anew.")
    reader.check(traces)
    return recording, traces


def encode(args: Namespace) -> None:
    """Find the spikes of a recording with the sorter in the folder ``args.model``; see ``sort`` for what it raises."""
    output = check_output(args.output, (".csv",), args.overwrite, inputs=(args.input,))
    invalid = [name for name, value in (("--sparse", args.sparse), ("--window", args.window),
                                        ("--low-pass", args.low_pass)) if value]
    if invalid:
        raise FileError(f"{args.model} is a sorter, which writes spikes. Omit {', '.join(invalid)}.")
    _, traces = read_alike(args)
    with ProgressBar(args.progress) as progress:
        progress("start TensorFlow", 0.0)
        start_keras()
        model, reader = spike_sorting.load_reader(args.model)
        progress("find spikes", 0.0)
        spikes = reader.find(model.encode, traces, lambda done, total: progress(
            f"find spikes, {done} of {total} frames", done / total))
    with atomic_write(output, args.overwrite) as temporary:
        write_spikes(temporary, spikes, reader.sampling_frequency)
    counts = np.bincount(spikes.unit_id, minlength=len(reader.mean_amplitude))
    print(f"{output}: {len(spikes.peak_sample)} spikes in {traces.shape[0] / reader.sampling_frequency:.6g} s; "
          + ", ".join(f"unit {unit}: {count}" for unit, count in enumerate(counts)))


def table_text(columns: Mapping[str, Sequence[str]]) -> str:
    """Columns as aligned lines under their names.

    Example:
        >>> from keras_crsae.cli.sort import table_text
        >>> print(table_text({"unit": ["0", "1"], "spikes": ["120", "7"]}))
        unit  spikes
           0     120
           1       7
    """
    widths = {name: max(len(name), *(len(v) for v in values)) for name, values in columns.items()}
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    return "\n".join("  ".join(f"{text:>{width}}" for text, width in zip(row, widths.values(), strict=True))
                     for row in rows)
