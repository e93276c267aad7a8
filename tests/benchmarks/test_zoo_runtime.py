"""Each zoo model in onnxruntime: fast enough against Keras, quick to start, and its card says so."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import zoo_card, zoo_runtime
from keras_crsae import zoo


@pytest.mark.parametrize("name", zoo.names())
def test_a_fresh_process_answers_within_a_second_and_a_half(name):
    assert zoo_runtime.cold_start(zoo.path_of(name, zoo.ENCODER), 3)[0] < 1.5


@pytest.mark.slow
def test_onnxruntime_is_at_least_four_fifths_as_fast_as_keras(tmp_path):
    """On one core, shortest of several runs in turn: what others do on the machine meets both."""
    subprocess.run([sys.executable, "-m", "benchmarks.zoo_runtime", "--short", "--threads", "1", "--output", tmp_path],
                   cwd=Path(__file__).parents[2], check=True, capture_output=True, timeout=500)
    made = json.loads((tmp_path / "zoo_runtime-short.json").read_text())["sections"][0]["data"]
    assert sorted(made) == zoo.names()
    for name, figures in made.items():
        for batch in zoo_runtime.BATCHES:
            times = figures[str(batch)]
            assert times["ONNX"]["minimum"] < times["Keras"]["minimum"] / 0.8, (name, batch)


def test_the_figures_reach_the_card(tmp_path, monkeypatch):
    name = "denoise-gray"
    shutil.copytree(zoo.folder() / name, tmp_path / name)
    monkeypatch.setattr(zoo, "folder", lambda: tmp_path)
    row = {"speed": 1.25, "difference": 1e-6, "Keras": {"median": 0.5}, "ONNX": {"median": 0.4}}
    machine = {"threads": 2, "versions": {"onnxruntime": "1.2.3"}, "load_at_start": [0.1, 0.2, 0.3]}
    zoo_runtime.record(name, {"cold_start": [0.2, 0.3], "1": row}, machine)
    card = (tmp_path / name / zoo.CARD).read_text()
    assert "| 1      | 500 ms        | 400 ms      | 1.25" in card and "first answer after 300 ms" in card
    facts = json.loads((tmp_path / name / zoo.METADATA).read_text())
    assert facts["runtime"]["1"] == row and facts["name"] == name
    del facts["runtime"]
    assert zoo_card.card(facts, zoo.load_model_from_zoo(name)) in card
