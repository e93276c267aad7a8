"""``keras-crsae encode``: dense and sparse codes of recordings and images."""

import warnings

import numpy as np
import pytest

from keras_crsae.applications.denoising import split_low_pass
from keras_crsae.cli import main
from keras_crsae.models.serialization import load_crsae


def test_encode_writes_the_models_code_dense_and_sparse(inside, recording, capsys):
    expected = load_crsae(inside / "m.keras").encode(recording[None, :, None])
    assert main(["encode", str(inside / "m.keras"), str(inside / "y.npy"), "z.npy", "--window", "2000"]) == 0
    code = np.load("z.npy")
    assert code.dtype == np.float32 and np.any(code)
    np.testing.assert_allclose(code, expected, atol=1e-4 * expected.max())
    assert main(["encode", str(inside / "m.keras"), str(inside / "y.npy"), "z.npz", "--sparse"]) == 0
    with np.load("z.npz") as sparse:
        dense = np.zeros(sparse["shape"], np.float32)
        dense[(*sparse["index"].T, sparse["filter"])] = sparse["value"]
        assert (sparse["value"] != 0).all()
    np.testing.assert_allclose(dense, expected, atol=1e-4 * expected.max())
    assert "(1, 8980, 3)" in capsys.readouterr().out


def test_encode_takes_images_and_stacks_of_them(inside, photo, capsys):
    assert main(["encode", str(inside / "photo.keras"), str(inside / "photo.png"), "z.npy"]) == 0
    code = np.load("z.npy")
    assert code.shape == (1, 44, 52, 6) and np.any(code)
    np.save("stack.npy", np.stack([photo, photo[::-1]])[..., None])
    assert main(["encode", str(inside / "photo.keras"), "stack.npy", "z.npz"]) == 0
    with np.load("z.npz") as sparse:
        assert sparse["index"].shape[1] == 3 and tuple(sparse["shape"]) == (2, 44, 52, 6)
        first = sparse["index"][:, 0] == 0
        dense = np.zeros((44, 52, 6), np.float32)
        dense[(*sparse["index"][first, 1:].T, sparse["filter"][first])] = sparse["value"][first]
    np.testing.assert_allclose(dense, code[0], atol=1e-5 * np.abs(code).max())


def test_the_slow_part_of_images_is_taken_away_unless_told_otherwise(inside, photo):
    model, image = str(inside / "photo.keras"), str(inside / "photo.png")
    assert main(["encode", model, image, "rest.npy"]) == 0
    assert main(["encode", model, image, "all.npy", "--low-pass", "0"]) == 0
    unit = photo[None, ..., None] / np.float32(255)
    expected = load_crsae(model).encode(unit)
    np.testing.assert_allclose(np.load("all.npy"), expected, atol=1e-5 * np.abs(expected).max())
    expected = load_crsae(model).encode(split_low_pass(unit)[1])
    np.testing.assert_allclose(np.load("rest.npy"), expected, atol=1e-5 * np.abs(expected).max())


def test_an_all_zero_code_is_pointed_out(inside, capsys):
    np.save("quiet.npy", np.ones(400, np.float32))
    assert main(["encode", str(inside / "m.keras"), "quiet.npy", "z.npy"]) == 0
    assert "every code value is zero" in capsys.readouterr().err


def test_whatever_sort_reads_is_encoded(inside, recording, tmp_path, refused):
    """Raw files take the model's number of channels; one of several segments is chosen."""
    si = pytest.importorskip("spikeinterface.core", reason="the extra `spikes` is not installed")
    recording.tofile("y.dat")
    np.savez("two.npz", y=recording, other=recording[::-1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SpikeInterface's: what lives in memory has no recipe
        si.NumpyRecording([recording[:500, None], recording[:, None]], 30000.0).save(folder="saved", verbose=False)
    expected = load_crsae(inside / "m.keras").encode(recording[None, :, None])
    for name, options in (("y.dat", ["--fs", "30000"]), ("two.npz", ["--key", "y"]), ("saved", ["--segment", "1"])):
        assert main(["encode", str(inside / "m.keras"), name, "z.npy", "--overwrite", *options]) == 0
        np.testing.assert_allclose(np.load("z.npy"), expected, atol=1e-4 * expected.max())
    for name, options, words in (
            ("saved", [], "2 segments"), ("saved", ["--segment", "2"], "their numbers are 0 to 1"),
            ("saved", ["--segment", "1", "--fs", "20000"], "30000 Hz, not 20000"),
            ("two.npz", ["--key", "y", "--channels", "2"], "1 channels, not 2"),
            ("y.dat", ["--dtype", "float32"], "--dtype int16"),
            ("two.npz", [], "--key"), ("no.dat", [], "No file at")):
        assert words in refused("encode", str(inside / "m.keras"), name, "x.npy", *options)
    assert not (tmp_path / "x.npy").exists()
