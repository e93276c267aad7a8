"""What SpikeInterface (0.105) offers no public way for, in one place.

- Its sorters are a table in ``spikeinterface.sorters.sorterlist`` without entry points: ``add_sorter`` changes it.
- ``run_sorter`` refuses a recording that lives in memory (it cannot be written as JSON or pickle), before any hook of
  a sorter is called: ``InMemoryRecordings`` overrides ``BaseSorter.initialize_folder`` to save it into the folder
  first, and writes ``spikeinterface_recording.json`` anew with a relative path, so that the folder can be moved.

The tests of this module fail when a new SpikeInterface changes the names used here; the extra ``spikes`` bounds its
version for that reason.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

from spikeinterface.core import BaseRecording, load
from spikeinterface.sorters import BaseSorter, sorterlist

#: Where SpikeInterface writes how a recording is loaded.
RECORDING_FILE = "spikeinterface_recording.json"


def add_sorter(sorter: type[BaseSorter]) -> None:
    """Add a sorter class to SpikeInterface's table, once."""
    sorterlist.sorter_dict[sorter.sorter_name] = sorter
    if sorter not in sorterlist.sorter_full_list:
        sorterlist.sorter_full_list.append(sorter)


def save_quietly(extractor: Any, folder: Path, **options: Any) -> Any:
    """``extractor.save`` without SpikeInterface's warning that the extractor is not serialisable."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The extractor is not serializable to file")
        return extractor.save(folder=folder, **options)


class InMemoryRecordings(BaseSorter):
    """Base of a sorter that also accepts recordings that live in memory."""

    @classmethod
    def initialize_folder(cls, recording: Any, output_folder: str | Path | None, verbose: bool,
                          remove_existing_folder: bool) -> Path:
        """As SpikeInterface's, but a recording that cannot be serialised is saved into the folder first."""
        target = Path(output_folder or f"{cls.sorter_name}_output").absolute()
        refused = not isinstance(recording, BaseRecording) or (
            target.is_dir() and not remove_existing_folder)
        if refused or any(recording.check_serializability(kind) for kind in ("json", "pickle")):
            return super().initialize_folder(recording, output_folder, verbose, remove_existing_folder)
        # SpikeInterface requires that the folder does not exist yet: the recording is saved beside it, then moved.
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent,
                                         ignore_cleanup_errors=True) as temporary:
            saved = save_quietly(recording, Path(temporary) / "recording", verbose=verbose, progress_bar=verbose)
            folder = super().initialize_folder(saved, target, verbose, remove_existing_folder)
            del saved  # closes its files, which Windows could not move otherwise
            shutil.move(Path(temporary) / "recording", folder / "recording")
        load(folder / "recording").dump(folder / RECORDING_FILE, relative_to=folder)
        return folder
