"""A sorting result on disk."""

import json
import os

import numpy as np
import pytest
from crsae_onnx import SpikeReader
from crsae_onnx.core.errors import FileError

from keras_crsae.applications.spike_sorting.persistence import SETTINGS, load_reader, load_result, save_result


@pytest.fixture(scope="module")
def saved(sorted_spikes, tmp_path_factory):
    return sorted_spikes[2].save(tmp_path_factory.mktemp("saved") / "sorted")


@pytest.fixture
def copy(saved, tmp_path):
    """A copy of the saved folder to damage."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in saved.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_what_is_saved_comes_back(saved, sorted_spikes):
    recording, _, result = sorted_spikes
    back = load_result(saved)
    assert len(back.spike_samples) > 80
    for name in ("spike_samples", "spike_units", "spike_amplitudes", "templates", "noise"):
        one, other = getattr(result, name), getattr(back, name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    for name in ("nbefore", "sampling_frequency", "settings", "messages", "history", "channel_locations",
                 "recording_samples"):
        assert getattr(back, name) == getattr(result, name)
    spikes = back.reader.find(back.model.encode, recording)  # the loaded sorter finds the same spikes
    np.testing.assert_array_equal(spikes.peak_sample, result.spike_samples)
    np.testing.assert_array_equal(spikes.unit_id, result.spike_units)
    np.testing.assert_allclose(spikes.peak_value, result.spike_amplitudes, rtol=1e-5)


def test_spike_amplitudes_are_in_the_recordings_unit(sorted_spikes):
    recording, _, result = sorted_spikes
    found = recording[result.spike_samples, 0]
    assert np.corrcoef(found, result.spike_amplitudes)[0, 1] > 0.8
    np.testing.assert_allclose(np.median(found / result.spike_amplitudes), 1, atol=0.1)


def test_the_table_is_in_seconds(saved, sorted_spikes):
    first, *lines = (saved / "spikes.csv").read_text().splitlines()
    assert first == "time_s,unit,amplitude,sample"
    result = sorted_spikes[2]
    for line, sample, unit in zip(lines, result.spike_samples, result.spike_units, strict=True):
        seconds, u, _, s = line.split(",")
        assert (int(s), int(u)) == (sample, unit) and float(seconds) == pytest.approx(sample / 10000, abs=1e-7)


def test_a_folder_with_files_is_kept_unless_told(copy, sorted_spikes):
    before = {file.name: file.read_bytes() for file in copy.iterdir()}
    with pytest.raises(FileError, match="holds files already"):
        save_result(sorted_spikes[2], copy)
    assert {file.name: file.read_bytes() for file in copy.iterdir()} == before
    (copy / "notes.txt").write_text("mine")
    (copy / "spikes.csv").write_text("old")
    save_result(sorted_spikes[2], copy, overwrite=True)
    assert (copy / "notes.txt").read_text() == "mine"
    assert (copy / "spikes.csv").read_bytes() == before["spikes.csv"]
    assert os.listdir(copy.parent) == ["copy"]  # nothing stays beside it


def test_a_failing_save_leaves_the_old_result_whole(copy, sorted_spikes, monkeypatch):
    before = {file.name: file.read_bytes() for file in copy.iterdir()}

    def fail(self, path, **_):
        raise OSError("No space left on device")

    monkeypatch.setattr(type(sorted_spikes[2].model), "save", fail)
    with pytest.raises(OSError, match="No space"):
        save_result(sorted_spikes[2], copy, overwrite=True)
    assert {file.name: file.read_bytes() for file in copy.iterdir()} == before and os.listdir(copy.parent) == ["copy"]


def test_where_no_folder_can_be_is_told(tmp_path, sorted_spikes):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileError, match="is a file"):
        save_result(sorted_spikes[2], tmp_path / "file", overwrite=True)
    with pytest.raises(FileError, match="Create it first"):
        save_result(sorted_spikes[2], tmp_path / "no" / "folder")
    with pytest.raises(FileError, match="No folder at"):
        load_result(tmp_path / "no")
    with pytest.raises(FileError, match="lacks spikes.csv"):
        load_result(tmp_path)


@pytest.mark.parametrize("name, content, message", [
    ("reader.json", "{}", "Not a spike reader"), ("settings.json", "{", "cannot be read"),
    ("settings.json", '{"format": 99}', "reads up to 1"), ("settings.json", '{"format": 1}', "lacks settings"),
    ("spikes.csv", "time,unit\n", "Expected the columns"),
    ("spikes.csv", "time_s,unit,amplitude,sample\n0.1,x,1,1000\n", "line 2"),
    ("spikes.csv", "time_s,unit,amplitude,sample\n0.1,7,1,1000\n", "does not fit"),
    ("templates.npy", "no array", "cannot be read"), ("model.keras", "no model", "not a .keras file"),
])
def test_damage_is_named(copy, name, content, message):
    (copy / name).write_text(content)
    with pytest.raises(FileError, match=message):
        load_result(copy)


def test_a_reader_of_another_model_is_refused(copy):
    whole = SpikeReader.from_json((copy / "reader.json").read_text())
    part = SpikeReader(whole.whitening, whole.kernel[:, :, :1], whole.mean_amplitude[:1], whole.amplitude_cv[:1],
                       whole.log_odds_against[:1], whole.peak_offset[:1], whole.peak_value[:1],
                       whole.sampling_frequency)
    (copy / "reader.json").write_text(part.to_json())
    with pytest.raises(FileError, match="different sortings"):
        load_reader(copy)


def test_settings_are_plain_json(saved):
    known = json.loads((saved / SETTINGS).read_text())
    assert known["settings"]["epochs"] == 1 and known["recording_samples"] == 50000
