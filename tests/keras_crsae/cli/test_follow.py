"""``keras-crsae follow``."""

import dataclasses

import numpy as np
import pytest

from keras_crsae.applications import spike_sorting
from keras_crsae.applications.spike_sorting.motion import ProbeMotion
from keras_crsae.cli import main


@pytest.fixture
def folder(sorted_spikes, tmp_path, monkeypatch):
    """A folder with a sorting ``monday`` and a later, smaller recording ``tuesday.npy``."""
    recording, _, result = sorted_spikes
    monkeypatch.chdir(tmp_path)
    result.save("monday")
    np.save("tuesday.npy", np.round(0.8 * recording[:30_000, 0]).astype("int16"))
    np.save("stereo.npy", recording.repeat(2, axis=1))
    (tmp_path / "tape").mkdir()
    motion = ProbeMotion("x", [np.zeros((2, 1))], [np.arange(2.0)], np.zeros(1))
    dataclasses.replace(result, motion=motion).save("moved")
    return tmp_path


def test_a_later_recording_is_sorted_into_a_folder_that_can_be_followed_again(folder, sorted_spikes, capsys):
    assert main(["follow", "monday", "tuesday.npy", "--output", "tuesday", "--curation"]) == 0
    out = capsys.readouterr().out
    assert "note: Templates followed the spikes" in out and "curation.json" in out
    result, first = spike_sorting.load_result("tuesday"), sorted_spikes[2]
    assert result.recording_samples == 30_000 and (folder / "tuesday/report.html").is_file()
    early = np.count_nonzero(first.spike_samples < 30_000)
    assert len(result.spike_samples) == pytest.approx(early, rel=0.05)
    assert np.all(result.reader.mean_amplitude < 0.96 * first.reader.mean_amplitude)


def test_invalid_input_is_refused(folder, refused):
    for arguments, message in (
            (["monday", "tuesday.npy", "--output", "monday", "--overwrite"], "is the sorting that is followed"),
            (["monday", "tape", "--output", "tape", "--overwrite"], "is the recording"),
            (["moved", "tuesday.npy", "--output", "out"], "motion of the probe was taken out"),
            (["monday", "no.npy", "--output", "out"], "no.npy"),
            (["monday", "stereo.npy", "--output", "out"], "must have shape (samples, 1 channels)"),
            (["monday", "tuesday.npy", "--fs", "10001", "--output", "out"], "was trained at 10000 Hz"),
            (["nothing", "tuesday.npy", "--output", "out"], "No folder at nothing")):
        assert message in refused("follow", *arguments)
    assert not (folder / "out").exists()
