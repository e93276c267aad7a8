"""Crops are what the images, the seed and the noise level say."""

import numpy as np
import pytest

from keras_crsae.applications.denoising import split_low_pass
from keras_crsae.data.streams.noisy_crops import blur, noisy_crops


@pytest.fixture
def images(rng):
    return [rng.integers(0, 256, shape).astype("uint8") for shape in ((40, 50, 1), (36, 33, 1), (60, 32, 1))]


def batches(data, count=1):
    return [tuple(np.asarray(part) for part in batch) for batch in data.take(count)]


def symmetries(crop):
    return [np.rot90(flip, turn) for flip in (crop, crop[:, ::-1]) for turn in range(4)]


def test_crops_are_pieces_of_the_images_turned_and_flipped(images):
    _, clean = batches(noisy_crops(images, 24, 16, sigma=0.1, seed=3))[0]
    windows = np.lib.stride_tricks.sliding_window_view
    pieces = np.concatenate([windows(image[..., 0] / 255.0, (24, 24)).reshape(-1, 24, 24) for image in images])
    pieces = pieces - pieces.mean(axis=(1, 2), keepdims=True)
    for crop in clean[..., 0] * 0.1:
        crop = crop - crop.mean()  # the mean of the noisy crop was taken
        assert min(np.abs(pieces - turned).max(axis=(1, 2)).min() for turned in symmetries(crop)) < 1e-5


def test_all_symmetries_occur():
    image = np.arange(16 * 16, dtype="float32").reshape(16, 16, 1) / 256
    seen = {tuple(c[[0, 0, -1], [0, -1, 0], 0].round(3)) for b in batches(noisy_crops([image], 16, 8, 0.1), 8)
            for c in b[1] * 0.1 - (b[1] * 0.1).mean(axis=(1, 2, 3), keepdims=True)}
    assert len(seen) == 8


def test_noise_has_unit_level_and_the_mean_is_gone(images):
    noisy, clean = batches(noisy_crops(images, 32, 64, sigma=0.2))[0]
    assert (noisy - clean).std() == pytest.approx(1.0, abs=0.02)
    np.testing.assert_allclose(noisy.mean(axis=(1, 2, 3)), 0, atol=1e-4)


def test_a_range_of_levels_is_covered_crop_by_crop():
    image = np.tile(np.array([0.0, 1.0], "float32"), (32, 16))[..., None]
    _, clean = batches(noisy_crops([image], 32, 256, sigma=(0.1, 0.5)))[0]
    levels = 1.0 / (clean.max(axis=(1, 2, 3)) - clean.min(axis=(1, 2, 3)))  # one grey step, in units of the noise
    assert 0.1 <= levels.min() < 0.12 and 0.48 < levels.max() <= 0.5 and levels.mean() == pytest.approx(0.3, abs=0.02)


def test_weights_grow_with_the_level_of_each_crop():
    image = np.tile(np.array([0.0, 1.0], "float32"), (32, 16))[..., None]
    _, clean, weight = batches(noisy_crops([image], 32, 64, sigma=(0.1, 0.5), sigma_weight=2.0))[0]
    levels = 1.0 / (clean.max(axis=(1, 2, 3)) - clean.min(axis=(1, 2, 3)))
    np.testing.assert_allclose(weight, (levels / 0.1) ** 2, rtol=1e-4)
    assert weight.shape == (64,) and weight.max() > 10 > 1.5 > weight.min()


def test_a_power_of_sigma_changes_the_unit_alone(images):
    for plain, powered in zip(*(batches(noisy_crops(images, 24, 8, 0.2, sigma_power=p))[0] for p in (0.0, 0.5)),
                              strict=True):
        np.testing.assert_allclose(powered, plain / 2**0.5, rtol=1e-5, atol=1e-6)
    noisy, _ = batches(noisy_crops(images, 24, 8, 0.2, target="noisy", sigma_power=0.5))[0]
    assert noisy.std() > 0.5


def test_batches_depend_on_seed_and_number_alone(images):
    first = batches(noisy_crops(images, 24, 4, 0.1, seed=5), 4)
    later = batches(noisy_crops(images, 24, 4, 0.1, seed=5, start=2), 2)
    for one, two in zip(first[2:], later, strict=True):
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])
    assert (batches(noisy_crops(images, 24, 4, 0.1, seed=6))[0][0] != first[0][0]).any()
    assert (first[0][0] != first[1][0]).any()


def test_pairs_stay_together(images, rng):
    clean = [image / np.float32(255) for image in images]
    noisy = [image + np.float32(0.1) * rng.standard_normal(image.shape).astype("float32") for image in clean]
    seen, target = batches(noisy_crops(noisy, 24, 32, sigma=0.1, clean=clean))[0]
    assert (seen - target).std() == pytest.approx(1.0, abs=0.03)


def test_without_clean_images_the_target_is_the_input(images):
    for add in (True, False):
        seen, target = batches(noisy_crops(images, 24, 4, 0.1, add_noise=add, target="noisy"))[0]
        np.testing.assert_array_equal(seen, target)


def test_low_pass_takes_the_slow_part_of_the_noisy_crop(images):
    whole, _ = batches(noisy_crops(images, 30, 4, 0.1, seed=1))[0]
    rest, _ = batches(noisy_crops(images, 30, 4, 0.1, seed=1, low_pass=2.0))[0]
    np.testing.assert_allclose(rest, split_low_pass(whole, 2.0)[1], atol=2e-4)
    np.testing.assert_allclose(blur(whole, 1.5), split_low_pass(whole, 1.5)[0], atol=1e-4)


@pytest.mark.parametrize("options, words", [
    ({"sigma": 0}, "sigma"), ({"sigma": (0.3, 0.1)}, "low"), ({"sigma": 25}, "25 / 255"), ({"size": 35}, "fewer than"),
    ({"target": "x"}, "target"), ({"add_noise": False}, "no clean target"), ({"clean": []}, "empty"),
    ({"clean": [np.zeros((40, 50, 1))] * 3}, "same shape"), ({"batch_size": 0}, "batch_size")])
def test_unfit_options_are_refused(images, options, words):
    with pytest.raises(ValueError, match=words):
        noisy_crops(images, **{"size": 24, "batch_size": 4, "sigma": 0.1, **options})


def test_unfit_images_are_refused():
    for images, words in (([], "empty"), ([np.zeros((40, 40))], "shape"),
                          ([np.zeros((40, 40, 1)), np.zeros((40, 40, 3))], "channels"),
                          ([np.zeros((40, 40, 1), "int32")], "int32")):
        with pytest.raises(ValueError, match=words):
            noisy_crops(images, 24, 4, 0.1)
