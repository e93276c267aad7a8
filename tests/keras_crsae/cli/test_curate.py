"""``keras-crsae curate``, and ``sort --curation`` before it."""

import json

import numpy as np
import pytest

from keras_crsae.applications import spike_sorting
from keras_crsae.cli import main

pytest.importorskip("spikeinterface.curation", reason="spikeinterface[curation] is not installed")


@pytest.fixture
def folder(sorted_spikes, tmp_path, monkeypatch):
    """An empty folder with the recording ``y.npy`` and its sorting ``sorted``."""
    recording, _, result = sorted_spikes
    monkeypatch.setattr(spike_sorting, "sort", lambda *_, **__: result)
    monkeypatch.chdir(tmp_path)
    np.save("y.npy", recording[:, 0])
    assert main(["sort", "y.npy", "--fs", "10000", "--output", "sorted", "--curation"]) == 0
    return tmp_path


def test_a_curation_is_written_changed_by_hand_and_applied(folder, sorted_spikes, capsys):
    proposed = json.loads((folder / "sorted/curation.json").read_text())
    assert proposed["unit_ids"] == [0, 1] and proposed["merges"] == [] == proposed["splits"]
    (folder / "mine.json").write_text(json.dumps(proposed | {"removed": [0]}))
    assert main(["curate", "sorted", "mine.json", "--output", "curated"]) == 0
    assert "unit 0 was 1; removed: [0]" in capsys.readouterr().out
    curated = spike_sorting.load_result("curated")
    result = sorted_spikes[2]
    np.testing.assert_array_equal(curated.spike_samples, result.spike_samples[result.spike_units == 1])
    assert (folder / "curated/encoder.onnx").is_file() and not (folder / "curated/report.html").exists()


def test_a_split_reads_the_recording_and_writes_a_report(folder):
    (folder / "split.json").write_text(json.dumps({
        "format_version": "2", "unit_ids": [0, 1], "splits": [{"unit_id": 0, "indices": [list(range(25))]}]}))
    assert main(["curate", "sorted", "split.json", "--output", "curated", "--recording", "y.npy"]) == 0
    assert spike_sorting.load_result("curated").num_units == 3 and (folder / "curated/report.html").is_file()


def test_invalid_input_is_refused(folder, refused):
    (folder / "split.json").write_text(json.dumps({
        "format_version": "2", "unit_ids": [0, 1], "splits": [{"unit_id": 0, "indices": [[1, 2]]}]}))
    for arguments, message in (
            (["sorted", "no.json", "--output", "out"], "No file at no.json"),
            (["sorted", "sorted/curation.json", "--output", "sorted", "--overwrite"], "is the sorting that is curated"),
            (["sorted", "sorted/curation.json", "--output", "sorted"], "holds files already"),
            (["sorted", "split.json", "--output", "out"], "recording=..."),
            (["nothing", "split.json", "--output", "out"], "No folder at nothing")):
        assert message in refused("curate", *arguments)
    assert not (folder / "out").exists()
