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
    options = ["--sparse", "--window", "30"]
    assert main(["run", onnx_file, signal_file, output("z.npz"), *options]) == 0
    stored, expected = np.load(output("z.npz")), model.encode(signal)
    dense = np.zeros(stored["shape"], np.float32)
    dense[stored["index"][:, 0], stored["index"][:, 1], stored["filter"]] = stored["value"]
    np.testing.assert_allclose(dense, expected, atol=1e-5 * expected.max())
    assert capsys.readouterr().err == "[0 s] encode\n[0 s] done\n"
    assert main(["run", onnx_file, signal_file, output("quiet.npz"), *options, "--no-progress"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("suffix, options", [(".npy", []), (".npz", ["--key", "y"]), (".dat", ["--fs", "30000"])])
def test_recordings_of_every_kind_of_file_need_no_axis_of_the_batch(files, tmp_path, suffix, options):
    onnx_file, signal_file, output, model, signal = files
    path, recording = tmp_path / f"y{suffix}", signal[0]
    if suffix == ".npy":
        np.save(path, recording[:, 0])
    elif suffix == ".npz":
        np.savez(path, y=recording, other=np.zeros(3))
    else:
        recording.astype("<i2").tofile(path)
    assert main(["run", onnx_file, str(path), output("z.npy"), *options]) == 0
    expected = model.encode(signal)
    np.testing.assert_allclose(np.load(output("z.npy")), expected, atol=1e-5 * expected.max())


@pytest.mark.parametrize("name, options, words", [
    ("y.npz", [], "holds the arrays a, b. Choose one: --key"), ("y.npz", ["--key", "c"], "and no 'c'"),
    ("y.npy", ["--key", "a"], "--key is for a .npz file"), ("y.npy", ["--dtype", "float32"], "of type int16, not"),
    ("y.npy", ["--channels", "2"], "encodes 1 channels, not 2"), ("y.txt", [], "cannot read files of type '.txt'"),
    ("", [], "is a folder"), ("no.npy", [], "No file at"), ("wide.npy", [], "1 channels")])
def test_files_that_do_not_fit_are_refused(files, tmp_path, capsys, name, options, words):
    onnx_file, _, output, _, signal = files
    folder = tmp_path / "in"
    folder.mkdir()
    np.save(folder / "y.npy", signal)
    np.save(folder / "wide.npy", np.zeros((50, 3), "int16"))
    np.savez(folder / "y.npz", a=signal, b=signal)
    (folder / "y.txt").write_text("1 2")
    assert main(["run", onnx_file, str(folder / name), output("z.npy"), "--no-progress", *options]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1 and not (tmp_path / "z.npy").exists()


@pytest.mark.parametrize("options, words", [
    (["z.npy", "--sparse"], ".npz"), (["z.npz", "--sparse", "--reconstruct"], "omit --reconstruct"),
    (["z.txt"], "named .npy"), (["z.npy", "--chunk", "2"], "--chunk is for"),
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


def test_active_goes_on_to_the_optimum(files, capsys):
    onnx_file, signal_file, output, model, signal = files
    assert main(["run", onnx_file, signal_file, output("z.npy"), "--active"]) == 0
    code = np.load(output("z.npy"))
    assert model.convergence(signal, code).remaining.max() < min(1e-3, model.convergence(signal).remaining.max())
    capsys.readouterr()
    assert main(["run", onnx_file, signal_file, output("z.zarr"), "--active"]) == 2
    assert "omit --active" in capsys.readouterr().err
