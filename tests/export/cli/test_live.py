"""``crsae-onnx run --spikes --delay``: events in a table, latencies as on a machine that receives in real time."""

import csv

import numpy as np
import pytest
from crsae_onnx.cli import main
from crsae_onnx.cli.live import EVENT_COLUMNS, Latencies
from crsae_onnx.convert import convert


@pytest.fixture(scope="module")
def folder(sorted_spikes, tmp_path_factory):
    recording, _, result = sorted_spikes
    folder = tmp_path_factory.mktemp("live")
    convert(result.model, folder / "encoder.onnx", outputs=("code", "spikes"), spikes=result.reader)
    np.save(folder / "y.npy", recording[:, 0])
    return folder


@pytest.mark.parametrize("options", [["--delay", "auto"], ["--delay", "0.02", "--chunk", "0.01"]])
def test_events_end_at_the_spikes_of_the_whole(folder, sorted_spikes, tmp_path, capsys, options):
    result = sorted_spikes[2]
    assert main(["run", str(folder / "encoder.onnx"), str(folder / "y.npy"), str(tmp_path / "a.csv"), "--spikes",
                 *options]) == 0
    out = capsys.readouterr().out
    assert "spikes reported within" in out and "99th percentile" in out and "times real time" in out
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == EVENT_COLUMNS
    known = {}
    for row in rows:
        known[row["spike"]] = (int(row["sample"]), int(row["unit"]))
        assert float(row["time_s"]) == pytest.approx(int(row["sample"]) / 10_000)
        if row["event"] == "withdrawn":
            del known[row["spike"]]
    true = list(zip(result.spike_samples.tolist(), result.spike_units.tolist(), strict=True))
    assert sorted(known.values()) == sorted(true)
    early = [row for row in rows if row["event"] == "reported"]
    assert len(early) > 0.95 * len(true)
    assert max(float(row["told_s"]) - float(row["time_s"]) for row in early) < 0.021


@pytest.mark.parametrize(("options", "message"), [
    (["--spikes", "--delay", "1e-4"], "`delay` must be at least"), (["--delay", "least"], "--delay is for --spikes"),
    (["--spikes", "--delay", "soon"], "expected a number above 0"), (["--spikes", "--delay", "0"], "above 0")])
def test_unfit_delays_are_refused(folder, tmp_path, capsys, options, message):
    arguments = ["run", str(folder / "encoder.onnx"), str(folder / "y.npy"), str(tmp_path / "a.csv"), *options]
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = stop.code
    assert status == 2 and message in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_latencies_count_what_waits():
    latencies = Latencies(1000)
    assert latencies.text() == ""
    latencies.add(100, 0.25, [90, 50])
    latencies.add(200, 0.01, [190])  # comes at 0.2 s, and waits until 0.35
    latencies.add(900, 0.01, [890])
    np.testing.assert_allclose(latencies.seconds, [0.26, 0.3, 0.17, 0.02])
    assert "215 ms (median)" in latencies.text()
