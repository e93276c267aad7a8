"""What ``keras-crsae sort`` writes for other programs, on request: SpikeInterface's analyzer and curation, Phy, NWB."""

from __future__ import annotations

import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crsae_onnx.core.optional import import_optional

from keras_crsae.applications import spikeinterface

if TYPE_CHECKING:
    from keras_crsae.applications.spike_sorting import SpikeSortingResult

#: Option -> (what it writes into the folder, what it is, packages that it needs).
OUTPUTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "analyzer": ("analyzer", "for SpikeInterface and its GUI, a folder", ("spikeinterface.core",)),
    "phy": ("phy", "for Phy, a folder with a copy of the recording", ("spikeinterface.core", "pandas")),
    "nwb": ("sorting.nwb", "the units as an NWB file", ("pynwb",)),
    "curation": ("curation.json", "doubtful merges and splits, for SpikeInterface's GUI", ()),
}


def add_output_options(sub: ArgumentParser) -> None:
    """An option for each of ``OUTPUTS``."""
    group = sub.add_argument_group("for other programs")
    for name, (file, text, _) in OUTPUTS.items():
        group.add_argument(f"--{name}", action="store_true", help=f"write {file}: {text}")


def check_outputs(args: Namespace) -> None:
    """Refuse what cannot be written, before work starts.

    Raises:
        ModuleNotFoundError: a package that an option needs is missing.
    """
    for name, (_, _, packages) in OUTPUTS.items():
        for package in packages if getattr(args, name) else ():
            import_optional(package, f"--{name}")


def write_outputs(args: Namespace, result: SpikeSortingResult, folder: Path, recording: Any) -> list[str]:
    """Write what the options ask for into the result's folder; names of the files and folders.

    What another sorting left and this one does not write stays, with a warning: it may hold a person's work.
    """
    write: dict[str, Callable[[Path], Any]] = {
        "analyzer": lambda path: spikeinterface.as_analyzer(result, recording, path, overwrite=args.overwrite),
        "phy": lambda path: spikeinterface.write_phy(result, recording, path, overwrite=args.overwrite),
        "nwb": lambda path: spikeinterface.write_nwb(result, path, recording, overwrite=args.overwrite),
        "curation": lambda path: spikeinterface.write_curation(result, path, recording, overwrite=args.overwrite)}
    written = []
    for name, (file, _, _) in OUTPUTS.items():
        if getattr(args, name):
            write[name](folder / file)
            written.append(file)
        elif (folder / file).exists():
            warnings.warn(f"{folder / file} is of an earlier sorting. Write it anew with --{name}, or delete it.",
                          stacklevel=2)
    return written
