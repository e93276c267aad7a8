"""The files of a saved sorting: written together, read with checks."""

import dataclasses
import os

import pytest
from crsae_onnx import SpikeReader
from crsae_onnx.core.errors import FileError

from keras_crsae.applications.spike_sorting.persistence import load_reader, read_sorting


def test_the_table_is_in_seconds(saved_folder, sorted_spikes):
    first, *lines = (saved_folder / "spikes.csv").read_text().splitlines()
    assert first == "time_s,unit,amplitude,sample"
    result = sorted_spikes[2]
    for line, sample, unit in zip(lines, result.spike_samples, result.spike_units, strict=True):
        seconds, u, _, s = line.split(",")
        assert (int(s), int(u)) == (sample, unit) and float(seconds) == pytest.approx(sample / 10000, abs=1e-7)


def test_a_folder_with_files_is_kept_unless_overwriting_is_asked(folder_copy, sorted_spikes):
    before = {file.name: file.read_bytes() for file in folder_copy.iterdir()}
    with pytest.raises(FileError, match="holds files already"):
        sorted_spikes[2].save(folder_copy)
    assert {file.name: file.read_bytes() for file in folder_copy.iterdir()} == before
    (folder_copy / "notes.txt").write_text("mine")
    (folder_copy / "spikes.csv").write_text("old")
    sorted_spikes[2].save(folder_copy, overwrite=True)
    assert (folder_copy / "notes.txt").read_text() == "mine"
    assert (folder_copy / "spikes.csv").read_bytes() == before["spikes.csv"]
    assert os.listdir(folder_copy.parent) == ["copy"]  # no temporary folder remains


def test_a_failing_save_leaves_the_old_result_unchanged(folder_copy, sorted_spikes):
    class FullDisk:
        def save(self, path):
            raise OSError("No space left on device")

    before = {file.name: file.read_bytes() for file in folder_copy.iterdir()}
    with pytest.raises(OSError, match="No space"):
        dataclasses.replace(sorted_spikes[2], model=FullDisk()).save(folder_copy, overwrite=True)
    assert {file.name: file.read_bytes() for file in folder_copy.iterdir()} == before
    assert os.listdir(folder_copy.parent) == ["copy"]


@pytest.mark.parametrize("name, content, message", [
    ("reader.json", "{}", "Not a spike reader"), ("settings.json", "{", "cannot be read"),
    ("settings.json", '{"format": 99}', "reads up to 1"),
    ("spikes.csv", "time,unit\n", "Expected the columns"),
    ("spikes.csv", "time_s,unit,amplitude,sample\n0.1,x,1,1000\n", "line 2"),
    ("spikes.csv", "time_s,unit,amplitude,sample\n0.1,7,1,1000\n", "does not fit"),
    ("templates.npy", "no array", "cannot be read"), ("model.keras", "no model", "not a .keras file"),
])
def test_a_damaged_file_is_named(folder_copy, name, content, message):
    (folder_copy / name).write_text(content)
    with pytest.raises(FileError, match=message):
        read_sorting(folder_copy)


def test_a_reader_of_another_model_is_refused(folder_copy):
    whole = SpikeReader.from_json((folder_copy / "reader.json").read_text())
    part = SpikeReader(whole.whitening, whole.kernel[:, :, :1], whole.mean_amplitude[:1], whole.amplitude_cv[:1],
                       whole.log_odds_against[:1], whole.peak_offset[:1], whole.peak_value[:1],
                       whole.sampling_frequency)
    (folder_copy / "reader.json").write_text(part.to_json())
    with pytest.raises(FileError, match="different sortings"):
        load_reader(folder_copy)
