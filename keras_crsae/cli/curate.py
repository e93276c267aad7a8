"""``keras-crsae curate``: a sorting after a curation of SpikeInterface."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from crsae_onnx.core.errors import FileError

from keras_crsae.applications import spike_sorting, spikeinterface
from keras_crsae.applications.spike_sorting.result_folder import check_new_folder
from keras_crsae.applications.spike_sorting.unit_table import unit_table
from keras_crsae.cli.sort import read_sorted, table_text, write_folder
from keras_crsae.cli.startup import start_keras
from keras_crsae.data.paths import existing_file

if TYPE_CHECKING:
    from keras_crsae.applications.spike_sorting import SpikeSortingResult


def curate(args: Namespace) -> SpikeSortingResult:
    """Apply the curation ``args.curation`` to the sorting in the folder ``args.model``, into a new folder.

    Returns:
        The curated ``SpikeSortingResult``.

    Raises:
        FileError: invalid input or output.
        ValueError: not a curation of this sorting, a split without the recording.
    """
    folder = check_new_folder(args.output, args.overwrite)
    if folder.is_dir() and Path(args.model).is_dir() and folder.samefile(args.model):
        raise FileError(f"{folder} is the sorting that is curated. Choose another folder.")
    path = existing_file(args.curation, "a curation")
    recording = None if args.input is None else read_sorted(args)
    start_keras()
    result = spikeinterface.apply_curation(spike_sorting.load_result(args.model), path, recording)
    written = write_folder(result, folder, recording, args.overwrite)
    print(table_text(unit_table(result)))
    print(f"note: {result.messages[-1]}\n{folder}: {', '.join(written)}")
    return result
