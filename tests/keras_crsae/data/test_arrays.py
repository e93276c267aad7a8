"""Arrays from files, and their layouts as batches."""

import numpy as np
import pytest
from crsae_onnx.core.errors import FileError

from keras_crsae.data.arrays import check_finite, read_array


def test_npy_is_memory_mapped_and_keeps_its_dtype(tmp_path, rng):
    data = rng.integers(-100, 100, (500, 2)).astype("int16")
    np.save(tmp_path / "y.npy", data)
    read = read_array(tmp_path / "y.npy")
    assert isinstance(read, np.memmap) and read.dtype == np.int16
    np.testing.assert_array_equal(read, data)


def test_npz_gives_its_only_array_or_the_named_one(tmp_path):
    np.savez(tmp_path / "one.npz", y=np.arange(5.0))
    np.savez(tmp_path / "two.npz", y=np.arange(5.0), z=np.arange(3.0))
    np.testing.assert_array_equal(read_array(tmp_path / "one.npz"), np.arange(5.0))
    np.testing.assert_array_equal(read_array(tmp_path / "two.npz", "z"), np.arange(3.0))
    with pytest.raises(FileError, match="2 arrays: y, z.*--key"):
        read_array(tmp_path / "two.npz")
    with pytest.raises(FileError, match="no array 'w'.*y, z"):
        read_array(tmp_path / "two.npz", "w")


def corrupt_zip(folder):
    np.savez_compressed(folder / "y.npz", y=np.random.default_rng(0).standard_normal(1000))
    content = bytearray((folder / "y.npz").read_bytes())
    content[200:240] = bytes(40)
    (folder / "y.npz").write_bytes(content)
    return folder / "y.npz"


def truncated(folder):
    np.save(folder / "y.npy", np.zeros(1000))
    (folder / "y.npy").write_bytes((folder / "y.npy").read_bytes()[:-100])
    return folder / "y.npy"


def written(name, content):
    def make(folder):
        (folder / name).write_bytes(content)
        return folder / name
    return make


def saved(name, array, **options):
    def make(folder):
        np.save(folder / name, array, **options)
        return folder / name
    return make


@pytest.mark.parametrize("make, words", [
    (lambda folder: folder / "none.npy", "No file at"), (lambda folder: folder, "is a folder"),
    (written("y.npy", b""), "0 bytes"), (written("y.npy", b"hello"), "not a .npy file"),
    (written("y.npy", b"\x93NUMPY\x01\x00v\x00{'descr'"), "cannot be read"),
    (written("y.npz", b"hello"), "cannot be read as .npz"), (written("y.flac", b"fLaC"), r"type '.flac'.*\.npy"),
    (truncated, "cannot be read as .npy"), (corrupt_zip, "cannot be read as .npz"),
    (saved("y.npy", np.array([{}, None]), allow_pickle=True), "Python objects"),
    (saved("y.npy", np.zeros(4, complex)), "complex128"), (saved("y.npy", np.array(["a"])), "real numbers"),
    (saved("y.npy", np.zeros((0, 3))), "no values"), (saved("y.npy", np.zeros(3, "f4,i2")), "real numbers")])
def test_an_unfit_array_file_is_refused_by_name(tmp_path, make, words):
    path = make(tmp_path)
    with pytest.raises(FileError, match=words) as caught:
        read_array(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("shape, index", [((10,), (7,)), ((9_000_000,), (8_999_999,)), ((50, 3), (49, 1)),
                                          ((2, 5, 4), (1, 0, 3))])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_non_finite_value_is_refused_with_its_position(shape, index, value):
    data = np.zeros(shape, np.float32)
    check_finite(data, "y.npy")
    data[index] = value
    with pytest.raises(FileError) as caught:
        check_finite(data, "y.npy")
    assert f"index {index}" in str(caught.value) and "y.npy" in str(caught.value)
