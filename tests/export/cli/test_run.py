"""``crsae-onnx run``: codes, reconstructions, windows; refusals."""

import numpy as np
import pytest
from crsae_onnx.cli import main
from crsae_onnx.cli.run import open_npy


def test_run_writes_what_the_model_encodes(files, capsys):
    onnx_file, signal_file, output, model, signal = files
    assert main(["run", onnx_file, signal_file, output("z.npy")]) == 0
    code, expected = np.load(output("z.npy")), model.encode(signal)
    np.testing.assert_allclose(code, expected, atol=1e-5 * expected.max())
    assert "(1, 244, 2)" in capsys.readouterr().out
    assert main(["run", onnx_file, signal_file, output("r.npy"), "--reconstruct", "--sigma", "0.5"]) == 0
    expected = np.asarray(model(signal, sigma=np.float32(0.5)))
    np.testing.assert_allclose(np.load(output("r.npy")), expected, atol=1e-5 * np.abs(expected).max())


def test_sparse_windows_and_progress_give_the_same_code(files, capsys):
    onnx_file, signal_file, output, model, signal = files
    options = ["--sparse", "--window", "30", "--progress"]
    assert main(["run", onnx_file, signal_file, output("z.npz"), *options]) == 0
    stored, expected = np.load(output("z.npz")), model.encode(signal)
    dense = np.zeros(stored["shape"], np.float32)
    dense[stored["index"][:, 0], stored["index"][:, 1], stored["filter"]] = stored["value"]
    np.testing.assert_allclose(dense, expected, atol=1e-5 * expected.max())
    assert "%" in capsys.readouterr().err


@pytest.mark.parametrize("options, words", [
    (["z.npy", "--sparse"], ".npz"), (["z.npz", "--sparse", "--reconstruct"], "omit --reconstruct"),
    (["z.txt"], "named .npy"), (["z.npy", "--window", "0"], "window"), (["z.npy", "--chunk", "2"], "--chunk is for"),
    (["z.npy", "--spikes"], ".csv"), (["z.csv", "--spikes", "--window", "9"], "omit --window"),
    (["z.zarr", "--sparse", "--sigma", "1"], "omit --sparse, --sigma")])
def test_options_that_exclude_each_other_are_refused_and_write_nothing(files, tmp_path, capsys, options, words):
    onnx_file, signal_file, output, *_ = files
    assert main(["run", onnx_file, signal_file, output(options[0]), *options[1:]]) == 2
    assert words in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_arrays_are_mapped_not_read(tmp_path):
    np.save(tmp_path / "y.npy", np.arange(6.0))
    assert isinstance(open_npy(tmp_path / "y.npy"), np.memmap)
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="objects.npy is not a .npy array"):
        open_npy(tmp_path / "objects.npy")
