"""Noise is removed from mean waveforms; alignment and duplicates."""

import numpy as np
import pytest

from keras_crsae.applications.spike_sorting.templates import (
    align_extrema,
    low_rank_templates,
    remove_duplicates,
    wiener_shrink,
)

SIZE = 40


def test_the_wiener_filter_removes_the_noise_of_means(unit_shapes):
    rng = np.random.default_rng(6)
    quiet = np.concatenate([unit_shapes[:1], np.zeros((1, SIZE, 2))], axis=2)  # two channels more without signal
    mean = quiet + rng.normal(size=quiet.shape) / np.sqrt(50)
    kept = wiener_shrink(mean, [50])
    assert np.square(kept - quiet).sum() < 0.7 * np.square(mean - quiet).sum()
    assert np.square(kept[..., 2:]).sum() < 0.1 * np.square(mean[..., 2:]).sum()


def templates_of_two_courses(units, rng):
    """Templates (units, 60, 4) made of two time courses."""
    t = np.arange(60)
    courses = [np.exp(-0.5 * ((t - 25) / 3.0) ** 2), np.exp(-0.5 * ((t - 32) / 6.0) ** 2)]
    return np.einsum("kt,ukc->utc", courses, rng.normal(size=(units, 2, 4)) * 4)


def test_shared_time_courses_remove_most_of_the_noise_of_means():
    """Errors of the mean of n spikes are 240 / n; two courses leave (2 * 24 + 2 * 60) of 1440 degrees of freedom."""
    rng = np.random.default_rng(3)
    true, counts = templates_of_two_courses(6, rng), np.array([20, 50, 100, 200, 400, 800])
    mean = true + rng.normal(size=true.shape) / np.sqrt(counts)[:, None, None]
    kept = low_rank_templates(mean, counts)
    before, after = (counts * np.square(x - true).sum((1, 2)) for x in (mean, kept))
    assert kept.shape == true.shape
    assert kept.dtype == np.float32
    assert after.sum() < 0.2 * before.sum()
    assert np.linalg.matrix_rank(np.moveaxis(kept, 1, 2).reshape(-1, 60), tol=1e-3) == 2


@pytest.mark.parametrize("channels", [1, 4])
def test_singular_values_are_those_of_the_optimal_shrinkage(channels):
    """Gavish and Donoho's formula, as they write it: y in units of the root of the longer side."""
    rng = np.random.default_rng(5)
    mean = 3 * rng.normal(size=(5, 1, channels)) * rng.normal(size=(1, 30, 1)) + rng.normal(size=(5, 30, channels))
    rows = np.moveaxis(mean, 1, 2).reshape(-1, 30)
    few, many = sorted(rows.shape)
    beta, y = few / many, np.linalg.svd(rows, compute_uv=False) / np.sqrt(many)
    inside = np.maximum((y**2 - beta - 1) ** 2 - 4 * beta, 0)
    expected = np.where(y > 1 + np.sqrt(beta), np.sqrt(inside) / y, 0) * np.sqrt(many)
    kept = np.moveaxis(low_rank_templates(mean, np.ones(5)), 1, 2).reshape(-1, 30)
    np.testing.assert_allclose(np.linalg.svd(kept, compute_uv=False), expected, atol=1e-4)


def test_silent_channels_stay_silent_and_noise_alone_vanishes():
    rng = np.random.default_rng(4)
    mean = rng.normal(size=(3, 50, 2)) / 10
    assert not low_rank_templates(mean, [100, 100, 100]).any()
    mean[:, :, 0] += 5 * np.hanning(50)
    mean[:, :, 1] = 0
    kept = low_rank_templates(mean, [100, 100, 100])
    assert kept[:, :, 0].any(axis=1).all()
    assert not kept[:, :, 1].any()
    assert not low_rank_templates(np.zeros((2, 50, 3)), [0, 0]).any()


def test_extrema_are_aligned_and_zeros_fill_the_end():
    template = np.zeros((2, 8, 1))
    template[0, 2], template[1, 6] = -3.0, 5.0
    aligned = align_extrema(template, before=4)
    assert np.abs(aligned[:, :, 0]).argmax(axis=1).tolist() == [4, 4]
    assert aligned[0, 4, 0] == -3.0 and np.count_nonzero(aligned) == 2


def test_of_two_templates_of_one_shape_and_size_the_larger_is_kept(unit_shapes):
    moved = np.roll(unit_shapes[:1], 3, axis=1)
    kept = remove_duplicates(np.concatenate([unit_shapes, 0.9 * moved, 0.5 * unit_shapes[:1]]))
    np.testing.assert_array_equal(kept[:3], unit_shapes)  # by size; the moved copy is dropped
    np.testing.assert_array_equal(kept[3:], 0.5 * unit_shapes[:1])  # half the size is another unit
