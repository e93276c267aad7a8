"""Waveforms and their means."""

import numpy as np
import pytest

from keras_crsae.applications.spike_sorting import templates as st

SIZE = 40


def test_means_lose_their_own_noise(unit_shapes):
    rng = np.random.default_rng(6)
    quiet = np.concatenate([unit_shapes[:1], np.zeros((1, SIZE, 2))], axis=2)  # two channels more that see nothing
    mean = quiet + rng.normal(size=quiet.shape) / np.sqrt(50)
    kept = st.shrunk(mean, [50])
    assert np.square(kept - quiet).sum() < 0.7 * np.square(mean - quiet).sum()
    assert np.square(kept[..., 2:]).sum() < 0.1 * np.square(mean[..., 2:]).sum()


def sharing(units, rng):
    """Templates (units, 60, 4) made of two time courses."""
    t = np.arange(60)
    courses = [np.exp(-0.5 * ((t - 25) / 3.0) ** 2), np.exp(-0.5 * ((t - 32) / 6.0) ** 2)]
    return np.einsum("kt,ukc->utc", courses, rng.normal(size=(units, 2, 4)) * 4)


def test_shared_time_courses_take_most_of_the_noise_off_means():
    """Errors of the mean of n spikes are 240 / n; two courses leave (2 * 24 + 2 * 60) of 1440 degrees of freedom."""
    rng = np.random.default_rng(3)
    true, counts = sharing(6, rng), np.array([20, 50, 100, 200, 400, 800])
    mean = true + rng.normal(size=true.shape) / np.sqrt(counts)[:, None, None]
    kept = st.few_shapes(mean, counts)
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
    kept = np.moveaxis(st.few_shapes(mean, np.ones(5)), 1, 2).reshape(-1, 30)
    np.testing.assert_allclose(np.linalg.svd(kept, compute_uv=False), expected, atol=1e-4)


def test_silent_channels_stay_silent_and_noise_alone_vanishes():
    rng = np.random.default_rng(4)
    mean = rng.normal(size=(3, 50, 2)) / 10
    assert not st.few_shapes(mean, [100, 100, 100]).any()
    mean[:, :, 0] += 5 * np.hanning(50)
    mean[:, :, 1] = 0
    kept = st.few_shapes(mean, [100, 100, 100])
    assert kept[:, :, 0].any(axis=1).all()
    assert not kept[:, :, 1].any()
    assert not st.few_shapes(np.zeros((2, 50, 3)), [0, 0]).any()


def test_waveforms_shifted_by_a_fraction_are_those_of_a_shifted_unit():
    """A unit moved by whole and half samples: its waveforms cut there equal the unit's own."""
    smooth = np.zeros((1, SIZE, 2), np.float32)
    smooth[0, :, 0] = 9 * np.exp(-0.5 * ((np.arange(SIZE) - 18) / 3.0) ** 2)
    found = st.Found(smooth, np.array([100, 300]), np.array([0, 0]), st.norms(smooth)[[0, 0]])
    for shift in (0.0, 3.0, -2.0, 0.5, -1.25):
        moved = 9 * np.exp(-0.5 * ((np.arange(SIZE) + shift - 18) / 3.0) ** 2)
        waves = st.cleaned(np.zeros((500, 2), np.float32), found, 0, shift)
        np.testing.assert_allclose(waves[:, :, 0], [moved, moved], atol=0.01)


def test_shifted_waveforms_beyond_the_signal_are_left_out(unit_shapes):
    found = st.Found(unit_shapes, np.array([0, 100, 160]), np.array([0, 0, 0]), np.full(3, 16.0))
    rest = np.zeros((200, 2), np.float32)
    assert [len(st.cleaned(rest, found, 0, shift)) for shift in (0.0, -1.0, 1.0, 0.5)] == [3, 2, 2, 2]


def test_units_are_picked_from_what_was_found(unit_shapes):
    found = st.Found(unit_shapes, np.array([5, 60, 120, 200]), np.array([2, 0, 1, 2]), np.array([9.0, 8.0, 7.0, 6.0]))
    some = st.of_units(found, np.array([0, 2]))
    assert some.unit.tolist() == [1, 0, 1]
    assert some.position.tolist() == [5, 60, 200]
    np.testing.assert_array_equal(some.templates, unit_shapes[[0, 2]])


@pytest.mark.parametrize("shift", [0.0, -2.0, 0.25])
def test_small_spikes_beside_a_large_one_stay_in_its_waveform(unit_shapes, shift):
    templates = np.stack([unit_shapes[0], 0.3 * unit_shapes[1], 0.3 * unit_shapes[2]])
    size = st.norms(templates)
    at, unit = np.array([12, 35, 40, 40, 55, 110, 133]), np.array([1, 0, 0, 1, 2, 0, 1])
    found = st.Found(templates, at, unit, size[unit])
    signal = np.zeros((220, 2), np.float32)
    for t, u in zip(at, unit, strict=True):
        signal[t:t + SIZE] += templates[u]
    own = np.flatnonzero(unit == 0)
    for least, stay in ((0.0, ()), (size[1:].max() + 0.1, (1, 2))):
        expected = []
        for i in own:
            alone = np.zeros_like(signal)
            for j in (i, *np.flatnonzero(np.isin(unit, stay))):
                alone[at[j]:at[j] + SIZE] += templates[unit[j]]
            one = st.Found(templates[:1], at[[i]], np.zeros(1, int), np.zeros(1))
            expected.append(st.cleaned(alone, one, 0, shift)[0])
        made = st.cleaned(st.unexplained(signal, found), found, 0, shift, least)
        np.testing.assert_allclose(made, expected, atol=2e-4 if shift == int(shift) else 0.05)
