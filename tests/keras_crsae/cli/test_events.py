"""``keras-crsae events``."""

import json

import numpy as np
import pytest

from keras_crsae.applications.neural_events import load_events
from keras_crsae.cli import main
from keras_crsae.data import simulate_neural_events


@pytest.fixture
def raster(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = simulate_neural_events(trials=10, duration_ms=600, events_per_trial=3, gap_ms=(80, 150),
                                  kernel_ms=60)
    np.savez("raster.npz", train=data.spikes[..., 0], direction=np.arange(10) % 2)
    with open("spikes.csv", "w") as file:
        file.write("trial,time_s\n" + "".join(f"{t},{(i + 0.5) / 1000}\n"
                                              for t, i in np.argwhere(data.spikes[..., 0])))
    (tmp_path / "quick.json").write_text(json.dumps({"steps": 3, "rounds": 1, "iterations": 5}))
    return tmp_path


def test_files_give_a_folder_with_a_report(raster, capsys):
    options = ["--kernel-ms", "60", "--parameters", "quick.json"]
    assert main(["events", "raster.npz", "--key", "train", "--conditions", "direction", "--output", "a", "--folds", "2",
                 *options]) == 0
    said = capsys.readouterr().out
    assert "10 trials of 600 ms, 1 neuron," in said and "Held-out log likelihood" in said
    result = load_events("a")
    assert result.conditions == [0, 1] * 5 and result.parameters.folds == 2 and (raster / "a/report.html").is_file()
    assert main(["events", "spikes.csv", "--window-ms", "0", "600", "--trials", "10", "--output", "b", "--folds", "0",
                 "--onsets", "100", "200", *options]) == 0
    assert (load_events("b").counts.counts == result.counts.counts).all()
    assert set(load_events("b").events["time_ms"].tolist()) <= {100.0, 200.0}


@pytest.mark.parametrize("words, message", [
    (["missing.npy"], "No file"), (["raster.npz"], "--key"), (["spikes.csv"], "window_ms"),
    (["raster.npz", "--key", "train", "--folds", "1"], "folds"), (["raster.npz", "--key", "direction"], "trials, time"),
    (["raster.npz", "--key", "train", "--conditions", "none"], "no array"),
    (["raster.npz", "--key", "train", "--onsets", "x", "y"], "--onsets"),
    (["raster.npz", "--key", "train", "--kernel-ms", "4000"], "half a trial"),
    (["raster.npz", "--key", "train", "--bin-ms", "2.5"], "multiple")])
def test_bad_input_is_refused_and_nothing_is_written(raster, words, message, capsys):
    assert main(["events", *words, "--output", "out"]) == 2
    assert message in capsys.readouterr().err and not (raster / "out").exists()
