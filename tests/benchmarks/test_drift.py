"""The benchmark of probes that move; sorting is replaced."""

import json

import pytest

pytest.importorskip("spikeinterface.generation", reason="spikeinterface[generation] is not installed")

from benchmarks import drift  # noqa: E402


@pytest.mark.filterwarnings("ignore")  # SpikeInterface's own
def test_the_generated_recordings_share_spikes_and_differ_by_motion():
    still, moving, truth = drift.generate("rigid", 2.0, seed=1)
    assert still.get_num_channels() == moving.get_num_channels() == 32 and truth.get_num_units() == 10
    assert still.get_num_samples() == 60_000 == moving.get_num_samples()


def test_the_table_has_a_row_for_each_motion(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(drift, "generate", lambda kind, duration, seed: (f"still {kind}", f"moving {kind}", "truth"))
    given = {("still", None): 0.9, ("moving", None): 0.3, ("moving", "estimate"): 0.81}
    monkeypatch.setattr(drift, "accuracy", lambda recording, truth, motion: given[recording.split()[0], motion])
    monkeypatch.setattr("benchmarks.common.limit_threads", lambda count: None)
    drift.main(["--short", "--output", str(tmp_path)])
    assert "0.810" in capsys.readouterr().out
    stored = next(tmp_path.glob("drift*.json"))
    assert "0.300" in stored.read_text() and json.loads(stored.read_text())
