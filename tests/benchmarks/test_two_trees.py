"""Two checkouts' times: each kind of ratio is this one's over the other's, and a slow start weighs little."""

import numpy as np

from benchmarks import two_trees


def test_ratios_are_here_over_there():
    found = two_trees.ratios(np.array([[1.0, 2.0]] * 8))
    assert found == {"medians": 0.5, "best quarters": 0.5, "pairs": 0.5}


def test_one_disturbed_call_changes_no_ratio():
    times = np.array([[1.0, 1.0]] * 9)
    times[3, 0] = 50.0
    assert set(two_trees.ratios(times).values()) == {1.0}


def test_each_row_is_called_as_often_here_as_there_in_turn():
    asked = []

    class Clock:
        def __init__(self, which):
            self.which = which

        def seconds(self, name):
            asked.append((name, self.which))
            return 1.0 + self.which

    row = two_trees.alternate([Clock(0), Clock(1)], "encode", calls=4)
    assert row["seconds"] == [1.0, 2.0] and row["pairs"] == 0.5
    assert asked == [("encode", which) for which in (1, 0, 0, 1, 1, 0, 0, 1)]


def test_rounds_start_their_processes_in_turn_in_either_order(monkeypatch):
    started = []

    class Worker:
        names = ["encode"]

        def __init__(self, tree, names):
            started.append(tree)
            self.tree = tree

        def seconds(self, name):
            return {"here": 2.0, "there": 1.0}[self.tree]

        def close(self):
            started.append("closed")

    monkeypatch.setattr(two_trees, "Worker", Worker)
    results = two_trees.measure(("here", "there"), (), rounds=2, calls=2)
    assert started == ["there", "here", "closed", "closed", "here", "there", "closed", "closed"]
    assert len(results["encode"]) == 2
    row = two_trees.summary(results["encode"])
    np.testing.assert_allclose([row[kind] for kind in two_trees.RATIOS], 2.0)
    assert row["range"] == [2.0, 2.0]
