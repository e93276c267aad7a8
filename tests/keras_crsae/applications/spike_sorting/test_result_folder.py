"""Checks of the folder of a result, before it is written or read."""

import json

import pytest
from crsae_onnx.core.errors import FileError

from keras_crsae.applications.spike_sorting.result_folder import (
    FORMAT,
    SETTINGS,
    SPIKES,
    check_new_folder,
    describe_sorting,
    existing_folder,
)


def test_a_new_or_empty_folder_is_accepted(tmp_path):
    assert check_new_folder(tmp_path / "new") == tmp_path / "new"
    assert check_new_folder(str(tmp_path)) == tmp_path and not list(tmp_path.iterdir())


def test_a_file_a_full_folder_or_a_missing_parent_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileError, match="is a file"):
        check_new_folder(tmp_path / "file", overwrite=True)
    with pytest.raises(FileError, match="holds files already"):
        check_new_folder(tmp_path)
    assert check_new_folder(tmp_path, overwrite=True) == tmp_path
    with pytest.raises(FileError, match="Create it first"):
        check_new_folder(tmp_path / "no" / "folder")


def test_a_missing_folder_or_file_is_named(tmp_path):
    with pytest.raises(FileError, match="No folder at"):
        existing_folder(tmp_path / "no", ["spikes.csv"])
    with pytest.raises(FileError, match="has no spikes.csv"):
        existing_folder(tmp_path, ["spikes.csv"])
    (tmp_path / "spikes.csv").write_text("")
    assert existing_folder(tmp_path, ["spikes.csv"]) == tmp_path


def test_a_folder_is_described_by_its_table_and_settings(tmp_path):
    (tmp_path / SPIKES).write_text("time_s,unit,amplitude,sample\n0.1,1,-5,1000\n0.2,0,-5,2000\n0.3,1,-5,3000\n")
    (tmp_path / SETTINGS).write_text(json.dumps({"format": FORMAT, "parameters": {"epochs": 3}, "history": {}}))
    assert describe_sorting(tmp_path) == {"spikes": {"unit 0": 1, "unit 1": 2}, "parameters": {"epochs": 3}}
    (tmp_path / SETTINGS).write_text(json.dumps({"format": FORMAT + 1}))
    with pytest.raises(FileError, match="reads up to"):
        describe_sorting(tmp_path)
