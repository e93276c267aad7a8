"""Each zoo model in onnxruntime: fast enough against Keras, quick to start, and its card says so."""

import argparse
import json
import shutil

import pytest

from benchmarks import zoo_card, zoo_runtime
from keras_crsae import zoo
from keras_crsae.data import zoo_files


@pytest.mark.parametrize("name", zoo.names())
def test_the_recorded_figures_meet_four_fifths_of_keras(name):
    """Measured by ``python -m benchmarks.zoo_runtime --record``, not here: a busy machine would decide."""
    recorded = zoo.metadata(name)["runtime"]
    least = 0.7 if name == "denoise-poisson" else 0.8  # ten iterations of filters of their own, written out
    assert recorded["cold_start"][1] < 1.5 and recorded["machine"]["date"]
    for batch in zoo_runtime.BATCHES:
        assert recorded[str(batch)]["speed"] >= least and recorded[str(batch)]["difference"] < 1e-5


def test_both_ways_are_measured_and_compared(monkeypatch):
    monkeypatch.setattr(zoo_runtime, "SIZE", 100)
    rows, figures = zoo_runtime.measure("crsae-gray-25", argparse.Namespace(short=True, threads=1))
    assert [row[1] for row in rows] == list(zoo_runtime.BATCHES) and len(figures["cold_start"]) == 2
    for batch in zoo_runtime.BATCHES:
        found = figures[str(batch)]
        assert found["difference"] < 1e-5 and found["Keras"]["runs"] == found["ONNX"]["runs"] == 5
        assert found["speed"] == found["Keras"]["median"] / found["ONNX"]["median"]


def test_the_figures_reach_the_card(tmp_path, monkeypatch):
    name = "denoise-gray"
    shutil.copytree(zoo.folder() / name, tmp_path / name)
    monkeypatch.setattr(zoo_files, "folder", lambda: tmp_path)
    row = {"speed": 1.25, "difference": 1e-6, "Keras": {"median": 0.5}, "ONNX": {"median": 0.4}}
    machine = {"threads": 2, "versions": {"onnxruntime": "1.2.3"}, "load_at_start": [0.1, 0.2, 0.3]}
    zoo_runtime.record(name, {"cold_start": [0.2, 0.3], "1": row}, machine)
    card = (tmp_path / name / zoo.CARD).read_text()
    assert "| 1      | 500 ms        | 400 ms      | 1.25" in card and "first answer after 300 ms" in card
    facts = json.loads((tmp_path / name / zoo.METADATA).read_text())
    assert facts["runtime"]["1"] == row and facts["name"] == name
    del facts["runtime"]
    assert zoo_card.card(facts, zoo.load_model_from_zoo(name)) in card
