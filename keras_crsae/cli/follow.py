"""``keras-crsae follow``: the spikes of a later recording, by templates that change with them."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from crsae_onnx.core.errors import FileError
from crsae_onnx.core.progress import ProgressBar

from keras_crsae.applications import spike_sorting
from keras_crsae.applications.spike_sorting.motion import FOLLOW_STEP, MOTION_WAS_TAKEN_OUT
from keras_crsae.applications.spike_sorting.result_folder import (
    SETTINGS,
    check_new_folder,
    existing_folder,
    read_settings,
)
from keras_crsae.applications.spike_sorting.unit_table import unit_table
from keras_crsae.cli.sort import read_alike, table_text, write_folder
from keras_crsae.cli.sort_outputs import check_outputs, write_outputs
from keras_crsae.cli.startup import start_keras

if TYPE_CHECKING:
    from keras_crsae.applications.spike_sorting import SpikeSortingResult


def follow(args: Namespace) -> SpikeSortingResult:
    """Follow the sorting in the folder ``args.model`` into the recording ``args.input``, into a new folder.

    Returns:
        The ``SpikeSortingResult`` of the recording.

    Raises:
        FileError: invalid input or output, a recording of other electrodes, or a sorting whose motion was taken out.
    """
    folder = check_new_folder(args.output, args.overwrite)
    if folder.is_dir() and Path(args.model).is_dir() and folder.samefile(args.model):
        raise FileError(f"{folder} is the sorting that is followed. Choose another folder.")
    if folder.is_dir() and Path(args.input).exists() and folder.samefile(args.input):
        raise FileError(f"{folder} is the recording. Choose another folder.")
    check_outputs(args)
    if read_settings(existing_folder(args.model, (SETTINGS,))).get("motion") is not None:
        raise FileError(MOTION_WAS_TAKEN_OUT)
    recording, _ = read_alike(args, tolerance=1e-5)
    with ProgressBar(args.progress, steps=("start TensorFlow", FOLLOW_STEP, "write the result")) as progress:
        progress("start TensorFlow", 0.0)
        start_keras()
        result = spike_sorting.follow(spike_sorting.load_result(args.model), recording, progress=progress)
        progress("write the result", 0.0)
        written = write_folder(result, folder, recording, args.overwrite)
        written += write_outputs(args, result, folder, recording)
    print(table_text(unit_table(result)))
    print(f"note: {result.messages[-1]}\n{folder}: {', '.join(written)}\n"
          f"Next: keras-crsae follow {folder} NEXT_RECORDING --output FOLDER")
    return result
