"""The long run in small: a recording with faults streamed through training, a kill and encoding, nothing lost."""

import sys

import numpy as np
import pytest

from benchmarks import long_run


def test_the_recording_on_disk_has_the_reported_checksum_and_faults(tmp_path, monkeypatch):
    monkeypatch.setattr(long_run, "BLOCK", 4000)
    check, bad = long_run.write_recording(tmp_path / "y.npy", 10_000)
    data = np.load(tmp_path / "y.npy")
    assert data.shape == (10_000, long_run.CHANNELS) and long_run.zlib.crc32(data.tobytes()) == check
    assert np.isnan(data).any(axis=1).sum() == bad == long_run.BAD


def test_memory_slope_is_that_of_a_line_between_two_times():
    memory = long_run.Memory()
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
def test_each_failure_is_reported(changed, words):
    assert long_run.failures(result(), 1.0) == []
    found = long_run.failures(result(**changed), 1.0)
    assert len(found) == 1 and words in found[0]


@pytest.mark.slow
def test_ten_minutes_of_recording_survive_their_faults_and_memory_stays_flat(tmp_path, monkeypatch):
    """About three minutes of training; one of five windows of NaN in each epoch at least meets a batch of its own."""
    epochs, bad_windows = 24, 5
    monkeypatch.setattr(sys, "argv", ["long_run", "--minutes", "10", "--epochs", str(epochs), "--threads", "1",
                                      "--output", str(tmp_path)])
    result = long_run.main()
    assert result["samples kept"] and result["bad samples"] == bad_windows * long_run.BAD
    assert epochs <= result["skipped batches"] <= bad_windows * epochs
    assert result["megabytes in ten minutes, training"] < 1.0
    assert (tmp_path / "long_run.json").is_file()
