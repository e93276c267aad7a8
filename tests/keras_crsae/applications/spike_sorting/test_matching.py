"""Spikes of templates, the residual, and waveforms without their neighbours."""

import numpy as np
import pytest

from keras_crsae.applications.spike_sorting import matching
from keras_crsae.applications.spike_sorting.matching import (
    UnitSpikes,
    linear_algebra_threads,
    match_templates,
    mean_waveforms,
    residual,
    searching_with,
    select_units,
    subtract_others,
)
from keras_crsae.applications.spike_sorting.templates import template_norms

SIZE = 40


def test_waveforms_shifted_by_a_fraction_are_those_of_a_shifted_unit():
    """A unit moved by whole and half samples: its waveforms cut there equal those of the unit."""
    smooth = np.zeros((1, SIZE, 2), np.float32)
    smooth[0, :, 0] = 9 * np.exp(-0.5 * ((np.arange(SIZE) - 18) / 3.0) ** 2)
    spikes = UnitSpikes(smooth, np.array([100, 300]), np.array([0, 0]), template_norms(smooth)[[0, 0]])
    for shift in (0.0, 3.0, -2.0, 0.5, -1.25):
        moved = 9 * np.exp(-0.5 * ((np.arange(SIZE) + shift - 18) / 3.0) ** 2)
        waves = subtract_others(np.zeros((500, 2), np.float32), spikes, 0, shift)
        np.testing.assert_allclose(waves[:, :, 0], [moved, moved], atol=0.01)


def test_shifted_waveforms_beyond_the_signal_are_omitted(unit_shapes):
    spikes = UnitSpikes(unit_shapes, np.array([0, 100, 160]), np.array([0, 0, 0]), np.full(3, 16.0))
    rest = np.zeros((200, 2), np.float32)
    assert [len(subtract_others(rest, spikes, 0, shift)) for shift in (0.0, -1.0, 1.0, 0.5)] == [3, 2, 2, 2]


def test_selected_units_keep_their_spikes_and_are_renumbered(unit_shapes):
    spikes = UnitSpikes(unit_shapes, np.array([5, 60, 120, 200]), np.array([2, 0, 1, 2]),
                           np.array([9.0, 8.0, 7.0, 6.0]))
    some = select_units(spikes, np.array([0, 2]))
    assert some.unit_id.tolist() == [1, 0, 1]
    assert some.start_sample.tolist() == [5, 60, 200]
    np.testing.assert_array_equal(some.templates, unit_shapes[[0, 2]])


@pytest.mark.parametrize("shift", [0.0, -2.0, 0.25])
def test_small_spikes_beside_a_large_one_stay_in_its_waveform(unit_shapes, shift):
    templates = np.stack([unit_shapes[0], 0.3 * unit_shapes[1], 0.3 * unit_shapes[2]])
    size = template_norms(templates)
    at, unit = np.array([12, 35, 40, 40, 55, 110, 133]), np.array([1, 0, 0, 1, 2, 0, 1])
    spikes = UnitSpikes(templates, at, unit, size[unit])
    signal = np.zeros((220, 2), np.float32)
    for t, u in zip(at, unit, strict=True):
        signal[t:t + SIZE] += templates[u]
    of_unit = np.flatnonzero(unit == 0)
    for least, stay in ((0.0, ()), (size[1:].max() + 0.1, (1, 2))):
        expected = []
        for i in of_unit:
            alone = np.zeros_like(signal)
            for j in (i, *np.flatnonzero(np.isin(unit, stay))):
                alone[at[j]:at[j] + SIZE] += templates[unit[j]]
            one = UnitSpikes(templates[:1], at[[i]], np.zeros(1, int), np.zeros(1))
            expected.append(subtract_others(alone, one, 0, shift)[0])
        waves = subtract_others(residual(signal, spikes), spikes, 0, shift, least)
        np.testing.assert_allclose(waves, expected, atol=2e-4 if shift == int(shift) else 0.05)


def test_means_are_those_of_the_waveforms_and_a_silent_unit_keeps_its_template(unit_shapes, rng):
    spikes = UnitSpikes(unit_shapes, np.array([5, 30, 60, 120]), np.array([1, 0, 1, 1]), np.array([9.0, 8.0, 7.0, 6.0]))
    rest = rng.normal(size=(200, 2)).astype(np.float32)
    means = mean_waveforms(rest, spikes)
    for unit in (0, 1):
        np.testing.assert_allclose(means[unit], subtract_others(rest, spikes, unit).mean(axis=0), atol=1e-5)
    np.testing.assert_array_equal(means[2], unit_shapes[2].astype(np.float32))


def test_waveforms_of_some_channels_and_spikes_are_parts_of_all(unit_shapes, rng):
    spikes = UnitSpikes(unit_shapes, np.array([5, 30, 60, 120]), np.array([1, 0, 1, 1]), np.array([9.0, 8.0, 7.0, 6.0]))
    rest = rng.normal(size=(200, 2)).astype(np.float32)
    for shift in (0.0, 0.5):
        everything = subtract_others(rest, spikes, 1, shift, minimum_norm=12.0)
        some = subtract_others(rest, spikes, 1, shift, 12.0, channels=np.array([1]), rows=np.array([0, 2]))
        np.testing.assert_allclose(some, everything[[0, 2]][:, :, 1:], atol=1e-6)


def test_pieces_that_are_searched_at_a_time_give_the_same_spikes(unit_shapes, rng, monkeypatch):
    from threadpoolctl import threadpool_limits

    monkeypatch.setattr(matching, "PIECE_SAMPLES", 500)
    signal = rng.normal(size=(3000, 2)).astype(np.float32)
    for start, unit in zip(range(50, 2900, 110), rng.integers(0, len(unit_shapes), 26), strict=True):
        signal[start:start + unit_shapes.shape[1]] += unit_shapes[unit]
    one = match_templates(signal, unit_shapes, 20)
    with threadpool_limits(1):
        assert linear_algebra_threads() == 1
    with searching_with(3):
        for field, other in zip(one[1:], match_templates(signal, unit_shapes, 20)[1:], strict=True):
            np.testing.assert_array_equal(field, other)
    assert len(one.start_sample) >= 20
