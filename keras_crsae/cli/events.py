"""``keras-crsae events``: from the spikes of trials to a folder with kernels, events and a report."""

from __future__ import annotations

import json
import warnings
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crsae_onnx.core.errors import FileError
from crsae_onnx.core.progress import ProgressBar

from keras_crsae.applications import neural_events
from keras_crsae.applications.neural_events.choices import kernel_choices
from keras_crsae.applications.neural_events.parameters import EventParameters
from keras_crsae.applications.neural_events.spike_counts import SpikeCounts, bin_spikes
from keras_crsae.applications.neural_events.tables import held_out_table, kernel_table
from keras_crsae.applications.spike_sorting.result_folder import check_new_folder
from keras_crsae.cli.sort import REPORT_FILE, table_text
from keras_crsae.cli.startup import start_keras
from keras_crsae.data.paths import existing_file
from keras_crsae.data.rasters import read_labels, read_raster, read_times

if TYPE_CHECKING:
    from keras_crsae.applications.neural_events import NeuralEvents


def events(args: Namespace) -> NeuralEvents:
    """Fit with the parsed options; input, output and options are checked before TensorFlow starts.

    Returns:
        The ``NeuralEvents``.

    Raises:
        FileError: invalid input or output.
        ValueError: invalid option.
    """
    folder = check_new_folder(args.output, args.overwrite)
    parameters = read_parameters(args)
    counts = _read(args, parameters)
    trials, _, neurons = counts.counts.shape
    conditions = None if args.conditions is None else _conditions(args, trials)
    onsets = None if args.onsets is None else _onsets(args.onsets, trials)
    kernel_choices(counts, args.kernels, args.kernel_ms, onsets, parameters)
    print(f"{args.input}: {trials} trials of {counts.duration_ms:g} ms, {neurons} neuron{'s' * (neurons > 1)}, "
          f"{int(counts.counts.sum())} spikes", flush=True)
    with ProgressBar(args.progress) as progress:
        progress("start TensorFlow", 0.0)
        start_keras()
        result = neural_events.fit_events(counts, kernel_ms=args.kernel_ms, kernels=args.kernels, onsets=onsets,
                                          conditions=conditions, parameters=parameters, seed=args.seed,
                                          progress=progress)
        progress("write the result", 0.0)
        written = _write(result, folder, args.overwrite)
    _say(result, folder, written)
    return result


def read_parameters(args: Namespace) -> EventParameters:
    """The ``EventParameters`` of a JSON file and the options."""
    values: dict[str, Any] = {}
    if args.parameters is not None:
        text = existing_file(args.parameters, "a JSON file of parameters").read_text(encoding="utf-8")
        try:
            values = json.loads(text)
            if not isinstance(values, dict):
                raise ValueError(f"Expected a JSON object, for example {{\"folds\": 5}}. Received: {values!r}")
        except ValueError as error:
            raise FileError(f"{args.parameters}: {error}") from error
    given = {name: getattr(args, name) for name in ("neurons", "baseline", "folds") if getattr(args, name) is not None}
    return EventParameters.from_dict({**values, **given})


def _read(args: Namespace, parameters: EventParameters) -> SpikeCounts:
    spikes, unit = read_raster(args.input, args.key, args.trials)
    return bin_spikes(spikes, args.bin_ms, sample_ms=args.sample_ms, window_ms=args.window_ms,
                      time_unit=unit or args.time_unit, likelihood=parameters.likelihood)


def _conditions(args: Namespace, trials: int) -> list[Any]:
    """Labels from an array of the input file, or from a text file with one a line."""
    path = Path(args.conditions)
    if path.suffix.lower() in (".txt", ".csv"):
        labels = existing_file(path, "a text file with one label a line").read_text(encoding="utf-8").split()
    else:
        labels = read_labels(args.input, args.conditions)
    if len(labels) != trials:
        raise FileError(f"--conditions {args.conditions} gives {len(labels)} labels for {trials} trials.")
    return labels


def _onsets(words: list[str], trials: int) -> Any:
    """Numbers, the same for all trials; or a table of them."""
    try:
        return [float(word) for word in words]
    except ValueError:
        if len(words) != 1:
            raise FileError(f"--onsets: expected times in ms, or one .csv file. Received: {' '.join(words)}") from None
    return read_times(words[0], trials)


def _write(result: NeuralEvents, folder: Path, overwrite: bool) -> list[str]:
    """Write the result and its report; names of the files."""
    result.save(folder, overwrite=overwrite)
    (folder / REPORT_FILE).unlink(missing_ok=True)  # that of an earlier result does not belong to this one
    try:
        neural_events.write_report(result, folder / REPORT_FILE)
    except ModuleNotFoundError as error:
        warnings.warn(f"{REPORT_FILE} is not written. {error}", stacklevel=3)
    return sorted(file.name for file in folder.iterdir())


def _say(result: NeuralEvents, folder: Path, written: list[str]) -> None:
    print(table_text(kernel_table(result)))
    if result.candidates:
        print("Held-out log likelihood of a trial (nats):\n" + table_text(held_out_table(result)))
    for message in result.messages:
        print(f"note: {message}")
    print(f"{folder}: {', '.join(written)}")
