"""Spikes as local maxima of a code, in NumPy."""

import numpy as np
from crsae_onnx.core.spikes.peak_rule import PeakRule, peak_rule


def rule(units=1, threshold=1.0, distance=4, alone=0):
    return PeakRule(np.full(units, threshold), distance, np.arange(1.0, units + 1), 10 * np.arange(units), alone)


def code(units=1, positions=60, **spikes):
    made = np.zeros((1, positions, units), np.float32)
    for unit, values in spikes.items():
        for at, value in values.items():
            made[0, at, int(unit[1:])] = value
    return made


def test_neighbouring_values_are_one_spike_of_their_sum():
    index, unit, amplitude = rule().find(code(u0={20: 1.0, 21: 2.0, 23: 0.5}))
    assert index.tolist() == [[0, 21]] and unit.tolist() == [0] and amplitude.tolist() == [3.5]


def test_a_flat_top_is_one_spike_at_the_code_itself():
    assert rule().find(code(u0={20: 3.0}))[0].tolist() == [[0, 20]]  # the middle of five equal sums
    assert rule().find(code(u0={20: 3.0, 21: 4.0}))[0].tolist() == [[0, 21]]


def test_of_near_spikes_of_a_unit_the_largest_stays():
    assert rule(distance=8).find(code(u0={20: 3.0, 27: 5.0, 40: 2.0}))[2].tolist() == [5.0, 2.0]
    assert rule(distance=6).find(code(u0={20: 3.0, 27: 5.0}))[2].tolist() == [3.0, 5.0]
    assert rule(distance=6).find(code(u0={20: 5.0, 27: 3.0}))[2].tolist() == [5.0, 3.0]  # whichever comes first
    assert rule(distance=7).find(code(u0={20: 5.0, 27: 3.0}))[2].tolist() == [5.0]


def test_units_are_apart_unless_one_spike_alone_is_told():
    both = code(2, u0={20: 3.0}, u1={21: 5.0})
    index, unit, amplitude = rule(2).find(both)
    assert unit.tolist() == [0, 1] and index[:, 1].tolist() == [20, 31] and amplitude.tolist() == [3.0, 10.0]
    assert rule(2, alone=3).find(both)[1].tolist() == [1]


def test_spikes_at_the_ends_and_none():
    assert rule().find(code(u0={0: 2.0, 59: 2.0}))[0].tolist() == [[0, 0], [0, 59]]
    assert len(rule(threshold=9.0).find(code(u0={20: 2.0}))[1]) == 0


def test_batch_entries_are_told_apart():
    two = np.concatenate([code(u0={9: 2.0}), code(u0={30: 3.0})])
    assert rule().find(two)[0][:, 0].tolist() == [0, 1]


def test_a_threshold_alone_keeps_half_a_filter():
    made = peak_rule([2.0, 3.0], 45, 2)
    assert made.min_distance == 22 and made.min_peak.tolist() == [2, 3] and made.gain.tolist() == [1, 1]
    assert not made.exclusion
