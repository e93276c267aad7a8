"""Checks of the folder of a result, before it is written or read."""

import pytest
from crsae_onnx.core.errors import FileError

from keras_crsae.applications.spike_sorting.result_folder import check_new_folder, existing_folder


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
