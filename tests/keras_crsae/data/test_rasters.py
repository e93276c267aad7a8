"""Spikes of trials from files."""

import numpy as np
import pytest
from crsae_onnx.core.errors import FileError

from keras_crsae.data.rasters import read_labels, read_raster, read_times


@pytest.fixture
def raster():
    return (np.arange(5 * 40).reshape(5, 40) % 7 == 0).astype("uint8")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".mat"])
def test_arrays_of_every_kind_are_read(suffix, raster, tmp_path):
    from scipy.io import savemat

    path = tmp_path / f"raster{suffix}"
    {".npy": lambda: np.save(path, raster), ".npz": lambda: np.savez(path, train=raster),
     ".mat": lambda: savemat(path, {"train": raster, "direction": np.arange(5)[:, None], "t": np.arange(40)[None]})
     }[suffix]()
    found, unit = read_raster(path)
    assert (found == raster).all() and unit is None
    if suffix == ".mat":
        assert read_labels(path, "direction") == [0, 1, 2, 3, 4]


def test_a_table_gives_times_of_trials_and_neurons(tmp_path):
    path = tmp_path / "spikes.csv"
    path.write_text("trial, time_s, neuron\n0,0.5,1\n2,0.25,0\n")
    assert read_raster(path, trials=4) == ([[[], [0.5]], [[], []], [[0.25], []], [[], []]], "s")
    path.write_text("trial,time\n1,3.5\n")
    assert read_raster(path) == ([[], [3.5]], None)
    assert read_times(path, 3) == [[], [3.5], []]


@pytest.mark.parametrize("name, content, message", [
    ("a.csv", "trial,when\n0,1\n", "Expected a header"), ("a.csv", "trial,time_ms\n0,x\n", "line 2"),
    ("a.csv", "trial,time_ms\n0.5,1\n", "whole"), ("a.csv", "trial,time_ms\n", "no spike"),
    ("a.csv", "trial,time_ms\n-1,1\n", "negative"), ("a.mat", "nonsense", "MATLAB"), ("a.txt", "1", "type"),
    ("a.npy", "nonsense", "not a .npy")])
def test_files_that_cannot_be_read_are_refused(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(FileError, match=message):
        read_raster(tmp_path / name)


def test_too_few_trials_and_unknown_arrays_are_refused(raster, tmp_path):
    from scipy.io import savemat

    (tmp_path / "a.csv").write_text("trial,time_ms\n3,1\n")
    with pytest.raises(FileError, match="at least 4 trials"):
        read_raster(tmp_path / "a.csv", trials=2)
    with pytest.raises(FileError, match="trials from 0 to 2"):
        read_times(tmp_path / "a.csv", 3)
    savemat(tmp_path / "a.mat", {"a": raster, "b": raster})
    with pytest.raises(FileError, match="--key"):
        read_raster(tmp_path / "a.mat")
    with pytest.raises(FileError, match="no array of numbers 'c'"):
        read_raster(tmp_path / "a.mat", key="c")
