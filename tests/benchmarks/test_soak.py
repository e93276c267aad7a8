"""The soak run in small: a recording with faults streamed through training, a kill and encoding, nothing lost."""

import sys

import numpy as np
import pytest

from benchmarks import soak


def test_the_recording_on_disk_has_the_sum_and_faults_that_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(soak, "BLOCK", 4000)
    check, bad = soak.write_recording(tmp_path / "y.npy", 10_000)
    data = np.load(tmp_path / "y.npy")
    assert data.shape == (10_000, soak.CHANNELS) and soak.zlib.crc32(data.tobytes()) == check
    assert np.isnan(data).any(axis=1).sum() == bad == soak.BAD


def test_memory_slope_is_that_of_a_line_between_two_times():
    memory = soak.Memory()
    memory.seconds = list(range(200))
    memory.megabytes = [500.0 * (t < 20) + 0.01 * t + 50.0 * (t > 150) for t in range(200)]
    assert memory.slope(30, 150) == pytest.approx(6.0) and memory.slope(100, 150) is None


def result(**changed):
    return {"samples kept": True, "largest difference of codes": 1e-6, "largest code": 1.0, "bad samples": 50,
            "skipped batches": 1.0, "megabytes in ten minutes, training": 0.2,
            "megabytes in ten minutes, encoding": None, **changed}


@pytest.mark.parametrize("changed, words", [
    ({"samples kept": False}, "samples were lost"), ({"largest difference of codes": 0.1}, "codes of windows differ"),
    ({"skipped batches": 0.0}, "bad batches"), ({"megabytes in ten minutes, training": 1.2}, "training: 1.20, more"),
    ({"megabytes in ten minutes, encoding": 7.0}, "encoding: 7.00")])
def test_what_fails_is_said(changed, words):
    assert soak.failures(result(), 1.0) == []
    found = soak.failures(result(**changed), 1.0)
    assert len(found) == 1 and words in found[0]


@pytest.mark.slow
def test_half_a_minute_of_recording_survives_its_faults(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["soak", "--short", "--threads", "1", "--output", str(tmp_path)])
    result = soak.main()
    assert result["samples kept"] and result["skipped batches"] == 8 and (tmp_path / "soak-short.json").is_file()


@pytest.mark.slow
def test_memory_stays_flat_over_ten_minutes_of_recording(tmp_path, monkeypatch):
    """About four minutes of training; ``main`` fails where memory grows by 1 MB in ten minutes or more."""
    monkeypatch.setattr(sys, "argv", ["soak", "--minutes", "10", "--epochs", "40", "--threads", "1", "--output",
                                      str(tmp_path)])
    assert soak.main()["megabytes in ten minutes, training"] is not None
