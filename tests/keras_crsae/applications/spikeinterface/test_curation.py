"""Doubtful merges and splits as SpikeInterface's curation, and curations applied to a result."""

import json

import numpy as np
import pytest
from crsae_onnx.core.errors import FileError

pytest.importorskip("spikeinterface.core", reason="the extra `spikes` is not installed")
curation = pytest.importorskip("spikeinterface.curation", reason="spikeinterface[curation] is not installed")

from keras_crsae.applications.spike_sorting import load_result  # noqa: E402
from keras_crsae.applications.spike_sorting.regrouping import regroup  # noqa: E402
from keras_crsae.applications.spikeinterface.curation import (  # noqa: E402
    apply_curation,
    propose_curation,
    write_curation,
)


def of(result, **decisions):
    return {"format_version": "2", "unit_ids": list(range(result.num_units)), **decisions}


@pytest.fixture(scope="module")
def three(sorted_spikes):
    """A result of three units, the first two halves of one."""
    recording, _, result = sorted_spikes
    first, other = (np.flatnonzero(result.spike_units == unit) for unit in (0, 1))
    return regroup(result, [first[::2], first[1::2], other], recording)


def test_halves_of_a_unit_are_proposed_as_a_merge_and_two_units_in_one_as_a_split(sorted_spikes, three, tmp_path):
    recording, _, result = sorted_spikes
    path = write_curation(three, tmp_path / "curation.json", recording)
    read = curation.load_curation(path)  # validates
    assert [merge.unit_ids for merge in read.merges] == [[0, 1]] and not read.splits
    assert set(read.label_definitions) == {"quality"}
    merged = regroup(result, [np.arange(len(result.spike_samples))])
    proposed = propose_curation(merged, recording)
    curation.validate_curation_dict(proposed)
    assert proposed["unit_ids"] == [0] and not proposed["merges"]
    split, = curation.Curation(**proposed).splits if hasattr(curation, "Curation") else [proposed["splits"][0]]
    indices = split["indices"] if isinstance(split, dict) else split.indices
    assert sorted(np.concatenate(indices).tolist()) == list(range(len(merged.spike_samples)))
    assert propose_curation(merged)["splits"] == []  # not without the recording
    with pytest.raises(FileError, match="exists"):
        write_curation(three, path)
    # SpikeInterface applies what we wrote to our sorting, and we to our result, with the same spikes in each unit.
    theirs = curation.apply_curation(three.sorting, json.loads(path.read_text()))
    ours = apply_curation(three, path)
    assert sorted(theirs.count_num_spikes_per_unit().values()) == sorted(np.bincount(ours.spike_units).tolist())


def test_merges_removals_splits_and_labels_are_read_back_into_the_saved_model(sorted_spikes, three, tmp_path):
    recording = sorted_spikes[0]
    rows = np.flatnonzero(three.spike_units == 2)
    curated = apply_curation(three, of(
        three, removed=[1], splits=[{"unit_id": 2, "mode": "indices", "indices": [list(range(20))]}],
        label_definitions={"quality": {"label_options": ["good", "noise"], "exclusive": True}},
        manual_labels=[{"unit_id": 2, "labels": {"quality": ["good"]}}]), recording)
    assert np.bincount(curated.spike_units).tolist() == [np.sum(three.spike_units == 0), 20, len(rows) - 20]
    assert "curated: unit 0 was 0, unit 1 was a part of 2, unit 2 was a part of 2; removed: [1]." in curated.messages
    assert curated.messages[-1] == "labels of unit 2 before curation: quality good."
    back = load_result(curated.save(tmp_path / "curated"))
    np.testing.assert_array_equal(back.spike_units, curated.spike_units)
    assert back.model.filters == 3 == back.reader.kernel.shape[2]


def test_a_split_by_labels_is_read(sorted_spikes, three):
    recording = sorted_spikes[0]
    rows = np.flatnonzero(three.spike_units == 2)
    labels = (np.arange(len(rows)) >= 25).astype(int).tolist()
    curated = apply_curation(three, of(three, splits=[{"unit_id": 2, "mode": "labels", "labels": labels}]), recording)
    assert np.bincount(curated.spike_units).tolist()[2:] == [25, len(rows) - 25]


@pytest.mark.parametrize("change, message", [
    ({"unit_ids": [0, 1]}, "the result has"), ({"merges": [{"unit_ids": [0]}]}, "at least 2"),
    ({"splits": [{"unit_id": 2, "indices": [[0, 1]]}]}, "recording=..."),
    ({"splits": [{"unit_id": 2, "indices": [[0, 10**6]]}]}, "at spike 1000000"),
    ({"splits": [{"unit_id": 2, "mode": "labels", "labels": [0, 1]}]}, "by 2 labels"),
    ({"removed": [0, 1, 2]}, "No spikes would be left"), ({"format_version": "9"}, "Not a curation"),
])
def test_what_is_no_curation_of_this_result_is_refused(three, change, message):
    with pytest.raises(ValueError, match=message):
        apply_curation(three, of(three) | change)


def test_files_and_other_objects_are_refused(three, tmp_path):
    (tmp_path / "c.json").write_text("{")
    for path in ("c.json", "no.json"):
        with pytest.raises(FileError, match="cannot be read as a curation"):
            apply_curation(three, tmp_path / path)
    with pytest.raises(ValueError, match="Received: list"):
        apply_curation(three, [of(three)])
