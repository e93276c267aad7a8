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


def test_memory_slope_is_that_of_a_line_after_its_warm_up():
    memory = soak.Memory()
    memory.seconds = list(range(100))
    memory.megabytes = [500.0 * (t < 20) + 0.01 * t for t in range(100)]
    assert memory.slope(30) == pytest.approx(6.0) and memory.slope(95) is None


@pytest.mark.slow
def test_half_a_minute_of_recording_survives_its_faults(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["soak", "--short", "--threads", "1", "--output", str(tmp_path)])
    result = soak.main()
    assert result["samples kept"] and result["skipped batches"] == 2 and (tmp_path / "soak-short.json").is_file()
