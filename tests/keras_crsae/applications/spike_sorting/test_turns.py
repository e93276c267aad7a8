"""Units that take turns as a probe moves are joined; others stay."""

import dataclasses

import numpy as np

from keras_crsae.applications.spike_sorting.motion import ProbeMotion
from keras_crsae.applications.spike_sorting.regrouping import regroup
from keras_crsae.applications.spike_sorting.turns import merge_turns, merge_turns_in_time

TIMES = np.arange(0, 5.01, 0.1)
MOTION = ProbeMotion("known", [20 * np.sin(2 * np.pi * TIMES / 2.5)[:, None]], [TIMES], np.array([0.0]))


def split(sorted_spikes, first):
    """The result with unit 0 in two parts, those of its spikes for which ``first`` holds and the others."""
    recording, _, result = sorted_spikes
    rows = np.flatnonzero(result.spike_units == 0)
    moved = np.interp(result.spike_samples[rows] / 10_000, TIMES, MOTION.displacement_um[0][:, 0])
    chosen = first(moved)
    others = np.flatnonzero(result.spike_units == 1)
    return regroup(result, [rows[chosen], rows[~chosen], others], recording)


def test_parts_of_a_unit_at_different_positions_are_joined(sorted_spikes):
    whole, parts = sorted_spikes[2], split(sorted_spikes, lambda moved: moved > 0)
    joined = merge_turns(parts, MOTION)
    assert parts.num_units == 3 and joined.num_units == 2 and "1 units were joined" in joined.messages[-1]
    np.testing.assert_array_equal(np.sort(np.bincount(joined.spike_units)), np.sort(np.bincount(whole.spike_units)))
    assert joined.model.filters == 2


def test_the_two_halves_of_two_segments_are_joined(sorted_spikes):
    parts = split(sorted_spikes, lambda moved: moved > 0)
    here = TIMES < 2.45
    two = ProbeMotion("known", [MOTION.displacement_um[0][here], MOTION.displacement_um[0][~here]],
                      [TIMES[here], TIMES[~here] - TIMES[~here][0]], MOTION.depths_um)
    parts = dataclasses.replace(parts, segments=[(0, 24_500), (24_500, 50_000)])
    assert merge_turns(parts, two).num_units == 2


def test_similar_units_that_are_found_at_all_positions_stay_two(sorted_spikes):
    parts = split(sorted_spikes, lambda moved: np.arange(len(moved)) % 2 == 0)
    assert merge_turns(parts, MOTION) is parts


def test_units_that_fire_together_stay_two(sorted_spikes):
    parts = split(sorted_spikes, lambda moved: moved > 0)
    rows, mates = (np.flatnonzero(parts.spike_units == unit) for unit in (0, 1))
    samples = parts.spike_samples.copy()
    samples[mates[:20]] = samples[rows[:20]] + 5
    assert merge_turns(dataclasses.replace(parts, spike_samples=samples), MOTION).num_units == 3


def test_parts_of_a_unit_one_after_the_other_are_joined(sorted_spikes):
    recording, _, whole = sorted_spikes
    rows, others = (np.flatnonzero(whole.spike_units == unit) for unit in (0, 1))
    early = whole.spike_samples[rows] < 27_000
    parts = regroup(whole, [rows[early], rows[~early], others], recording)
    joined = merge_turns_in_time(parts)
    assert parts.num_units == 3 and joined.num_units == 2 and "as their amplitude changed" in joined.messages[-1]
    assert merge_turns_in_time(whole) is whole


def test_a_unit_without_spikes_is_left_out_where_others_are_joined(sorted_spikes):
    recording, _, whole = sorted_spikes
    rows, others = (np.flatnonzero(whole.spike_units == unit) for unit in (0, 1))
    early = whole.spike_samples[rows] < 27_000
    parts = regroup(whole, [rows[early], rows[~early], others], recording)
    kept = parts.spike_units != 2
    silent = dataclasses.replace(parts, **{name: getattr(parts, name)[kept] for name in
                                           ("spike_samples", "spike_units", "spike_amplitudes")})
    assert silent.num_units == 3 and merge_turns_in_time(silent).num_units == 1
