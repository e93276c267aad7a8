"""Counts lose their noise: rates in counts, of the counts' shape and sum; what are no counts is refused."""

import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae import zoo
from keras_crsae.applications.denoising import denoise
from keras_crsae.applications.denoising.counts import denoise_counts, estimate_peak

PEAKS = (0.3, 1.0, 4.0, 30.0)


def scene(size=64):
    rows, columns = np.mgrid[:size, :size] / size
    disc = np.hypot(rows - 0.5, columns - 0.5) < 0.25
    return (0.5 + 0.35 * np.sin(7 * rows + 3 * columns) + 0.15 * disc).clip(0, 1)


@pytest.fixture(scope="module")
def model():
    """Not trained: a cosine basis, whose penalty weight removes noise."""
    model = kc.Denoiser(36, 6, strides=3, iterations=6, sigma=1.0, lambda_init=1.5, seed=0)
    model.adapt(np.random.default_rng(0).random((2, 20, 20, 1)), init="dct")
    return model


def error(rates, clean, peak):
    return np.square(rates / peak - clean).mean()


@pytest.mark.parametrize("peak", PEAKS)
def test_counts_of_any_peak_lose_most_of_their_noise_with_the_zoo(peak, rng):
    clean = scene()
    counts = rng.poisson(peak * clean)
    rates = denoise(counts, noise="poisson", peak=peak)
    assert rates.dtype == np.float32 and rates.shape == counts.shape and rates.min() >= 0
    assert error(rates, clean, peak) < 0.25 * error(counts, clean, peak)


@pytest.mark.parametrize("bins", [1, 2, 4])
@pytest.mark.parametrize("rate", [0.05, 0.5, 3.0])
def test_the_mean_at_a_constant_rate_is_that_of_the_counts(rate, bins, model, rng):
    counts = rng.poisson(rate, (120, 130))
    rates = denoise(counts, model, noise="poisson", bins=bins)
    assert rates.mean() == pytest.approx(counts.mean(), rel=1e-4)
    assert abs(rates.mean() / rate - 1) < 4 / np.sqrt(rate * counts.size)  # the counts' own error


def test_a_peak_that_is_not_given_serves_nearly_as_well(rng):
    clean = scene()
    counts = rng.poisson(4 * clean)
    given, estimated = (error(denoise(counts, noise="poisson", peak=p), clean, 4) for p in (4, None))
    assert estimated < 1.15 * given
    assert 2.5 < estimate_peak(counts[..., None]) < 6


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "bool"])
@pytest.mark.parametrize("shape", [(30, 31), (30, 31, 1), (30, 31, 3)])
def test_shape_is_kept_for_every_dtype_and_number_of_colours(dtype, shape, model, rng):
    counts = rng.poisson(0.6, shape).clip(0, 1).astype(dtype)
    rates = denoise(counts, model, noise="poisson", peak=1)
    assert rates.shape == shape and rates.dtype == np.float32 and np.isfinite(rates).all()
    sums = counts.reshape(*shape[:2], -1).astype(float).sum(axis=(0, 1))
    np.testing.assert_allclose(rates.reshape(*shape[:2], -1).sum(axis=(0, 1)), sums, rtol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 2, 3)])
@pytest.mark.parametrize("bins", [1, 2, 4])
def test_images_of_a_few_pixels_have_results(shape, bins, model, rng):
    assert denoise(rng.poisson(2.0, shape), model, noise="poisson", bins=bins).shape == shape


def test_no_counts_at_all_give_a_rate_of_zero(model):
    assert not denoise(np.zeros((20, 20), int), model, noise="poisson").any()


def test_missing_pixels_have_no_influence_and_are_filled_in(model, rng):
    clean = scene(48)
    counts = rng.poisson(8 * clean).astype(float)
    mask = rng.random(counts.shape) > 0.2
    made = [denoise(np.where(mask, counts, fill), model, noise="poisson", peak=8, mask=mask) for fill in (0, np.nan)]
    np.testing.assert_array_equal(*made)
    assert error(made[0], clean, 8) < 0.5 * error(counts, clean, 8)


def test_tiles_give_what_one_piece_gives(model, rng):
    counts = rng.poisson(4 * scene(90))
    made = [denoise(counts, model, noise="poisson", peak=4, bins=1, tile=tile) for tile in (None, 40)]
    np.testing.assert_allclose(*made, atol=4e-3)


def test_few_counts_are_binned_and_many_are_not(model, rng):
    counts = rng.poisson(30 * scene())
    np.testing.assert_array_equal(*(denoise_counts(counts, model, peak=30, bins=b) for b in (None, 1)))
    counts = rng.poisson(scene())
    np.testing.assert_array_equal(*(denoise_counts(counts, model, peak=1, bins=b) for b in (None, 4)))


def test_a_model_that_learned_on_counts_averages_two_sizes_of_bins(rng):
    model = kc.models.CDLNet(8, 4, strides=2, iterations=2, sigma=0.4, seed=0,
                             training_settings={"noise": "poisson", "peak": [1, 8]})
    model.adapt(np.random.default_rng(0).random((2, 20, 20, 1)), init="dct")
    counts, steps = rng.poisson(2 * scene(40)), []
    made = {bins: denoise(counts, model, noise="poisson", peak=2, bins=bins,
                          progress=lambda step, fraction: steps.append(fraction)) for bins in (None, 1, 2)}
    np.testing.assert_allclose(made[None], (made[1] + made[2]) / 2, atol=0.02)  # each is scaled to the sum
    assert sorted(steps[:steps.index(1.0)]) == steps[:steps.index(1.0)]


@pytest.mark.parametrize("counts, words", [
    (np.full((8, 8), -1), "down to -1"),
    (np.full((8, 8), 0.5), "not rates or gray levels"),
    (np.full((8, 8), np.nan), "NaN"),
    (np.zeros((8, 8), complex), "complex"),
    (np.zeros(8), "shape"),
    (np.zeros((8, 8, 9), int) + 1, "channels"),
])
def test_what_are_no_counts_is_refused(counts, words, model):
    with pytest.raises(ValueError, match=words):
        denoise(counts, model, noise="poisson")


@pytest.mark.parametrize("options, words", [
    (dict(noise="poisson", sigma=0.1), "peak"), (dict(peak=4), "noise='poisson'"), (dict(bins=2), "noise='poisson'"),
    (dict(noise="shot"), "one of"), (dict(noise="poisson", peak=0), "peak"), (dict(noise="poisson", bins=3), "bins"),
    (dict(noise="poisson", bins=2, mask=np.eye(8)), "mask"), (dict(noise="poisson", shifts=0), "shifts"),
])
def test_options_that_do_not_fit_are_refused(options, words, model):
    with pytest.raises(ValueError, match=words):
        denoise(np.ones((8, 8), int), model, **options)


def test_strong_light_takes_the_models_of_white_noise(rng):
    """Peaks beyond the training of the model of counts."""
    assert "denoise-gray" in zoo.names()
    counts = rng.poisson(40 * scene())
    np.testing.assert_allclose(denoise(counts, noise="poisson", peak=40),
                               denoise(counts, "denoise-gray", noise="poisson", peak=40))


@pytest.mark.parametrize("factor", [0.25, 0.5, 1, 4])
@pytest.mark.parametrize("peak", [4, 8])
def test_black_and_white_alone_and_a_wrong_peak_do_no_harm(peak, factor):
    """On images unlike those of its training a network of free filters may run away: its rates are then not taken."""
    clean = np.kron(np.eye(4), np.ones((12, 12)))
    counts = np.random.default_rng(0).poisson(peak * clean)
    rates = denoise(counts, noise="poisson", peak=factor * peak)
    assert error(rates, clean, peak) < 0.3 * error(counts, clean, peak)


def test_one_bright_pixel_changes_the_rates_beside_it_alone(rng):
    counts = rng.poisson(np.full((64, 64), 1.2))
    counts[30, 30] = 2000
    for peak in (4, None):
        rates = denoise(counts, noise="poisson", peak=peak)
        assert rates[:16].mean() == pytest.approx(1.2, rel=0.1) and rates[30, 30] > 50
