"""Doubtful merges and splits as SpikeInterface's curation JSON, and a curation applied to a result."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from crsae_onnx.core.atomic_files import atomic_write
from crsae_onnx.core.errors import FileError
from crsae_onnx.core.optional import import_optional

from keras_crsae.applications.spike_sorting.doubts import DoubtLimits, doubtful_merges, doubtful_splits
from keras_crsae.applications.spike_sorting.motion import sorted_traces
from keras_crsae.applications.spike_sorting.regrouping import regroup
from keras_crsae.applications.spike_sorting.result import SpikeSortingResult
from keras_crsae.data.paths import check_output

#: Version of the format, which SpikeInterface states.
FORMAT_VERSION = "2"
#: The labels that SpikeInterface's GUI offers by itself.
_LABELS = {"quality": {"label_options": ["good", "noise", "MUA", "artifact"], "exclusive": True}}


def propose_curation(result: SpikeSortingResult, recording: Any = None, limits: DoubtLimits | None = None
                     ) -> dict[str, Any]:
    """What a person should look at, as a curation of SpikeInterface: merges and splits that are doubtful.

    See ``spike_sorting.doubts`` for what is doubtful. Its GUI shows them as merges and splits to accept or delete.

    Args:
        result: of ``spike_sorting.sort``.
        recording: the one that was sorted, in which units are looked at for two groups; None: no splits.
        limits: ``DoubtLimits``.

    Returns:
        Plain JSON, unit ids as in ``result.sorting``.

    Raises:
        ValueError: a recording of another shape.
    """
    merges = doubtful_merges(result, limits)
    merged = {unit for doubt in merges for unit in doubt.units}
    splits = []
    if recording is not None:
        for split in doubtful_splits(result, sorted_traces(result, recording), limits):
            if split.unit not in merged:  # a curation may not do both
                groups = [np.flatnonzero(split.labels == group).tolist() for group in (False, True)]
                splits.append({"unit_id": split.unit, "mode": "indices", "indices": groups})
    return {"format_version": FORMAT_VERSION, "unit_ids": list(range(result.num_units)),
            "label_definitions": _LABELS, "manual_labels": [], "removed": [],
            "merges": [{"unit_ids": list(doubt.units)} for doubt in merges], "splits": splits}


def write_curation(result: SpikeSortingResult, path: str | os.PathLike[str], recording: Any = None,
                   overwrite: bool = False) -> Path:
    """Write ``propose_curation`` as a JSON file that SpikeInterface's GUI and ``load_curation`` read.

    Raises:
        FileError: the file exists, or cannot be written.
    """
    check_output(path, (".json",), overwrite)
    with atomic_write(path, overwrite) as temporary:
        Path(temporary).write_text(json.dumps(propose_curation(result, recording), indent=1), encoding="utf-8")
    return Path(path)


def apply_curation(result: SpikeSortingResult, curation: Any, recording: Any = None) -> SpikeSortingResult:
    """The result after a curation: units removed, merged and split; its model finds the new units.

    Units that stay come first, in order, then the merged ones, then the parts of split ones; a message says which unit
    was which. Manual labels become messages.

    Args:
        result: of ``spike_sorting.sort``, or loaded.
        curation: path of a JSON file, a dict, or SpikeInterface's ``Curation``, of ``result.sorting``'s units.
        recording: the one that was sorted; needed for splits.

    Returns:
        A new ``SpikeSortingResult``; ``save`` writes it.

    Raises:
        FileError: no such file, or no JSON.
        ValueError: not a curation, of other units, with a split but no recording, or nothing would be left.
    """
    model = _as_curation(curation)
    units = list(range(result.num_units))
    if sorted(map(str, model.unit_ids)) != sorted(map(str, units)):
        raise ValueError(f"The curation is of units {list(model.unit_ids)}; the result has {units}. Give the curation "
                         "of this result.")
    rows = [np.flatnonzero(result.spike_units == unit) for unit in units]
    merges = [[int(unit) for unit in merge.unit_ids] for merge in model.merges]
    splits = {int(split.unit_id): _parts(split, len(rows[int(split.unit_id)])) for split in model.splits}
    removed = {int(unit) for unit in model.removed}
    changed = removed | {unit for group in merges for unit in group} | set(splits)
    kept = [unit for unit in units if unit not in changed]
    groups = [rows[unit] for unit in kept]
    groups += [np.concatenate([rows[unit] for unit in group]) for group in merges]
    groups += [rows[unit][part] for unit, parts in splits.items() for part in parts]
    curated = regroup(result, groups, recording)
    was = [f"{unit}" for unit in kept] + [" and ".join(map(str, group)) for group in merges]
    was += [f"a part of {unit}" for unit, parts in splits.items() for _ in parts]
    curated.messages.append("curated: " + ", ".join(f"unit {new} was {old}" for new, old in enumerate(was)) + (
        f"; removed: {sorted(removed)}" if removed else "") + ".")
    curated.messages += [f"labels of unit {label.unit_id} before curation: {name} {', '.join(values)}."
                         for label in model.manual_labels for name, values in label.labels.items()]
    return curated


def _as_curation(curation: Any) -> Any:
    model = import_optional("spikeinterface.curation.curation_model", "A curation").Curation
    if isinstance(curation, str | os.PathLike):
        try:
            curation = json.loads(Path(curation).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise FileError(f"{curation} cannot be read as a curation: {error}") from error
    if isinstance(curation, model):
        return curation
    if not isinstance(curation, Mapping):
        raise ValueError("A curation is the path of a JSON file, a dict, or SpikeInterface's Curation. Received: "
                         f"{type(curation).__name__}. Of a sequence of curations apply one after another.")
    try:
        return model(**curation)
    except ValueError as error:  # pydantic's derive from it; so do SpikeInterface's own
        raise ValueError(f"Not a curation of SpikeInterface: {error}") from error


def _parts(split: Any, count: int) -> list[np.ndarray]:
    """The parts of a unit of ``count`` spikes, each its indices; what no part names is one more."""
    if split.mode == "labels":
        labels = np.asarray(split.labels)
        if len(labels) != count:
            raise ValueError(f"The curation splits unit {split.unit_id} by {len(labels)} labels; it has {count} "
                             "spikes. Give the curation of this result.")
        return [np.flatnonzero(labels == label) for label in np.unique(labels)]
    parts = [np.asarray(part, np.int64) for part in split.indices if len(part)]
    named = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    if len(named) and not 0 <= named.min() <= named.max() < count:
        raise ValueError(f"The curation splits unit {split.unit_id} at spike {named.max()}; it has {count} spikes. "
                         "Give the curation of this result.")
    rest = np.setdiff1d(np.arange(count), named)
    return parts + ([rest] if len(rest) else [])
