"""The command line ``keras-crsae``, on small real files."""

import json
import os
import sys
import types
from pathlib import Path

import keras
import numpy as np
import pytest
from crsae_onnx import SparseEncoder

import keras_crsae as kc
from keras_crsae.applications.denoising.pipeline import split
from keras_crsae.cli import main
from keras_crsae.data.images import read_image, write_image
from keras_crsae.data.simulate import simulate_spikes, spike_templates
from keras_crsae.models.serialization import load_crsae

SIGNALS = ["--filters", "3", "--kernel-size", "21", "--iterations", "15", "--window", "300", "--epochs", "3",
           "--batch-size", "8"]


@pytest.fixture(scope="module")
def recording():
    """int16, (samples,): three units, noise of standard deviation 50."""
    made = simulate_spikes(spike_templates(21, 3), windows=1, samples=9000, events_per_window=45, seed=1)
    return np.round(50 * made.signal[0, :, 0]).astype("int16")


@pytest.fixture(scope="module")
def scene():
    """(48, 56): edges and texture, in grey levels of 0..255."""
    rows, columns = np.mgrid[:48, :56]
    return 90 + 60 * ((rows // 12 + columns // 14) % 2) + 20 * np.sin(columns / 2)


@pytest.fixture(scope="module")
def photo(scene):
    """The scene as uint8 with noise of standard deviation 20."""
    noise = 20 * np.random.default_rng(0).standard_normal(scene.shape)
    return np.clip(np.rint(scene + noise), 0, 255).astype("uint8")


@pytest.fixture(scope="module")
def files(tmp_path_factory, recording, photo):
    """A folder with a recording, a photograph and a model of each, all made by the command line."""
    folder = tmp_path_factory.mktemp("cli")
    np.save(folder / "y.npy", recording)
    write_image(folder / "photo.png", photo)
    assert main(["train", str(folder / "y.npy"), "--output", str(folder / "m.keras"), *SIGNALS]) == 0
    assert main(["train", str(folder / "photo.png"), "--output", str(folder / "photo.keras"), "--filters", "6",
                 "--kernel-size", "5", "--iterations", "6", "--window", "20x24", "--limit", "24", "--sigma", "20",
                 "--init", "dct", "--epochs", "2"]) == 0
    return folder


@pytest.fixture
def no_fit(monkeypatch):
    """Training itself is left out where only what comes before and after it matters; gives the data it got."""
    got = []

    def fit(self, data, epochs, **_):
        got.append(data)
        return types.SimpleNamespace(history={name: [1.0] * epochs for name in (
            "loss", "reconstruction_loss", "lambda_loss", "sparsity", "sigma")})

    monkeypatch.setattr(kc.CRsAE, "fit", fit)
    return got


@pytest.fixture
def inside(files, tmp_path, monkeypatch):
    """Work in an empty folder; ``files`` are reached by their full names."""
    monkeypatch.chdir(tmp_path)
    return files


def refused(capsys, *arguments):
    """The one line that a refused command prints."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("keras-crsae: ") and err.count("\n") == 1
    return err


def test_training_on_int16_learns_living_codes_and_tells_what_it_reached(inside, recording, capsys):
    arguments = ["train", str(inside / "y.npy"), "--output", "m.keras", *SIGNALS]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    for word in ("30 windows of 300", "reconstruction loss", "lambda loss", "sigma", "sparsity", "m.keras: "):
        assert word in out
    model = load_crsae("m.keras")
    assert model.encoder.iterations == 15 and float(model.sigma) == pytest.approx(50, rel=0.3)
    share = np.count_nonzero(model.encode(recording[None, :, None])) / (8980 * 3)
    assert 0 < share < 0.1
    np.testing.assert_allclose(model.dictionary.kernel, load_crsae(inside / "m.keras").dictionary.kernel,
                               atol=1e-5)  # the same seed
    assert "exists" in refused(capsys, *arguments)
    assert os.listdir() == ["m.keras"]


def test_overwrite_replaces_the_model(inside, no_fit):
    Path("m.keras").write_text("old")
    assert main(["train", str(inside / "y.npy"), "--output", "m.keras", *SIGNALS, "--overwrite"]) == 0
    assert load_crsae("m.keras").dictionary.filters == 3


def test_training_reads_windows_several_files_and_npz(inside, rng, no_fit):
    np.save("windows.npy", rng.standard_normal((12, 80, 2)))
    np.savez("more.npz", a=rng.standard_normal((500, 2)), b=np.zeros(3))
    np.save("recording.npy", rng.standard_normal((1000, 2)))
    common = ["--filters", "2", "--kernel-size", "9", "--iterations", "4", "--epochs", "1"]
    assert main(["train", "windows.npy", "--output", "a.keras", *common]) == 0
    np.testing.assert_allclose(no_fit[-1], np.load("windows.npy"), rtol=1e-6)
    assert main(["train", "recording.npy", "windows.npy", "--output", "b.keras", "--window", "50", "--limit", "10",
                 "--init", "random", "--lambda", "2", "--lambda-learning", "none", "--lambda-shared", *common]) == 0
    assert no_fit[-1].shape == (10, 50, 2)
    model = load_crsae("b.keras")
    np.testing.assert_allclose(model.lambda_reg, [2.0])
    assert model.lambda_learning is None
    assert main(["train", "more.npz", "--key", "a", "--output", "c.keras", "--strides", "3", *common]) == 0
    assert no_fit[-1].shape == (1, 500, 2) and load_crsae("c.keras").dictionary.strides == (3,)


def test_images_train_in_unit_grey_levels_and_sigma_is_given_in_255(inside, no_fit, capsys):
    model = load_crsae(inside / "photo.keras")
    assert model.rank == 2 and float(model.sigma) == pytest.approx(20 / 255)
    write_image("colour.png", np.random.default_rng(0).integers(0, 255, (30, 31, 3), dtype=np.uint8))
    common = ["--filters", "4", "--kernel-size", "4x3", "--iterations", "3", "--epochs", "1", "--limit", "8",
              "--window", "16x12"]
    assert main(["train", "colour.png", "--output", "c.keras", *common]) == 0
    assert no_fit[-1].shape == (8, 16, 12, 3) and 0.5 < no_fit[-1].max() <= 1
    assert load_crsae("c.keras").dictionary.kernel.shape == (4, 3, 3, 4)
    assert "colour and grey" in refused(capsys, "train", "colour.png", inside / "photo.png", "--output", "d.keras",
                                        *common)
    assert main(["train", "colour.png", str(inside / "photo.png"), "--gray", "--output", "d.keras", *common]) == 0
    assert load_crsae("d.keras").dictionary.channels == 1


def test_the_first_lambda_is_a_number_or_one_over_sigma(inside, no_fit, capsys):
    for given, sigma, expected in (("3/sigma", "40", 3 / 40), ("0.5", "estimate", 0.5), ("3/sigma", "estimate", None)):
        assert main(["train", str(inside / "y.npy"), "--output", "m.keras", "--overwrite", *SIGNALS,
                     "--lambda", given, "--sigma", sigma]) == 0
        model = load_crsae("m.keras")
        expected = 3 / float(model.sigma) if expected is None else expected
        np.testing.assert_allclose(model.lambda_reg, np.full(3, expected), rtol=1e-5)
    np.save("still.npy", np.r_[np.zeros(900), np.ones(100)])
    assert "--sigma a number" in refused(capsys, "train", "still.npy", "--output", "n.keras", *SIGNALS,
                                         "--lambda", "2/sigma")


def test_an_offset_is_pointed_out(inside, recording, no_fit, capsys):
    np.save("offset.npy", recording + 4000)
    assert main(["train", "offset.npy", "--output", "m.keras", *SIGNALS]) == 0
    assert "channel 0 has a median of" in capsys.readouterr().err


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
    expected = load_crsae(model).encode(split(unit)[1])
    np.testing.assert_allclose(np.load("rest.npy"), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("sigma", [["--sigma", "20"], []])
def test_denoise_brings_an_image_nearer_to_the_truth(inside, scene, photo, capsys, sigma):
    assert main(["denoise", str(inside / "photo.png"), "o.png", "--model", str(inside / "photo.keras"), *sigma]) == 0
    clean = read_image("o.png")
    assert clean.dtype == np.uint8 and clean.shape == photo.shape
    assert np.square(clean - scene).mean() < 0.5 * np.square(photo - scene).mean()
    assert ("noise 20 of 255" if sigma else "estimated") in capsys.readouterr().out
    assert "exists" in refused(capsys, "denoise", inside / "photo.png", "o.png", "--model", inside / "photo.keras")


def test_denoise_keeps_colour_depth_and_transparency(inside, photo):
    model = str(inside / "photo.keras")
    alpha = np.arange(photo.size, dtype=np.uint8).reshape(photo.shape)
    write_image("rgba.png", np.stack([photo, photo.T.reshape(photo.shape), photo, alpha], axis=-1))
    assert main(["denoise", "rgba.png", "o.png", "--model", model, "--sigma", "20"]) == 0
    made = read_image("o.png")
    np.testing.assert_array_equal(made[..., 3], alpha)
    np.testing.assert_array_equal(made[..., 0], made[..., 2])
    assert main(["denoise", str(inside / "photo.png"), "gray.png", "--model", model, "--sigma", "20"]) == 0
    np.testing.assert_array_equal(made[..., 0], read_image("gray.png"))
    write_image("deep.tif", photo.astype(np.uint16) * 257)
    assert main(["denoise", "deep.tif", "deep_o.tif", "--model", model, "--sigma", "20"]) == 0
    deep = read_image("deep_o.tif")
    assert deep.dtype == np.uint16
    np.testing.assert_allclose(deep / 257, read_image("gray.png"), atol=0.51)


def test_denoise_runs_an_exported_model(inside):
    model, image = str(inside / "photo.keras"), str(inside / "photo.png")
    assert main(["export", model, "photo.onnx"]) == 0
    for file, output in ((model, "keras.png"), ("photo.onnx", "onnx.png")):
        assert main(["denoise", image, output, "--model", file, "--sigma", "15"]) == 0
    assert np.abs(read_image("keras.png").astype(int) - read_image("onnx.png")).max() <= 1


def test_an_all_zero_code_is_pointed_out(inside, capsys):
    np.save("quiet.npy", np.ones(400, np.float32))
    assert main(["encode", str(inside / "m.keras"), "quiet.npy", "z.npy"]) == 0
    assert "every code value is zero" in capsys.readouterr().err


def test_export_validates_and_info_describes_both_files(inside, recording, capsys):
    assert main(["export", str(inside / "m.keras"), "e.onnx", "--validate"]) == 0
    assert "equal to Keras" in capsys.readouterr().out
    signal = recording[None, :500, None]
    expected = load_crsae(inside / "m.keras").encode(signal)
    np.testing.assert_allclose(SparseEncoder("e.onnx").encode(signal), expected, atol=1e-4 * expected.max())
    for name in ("e.onnx", str(inside / "m.keras")):
        assert main(["info", name]) == 0
        text = capsys.readouterr().out
        assert text.startswith(name) and "kernel size" in text
        assert main(["info", name, "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["filters"] == 3 and facts["kernel_size"] == [21]
    assert "exists" in refused(capsys, "export", inside / "m.keras", "e.onnx")
    assert main(["export", str(inside / "m.keras"), "e.onnx", "--outputs", "code", "--overwrite"]) == 0
    assert SparseEncoder("e.onnx").info["outputs"] == ["code"]


def test_an_export_that_differs_is_not_written(inside, monkeypatch, capsys):
    from crsae_onnx import convert, validate

    def differs(*_, **__):
        raise validate.ValidationError("code: largest relative difference 0.5")

    monkeypatch.setattr(convert, "convert", lambda model, path, **_: path.write_text("a file that differs"))
    monkeypatch.setattr(validate, "validate", differs)
    assert main(["export", str(inside / "m.keras"), "e.onnx", "--validate"]) == 1
    err = capsys.readouterr().err
    assert "difference 0.5" in err and "Traceback" not in err
    assert os.listdir() == []


@pytest.mark.parametrize("options, words", [
    (["--kernel-size", "9000000"], "9000 samples"), (["--kernel-size", "3x3"], "--rank 2"), (["--rank", "2"], "height"),
    (["--window", "5"], "--window 5 must lie"), (["--window", "90000"], "9000 samples"),
    (["--strides", "22"], "strides"), (["--output", "m.h5"], "must end in .keras"),
    (["--output", "no/m.keras"], "No folder"), (["--key", "y"], "key"), (["--init", "dct", "--filters", "30"], "dct")])
def test_unfit_training_options_are_refused(inside, capsys, options, words):
    base = ["train", inside / "y.npy", "--output", "m.keras", "--filters", "2", "--kernel-size", "21", "--epochs", "1"]
    assert words in refused(capsys, *base, *options)
    assert os.listdir() == []


@pytest.mark.parametrize("option, value", [
    ("--sigma", "0"), ("--sigma", "nan"), ("--lambda", "-1"), ("--lambda", "2/x"), ("--low-pass", "-1"),
    ("--iterations", "0"), ("--filters", "2.5"),
    ("--kernel-size", "3x3x3"), ("--learning-rate", "inf"), ("--rank", "3"),
    ("--shrinkage", "hard")])
def test_unfit_values_of_options_are_one_line_of_error(capsys, option, value):
    with pytest.raises(SystemExit) as caught:
        main(["train", "y.npy", "--output", "m.keras", "--filters", "2", "--kernel-size", "21", option, value])
    err = capsys.readouterr().err
    assert caught.value.code == 2 and err.count("\n") == 1 and option in err and value in err


def test_unfit_input_is_refused_by_every_command(inside, recording, rng, capsys):
    broken = recording.astype("float32")
    broken[1234] = np.nan
    arrays = {"nan": broken, "short": recording[:15], "complex": recording.astype(complex), "two": rng.random((90, 2)),
              "transposed": rng.random((8, 900)), "empty": recording[:0], "deep": np.zeros((2, 2, 30, 30, 1))}
    for name, array in arrays.items():
        np.save(f"{name}.npy", array)
    Path("text.npy").write_text("hello")
    Path("text.png").write_text("hello")
    Path("text.keras").write_text("hello")
    Path("text.onnx").write_text("hello")
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save("other.keras")
    model, photo, before = inside / "m.keras", inside / "photo.keras", sorted(os.listdir())
    train = ["train", "--output", "t.keras", "--filters", "2", "--kernel-size", "21"]
    for name, words in (("nan", "index (1234,)"), ("short", "15 samples"), ("complex", "complex128"),
                        ("transposed", "transpose"), ("empty", "no values"), ("text", "not a .npy"),
                        ("none", "No file")):
        assert words in refused(capsys, *train, f"{name}.npy")
        assert words in refused(capsys, "encode", model, f"{name}.npy", "z.npy")
    assert "different numbers of channels" in refused(capsys, *train, "two.npy", inside / "y.npy")
    assert "not both" in refused(capsys, *train, inside / "y.npy", inside / "photo.png")
    assert "2 channels" in refused(capsys, "encode", model, "two.npy", "z.npy")
    assert "shape (2, 2, 30, 30, 1)" in refused(capsys, "encode", photo, "deep.npy", "z.npy")
    assert "is an image" in refused(capsys, "encode", model, inside / "photo.png", "z.npy")
    assert "text.png cannot be read" in refused(capsys, "denoise", "text.png", "o.png", "--model", photo)
    assert "not on images" in refused(capsys, "denoise", inside / "photo.png", "o.png", "--model", model)
    assert "text.onnx" in refused(capsys, "denoise", inside / "photo.png", "o.png", "--model", "text.onnx")
    for file, words in (("text.keras", "not a .keras file"), ("other.keras", "not a CRsAE"), ("none.keras", "No file")):
        assert words in refused(capsys, "encode", file, inside / "y.npy", "z.npy")
        assert words in refused(capsys, "export", file, "e.onnx")
        assert words in refused(capsys, "info", file)
        assert words in refused(capsys, "denoise", inside / "photo.png", "o.png", "--model", file)
    assert "text.onnx" in refused(capsys, "info", "text.onnx")
    assert ".keras or .onnx" in refused(capsys, "info", "nan.npy")
    assert sorted(os.listdir()) == before


def test_unfit_outputs_are_refused_before_work(inside, capsys):
    model, y, image = inside / "m.keras", inside / "y.npy", inside / "photo.png"
    Path("z.npy").write_text("mine")
    assert "exists" in refused(capsys, "encode", model, y, "z.npy")
    assert ".npz" in refused(capsys, "encode", model, y, "other.npy", "--sparse")
    assert "also an input" in refused(capsys, "encode", model, y, y, "--overwrite")
    assert "No folder" in refused(capsys, "export", model, "no/e.onnx")
    assert "must end in .onnx" in refused(capsys, "export", model, "e.keras")
    assert "must end in .png" in refused(capsys, "denoise", image, "o.npy", "--model", inside / "photo.keras")
    assert "also an input" in refused(capsys, "denoise", image, image, "--model", inside / "photo.keras", "--overwrite")
    assert Path("z.npy").read_text() == "mine"


@pytest.mark.parametrize("error, status, words", [
    (KeyboardInterrupt(), 130, "interrupted"), (OSError(28, "No space left on device"), 1, "No space left"),
    (MemoryError(), 1, "out of memory"), (ModuleNotFoundError("no", name="tf2onnx.convert"), 2, "keras-crsae[export]"),
    (FloatingPointError("The loss of batch 3 is nan."), 1, "batch 3")])
def test_what_goes_wrong_in_the_work_is_one_line_and_leaves_no_file(inside, monkeypatch, capsys, error, status, words):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(kc.CRsAE, "fit", fail)
    assert main(["train", str(inside / "y.npy"), "--output", "m.keras", *SIGNALS]) == status
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1
    assert os.listdir() == []


def test_a_defect_shows_its_traceback(inside, monkeypatch, capsys):
    def fail(*_, **__):
        raise KeyError("inner")

    monkeypatch.setattr(kc.CRsAE, "fit", fail)
    assert main(["train", str(inside / "y.npy"), "--output", "m.keras", *SIGNALS]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err and "report it" in err


def test_the_demo_writes_where_it_may(inside, monkeypatch, capsys):
    calls = []
    demo = types.ModuleType("keras_crsae.demo")
    demo.run = lambda output, seed: calls.append((output, seed))
    monkeypatch.setitem(sys.modules, "keras_crsae.demo", demo)
    assert main(["demo", "--seed", "3"]) == 0
    Path("mine").mkdir()
    assert main(["demo", "--output", "mine"]) == 0
    Path("mine/thesis.txt").write_text("mine")
    assert "--overwrite" in refused(capsys, "demo", "--output", "mine")
    assert "is a file" in refused(capsys, "demo", "--output", "mine/thesis.txt")
    assert calls == [("demo-output", 3), ("mine", 0)]
