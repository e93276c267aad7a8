"""``keras-crsae train`` on small real files."""

import os
from pathlib import Path

import numpy as np
import pytest

from keras_crsae.cli import main
from keras_crsae.data.images import write_image
from keras_crsae.models.serialization import load_crsae
from tests.keras_crsae.cli.conftest import SIGNALS


def test_training_on_int16_learns_living_codes_and_tells_what_it_reached(inside, recording, capsys, refused):
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
    assert "exists" in refused(*arguments)
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


def test_images_train_in_unit_gray_levels_and_sigma_is_given_in_255(inside, no_fit, refused):
    model = load_crsae(inside / "photo.keras")
    assert model.rank == 2 and float(model.sigma) == pytest.approx(20 / 255)
    write_image("colour.png", np.random.default_rng(0).integers(0, 255, (30, 31, 3), dtype=np.uint8))
    common = ["--filters", "4", "--kernel-size", "4x3", "--iterations", "3", "--epochs", "1", "--limit", "8",
              "--window", "16x12"]
    assert main(["train", "colour.png", "--output", "c.keras", *common]) == 0
    assert no_fit[-1].shape == (8, 16, 12, 3) and 0.5 < no_fit[-1].max() <= 1
    assert load_crsae("c.keras").dictionary.kernel.shape == (4, 3, 3, 4)
    assert "colour and gray" in refused("train", "colour.png", inside / "photo.png", "--output", "d.keras",
                                        *common)
    assert main(["train", "colour.png", str(inside / "photo.png"), "--gray", "--output", "d.keras", *common]) == 0
    assert load_crsae("d.keras").dictionary.channels == 1


def test_the_first_lambda_is_a_number_or_one_over_sigma(inside, no_fit, refused):
    for given, sigma, expected in (("3/sigma", "40", 3 / 40), ("0.5", "estimate", 0.5), ("3/sigma", "estimate", None)):
        assert main(["train", str(inside / "y.npy"), "--output", "m.keras", "--overwrite", *SIGNALS,
                     "--lambda", given, "--sigma", sigma]) == 0
        model = load_crsae("m.keras")
        expected = 3 / float(model.sigma) if expected is None else expected
        np.testing.assert_allclose(model.lambda_reg, np.full(3, expected), rtol=1e-5)
    np.save("still.npy", np.r_[np.zeros(900), np.ones(100)])
    assert "--sigma a number" in refused("train", "still.npy", "--output", "n.keras", *SIGNALS,
                                         "--lambda", "2/sigma")


def test_an_offset_is_pointed_out(inside, recording, no_fit, capsys):
    np.save("offset.npy", recording + 4000)
    assert main(["train", "offset.npy", "--output", "m.keras", *SIGNALS]) == 0
    assert "channel 0 has a median of" in capsys.readouterr().err


@pytest.mark.parametrize("options, words", [
    (["--kernel-size", "9000000"], "9000 samples"), (["--kernel-size", "3x3"], "--rank 2"), (["--rank", "2"], "height"),
    (["--window", "5"], "--window 5 must lie"), (["--window", "90000"], "9000 samples"),
    (["--strides", "22"], "strides"), (["--output", "m.h5"], "must end in .keras"),
    (["--output", "no/m.keras"], "No folder"), (["--key", "y"], "key"),
    (["--init", "dct", "--filters", "30"], "DCT has 21 atoms")])
def test_invalid_training_options_are_refused(inside, options, words, refused):
    base = ["train", inside / "y.npy", "--output", "m.keras", "--filters", "2", "--kernel-size", "21", "--epochs", "1",
            "--no-progress"]
    assert words in refused(*base, *options)
    assert os.listdir() == []
