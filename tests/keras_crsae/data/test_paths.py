"""Paths are checked before any work: inputs that must exist, outputs that may lose nothing."""

import pytest
from crsae_onnx.core.errors import FileError

from keras_crsae.data.paths import check_output, existing_file, size_text


def test_an_input_must_be_a_file_with_content(tmp_path):
    (tmp_path / "empty.npy").touch()
    (tmp_path / "full.npy").write_text("x")
    assert existing_file(str(tmp_path / "full.npy"), "an array") == tmp_path / "full.npy"
    for name, words in (("none.npy", "No file at .*none.npy. Expected an array"), (".", "is a folder"),
                        ("empty.npy", "0 bytes")):
        with pytest.raises(FileError, match=words):
            existing_file(tmp_path / name, "an array")


def test_sizes_are_written_with_a_cross():
    assert size_text((7, 5)) == "7 x 5" and size_text([3]) == "3"


def test_an_output_is_checked_before_work(tmp_path):
    taken = tmp_path / "a.npy"
    taken.write_text("mine")
    assert check_output(taken, (".npy",), overwrite=True) == taken
    assert check_output(tmp_path / "new.npy", (".npy",)) == tmp_path / "new.npy"
    for path, options, words in ((taken, {}, "exists.*--overwrite"), (tmp_path / "a.txt", {}, "must end in .npy"),
                                 (tmp_path / "no" / "a.npy", {}, "No folder"), (taken / "a.npy", {}, "No folder"),
                                 (taken, {"overwrite": True, "inputs": (taken,)}, "also an input")):
        with pytest.raises(FileError, match=words):
            check_output(path, (".npy",), **options)
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(FileError, match="is a folder"):
        check_output(tmp_path / "folder.npy", (".npy",), overwrite=True)
    assert taken.read_text() == "mine"


def test_an_unwritable_folder_is_refused_before_work(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("keras_crsae.data.paths.tempfile.TemporaryFile", refuse)  # tests may run as root
    with pytest.raises(FileError, match="cannot be written to.*Permission denied"):
        check_output(tmp_path / "a.npy", (".npy",))
