"""``keras-crsae demo``: where it writes."""

from pathlib import Path

from keras_crsae.cli import main


def test_the_demo_writes_where_it_may(inside, monkeypatch, refused):
    calls = []
    monkeypatch.setattr("keras_crsae.demo.run.run_demo", lambda output, seed: calls.append((output, seed)))
    assert main(["demo", "--seed", "3"]) == 0
    Path("mine").mkdir()
    assert main(["demo", "--output", "mine"]) == 0
    Path("mine/thesis.txt").write_text("mine")
    assert "--overwrite" in refused("demo", "--output", "mine")
    assert "is a file" in refused("demo", "--output", "mine/thesis.txt")
    assert calls == [("demo-output", 3), ("mine", 0)]
