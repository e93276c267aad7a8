"""Timing, searching and reporting helpers of the benchmarks."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import common


def test_alternate_runs_functions_in_turn():
    calls = []
    times = common.alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3)
    assert calls == ["a", "b"] * 3
    assert times["a"]["runs"] == 3 and 0 <= times["a"]["minimum"] <= times["a"]["median"]


def test_alternate_runs_each_function_once_however_small_the_budget():
    times = common.alternate({"a": lambda: None, "b": lambda: None}, repeats=9, budget=0.0)
    assert times["a"]["runs"] == times["b"]["runs"] == 1


@pytest.mark.parametrize("guess", [None, 1, 7, 40, 99])
def test_the_smallest_effort_is_found_from_any_guess(guess):
    efforts = list(range(1, 41))
    found = [common.smallest_effort(efforts, lambda effort, n=needed: effort >= n, guess) for needed in efforts]
    assert found == efforts


def test_an_effort_out_of_reach_is_none_and_a_cheap_one_tries_nothing_dear():
    tried = []
    assert common.smallest_effort([1, 2, 4, 8], lambda effort: False) is None
    common.smallest_effort(list(range(1, 1000)), lambda effort: tried.append(effort) or effort >= 3)
    assert max(tried) < 10


def test_the_exponent_of_a_power_law_is_recovered():
    sizes = np.array([1e5, 1e6, 1e7])
    assert common.exponent(sizes, 3e-7 * sizes**1.2) == pytest.approx(1.2)


def test_a_table_is_aligned_markdown():
    lines = common.table(["a", "long header"], [["x", 1], ["longer", 2]]).splitlines()
    assert len(lines) == 4 and len({len(line) for line in lines}) == 1 and lines[1].startswith("|--")


def test_saved_json_holds_machine_and_sections_and_says_what_it_replaced(tmp_path, capsys):
    arguments = SimpleNamespace(short=True, threads=1, output=tmp_path, work=common.RESULTS / "runs",
                                figure=tmp_path / "a.png")
    section = common.report("question", arguments, ["name"], [["row"]], {"value": 1.5})
    path = common.save("question", arguments, common.machine(1), [section])
    stored = json.loads(path.read_text())
    assert path.name == "question-short.json" and stored["sections"][0]["data"] == {"value": 1.5}
    assert stored["machine"]["threads"] == 1 and stored["machine"]["versions"]["numpy"] == np.__version__
    assert stored["options"] == {"short": True, "threads": 1, "work": "benchmarks/results/runs", "figure": "a.png"}
    assert "replaced" not in capsys.readouterr().out
    common.save("question", arguments, common.machine(1), [section])
    assert "replaced" in capsys.readouterr().out


def test_threads_are_refused_once_tensorflow_is_there():
    with pytest.raises(RuntimeError, match="Call it first"):
        common.limit_threads(1)


def test_options_a_function_does_not_know_are_named():
    assert common.supported(lambda a, b=1: None, {"b": 2, "c": 3}) == ({"b": 2}, ["c"])


def test_without_data_the_recording_is_simulated_and_says_so(monkeypatch, capsys):
    monkeypatch.delenv("KERAS_CRSAE_DATA", raising=False)
    signal, templates, origin = common.recording(1)
    assert signal.shape == (30000,) and templates.shape == (61, 1, 3) and "simulated" in origin
    assert np.allclose(np.linalg.norm(templates, axis=(0, 1)), 1)
    assert "KERAS_CRSAE_DATA" in capsys.readouterr().out


@pytest.mark.parametrize("question", ["solvers", "training", "scaling", "onnx_runtime", "peak"])
def test_every_script_explains_its_options_without_starting_tensorflow(question):
    code = f"import sys; sys.argv = ['x', '--help']\nfrom benchmarks import {question} as q\n" \
           "try: q.main()\nexcept SystemExit: print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--short" in done.stdout and "--threads" in done.stdout and done.stdout.endswith("False\n")


def test_another_code_or_one_that_proves_nothing_is_an_error():
    code = np.array([0.0, 1.0, 2.0])
    assert common.check_same(code, {"same": code + 1e-5})["same"] == pytest.approx(5e-6)
    with pytest.raises(RuntimeError, match="another code"):
        common.check_same(code, {"other": code[::-1]})
    with pytest.raises(RuntimeError, match="prove nothing"):
        common.check_same(np.zeros(3), {})


def test_help_never_starts_the_work():
    """A script without a parser of its own would run, and write, whatever its options."""
    scripts = [path for path in Path(common.__file__).parent.rglob("*.py") if "__main__" in path.read_text()]
    assert len(scripts) > 20
    for path in scripts:
        assert any(word in path.read_text() for word in ("ArgumentParser", "common.parser(", "no_options(")), path.name
