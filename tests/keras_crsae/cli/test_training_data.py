"""Files become windows of signals and patches of images."""

from argparse import Namespace

import numpy as np
import pytest
from crsae_onnx.core.errors import FileError
from PIL import Image

from keras_crsae.cli.training_data import read_inputs, sizes_of, training_patches, training_windows


@pytest.fixture
def args():
    """Options as the parser gives them, for signals without a choice of their own."""
    return Namespace(input=[], rank=None, key=None, gray=False, window=None, limit=None, low_pass=None)


def test_a_recording_is_cut_into_windows_of_the_usual_length(args, rng):
    recording = [("y.npy", rng.standard_normal((1, 10_000, 2)))]
    assert training_windows(args, recording, (45,), rng).shape == (5, 2048, 2)  # the last ends with the recording
    assert training_windows(args, recording, (400,), rng).shape == (4, 3200, 2)  # eight filter lengths
    args.window, args.limit = 500, 7
    assert training_windows(args, recording, (45,), rng).shape == (7, 500, 2)


def test_windows_stay_as_they_are(args, rng):
    windows = rng.standard_normal((6, 80, 1))
    np.testing.assert_allclose(training_windows(args, [("w.npy", windows)], (9,), rng), windows, rtol=1e-6)
    with pytest.raises(FileError, match="different lengths"):
        training_windows(args, [("w.npy", windows), ("v.npy", windows[:, :70])], (9,), rng)


def test_patches_have_lost_the_slow_part(args, rng):
    image = 100 + np.zeros((1, 90, 80, 1), "uint8")
    patches = training_patches(args, [("a.png", image)], (8, 8), rng)
    assert patches.shape == (200, 64, 64, 1) and np.abs(patches).max() < 1e-5
    args.low_pass = 0
    assert training_patches(args, [("a.png", image)], (8, 8), rng).mean() == pytest.approx(100 / 255)


def test_the_rank_follows_the_files(args, tmp_path, rng):
    np.save(tmp_path / "y.npy", rng.standard_normal((100, 2)))
    np.save(tmp_path / "stack.npy", rng.standard_normal((3, 20, 20, 1)))
    args.input = [str(tmp_path / "y.npy")]
    assert read_inputs(args)[0] == 1 and read_inputs(args)[1][0][1].shape == (1, 100, 2)
    args.input = [str(tmp_path / "stack.npy")]
    assert read_inputs(args)[0] == 2


def test_training_images_are_those_that_a_viewer_shows(args, tmp_path, rng):
    colour = Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8))
    turned = Image.Exif()
    turned[274] = 6
    colour.save(tmp_path / "turned.png", exif=turned)
    colour.quantize(16).save(tmp_path / "palette.png", transparency=0)
    colour.convert("CMYK").save(tmp_path / "cmyk.jpg")
    args.input = [str(tmp_path / name) for name in ("turned.png", "palette.png", "cmyk.jpg")]
    rank, arrays = read_inputs(args)
    assert rank == 2 and [array.shape for _, array in arrays] == [(1, 30, 20, 3), (1, 20, 30, 3), (1, 20, 30, 3)]
    np.testing.assert_array_equal(arrays[0][1][0], np.rot90(np.asarray(colour), -1))


def test_a_folder_is_its_images(args, tmp_path, rng):
    for name in ("b.PNG", "a.png"):
        Image.fromarray(rng.integers(0, 256, (20, 30), np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    args.input = [str(tmp_path)]
    rank, arrays = read_inputs(args)
    assert rank == 2 and [name for name, _ in arrays] == [str(tmp_path / "a.png"), str(tmp_path / "b.PNG")]


def test_blank_images_and_two_units_of_gray_levels_are_refused(args, tmp_path, rng):
    levels = rng.integers(0, 256, (20, 30), np.uint8)
    for name, array in (("blank", 0 * levels), ("bytes", levels), ("floats", levels.astype("float32"))):
        np.save(tmp_path / f"{name}.npy", array)
    args.rank, args.input = 2, [str(tmp_path / "blank.npy")]
    with pytest.raises(FileError, match="one gray level everywhere"):
        read_inputs(args)
    args.input.append(str(tmp_path / "bytes.npy"))
    assert len(read_inputs(args)[1]) == 2
    args.input.append(str(tmp_path / "floats.npy"))
    with pytest.raises(FileError, match=r"floats\.npy holds levels above 1"):
        read_inputs(args)


def test_two_sizes_are_for_images():
    assert sizes_of((7, 5), 2, "--strides") == (7, 5) and sizes_of(3, 1, "--strides") == (3,)
    with pytest.raises(FileError, match="--strides 7 x 5 names two axes"):
        sizes_of((7, 5), 1, "--strides")


def test_notes_of_noise_and_offset_look_past_blanks(args, rng, recwarn):
    recording = rng.normal(10, 1.0, (1, 4000, 2))
    recording[:, :2400, 0] = 0  # its median is 0, and so is the deviation from it
    recording[..., 1] = 5
    training_windows(args, [("y.npy", recording)], (45,), rng)
    first, second = (str(warning.message) for warning in recwarn)
    assert first.startswith("channel 1 of 2: constant")
    assert second.startswith("channel 0 has a median of 9.9") or second.startswith("channel 0 has a median of 10")
