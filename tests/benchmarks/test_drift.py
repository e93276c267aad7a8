"""The benchmark of recordings that drift; sorting is replaced."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("spikeinterface.generation", reason="spikeinterface[generation] is not installed")

from benchmarks import drift  # noqa: E402

FOLDERS = {name: Path(name) for name in drift.CONDITIONS}


@pytest.mark.parametrize("kind, motion", [("rigid", "estimate"), ("bumps", "estimate"), ("tetrode", "follow")])
def test_ours_corrects_the_drift_itself_in_one_call(kind, motion):
    corrected = drift.job(kind, "crsae", "corrected", FOLDERS, 0, 2)
    assert corrected["recording"] == "drifting" and corrected["options"] == {"motion": motion}
    assert "options" not in drift.job(kind, "crsae", "drifting", FOLDERS, 0, 2)


def test_the_others_get_the_corrected_recording_and_correct_nothing_themselves():
    assert drift.job("rigid", "lupin", "corrected", FOLDERS, 0, 2) == {
        "sorter": "lupin", "seed": 0, "threads": 2, "recording": "corrected",
        "options": {"apply_motion_correction": False}}
    assert drift.job("rigid", "lupin", "drifting", FOLDERS, 0, 2) is None
    tetrode = {name: FOLDERS[name] for name in ("still", "drifting")}
    assert drift.job("tetrode", "lupin", "corrected", tetrode, 0, 2) is None
    assert drift.job("tetrode", "lupin", "drifting", tetrode, 0, 2)["recording"] == "drifting"


def test_the_table_has_a_row_for_each_sorter_and_what_was_kept_is_not_run_again(monkeypatch, tmp_path, capsys):
    given = {"still": 0.9, "drifting": 0.3, "corrected": 0.81}
    runs = []

    def attempt(folder, work, truth, limit):
        runs.append(work["sorter"])
        if work["sorter"] == "lupin":
            return {"failed": "crashed: KeyError"}
        name = "corrected" if "motion" in work.get("options", {}) else work["recording"]
        return {"accuracy": given[name], "units": 11, "seconds": 2.0}

    monkeypatch.setattr(drift, "stored", lambda *_: (FOLDERS, SimpleNamespace()))
    monkeypatch.setattr(drift, "attempt", attempt)
    monkeypatch.setattr("spikeinterface.sorters.installed_sorters", lambda: ["lupin"])
    monkeypatch.setattr("benchmarks.common.limit_threads", lambda count: None)
    (tmp_path / "rigid_20_1").mkdir()
    options = ["--short", "--sorters", "crsae", "lupin", "tridesclous2", "--keep", str(tmp_path), "--output",
               str(tmp_path)]
    drift.main(options)
    out = capsys.readouterr().out
    assert "| 0.900 | 0.300    | 0.810     | 0.900" in out and "crashed: KeyError" in out and "not installed" in out
    stored = json.loads((tmp_path / "drift_rigid-short.json").read_text())
    assert stored["sections"][0]["data"]["crsae"]["corrected"][0]["accuracy"] == 0.81
    assert runs == ["crsae"] * 3 + ["lupin"] * 2
    drift.main(options)
    assert len(runs) == 5
