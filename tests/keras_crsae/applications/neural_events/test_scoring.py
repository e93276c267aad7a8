"""Hits, misses and false events."""

import numpy as np
import pytest

from keras_crsae.applications.neural_events.scoring import EVENT_FIELDS, as_events, score_events


def table(*rows):
    return np.array([(trial, 0, time, kernel, 1.0) for trial, time, kernel in rows], EVENT_FIELDS)


def test_pairs_are_one_to_one_and_as_many_as_possible():
    true, found = table((0, 100, 0), (0, 108, 0)), table((0, 104, 0), (0, 92, 0))
    scores = score_events(true, found, tolerance_ms=10)
    assert (scores.hits, scores.missed, scores.false) == (2, 0, 0) and scores.f1 == 1
    scores = score_events(true, table((0, 104, 0)), tolerance_ms=10)
    assert (scores.hits, scores.missed, scores.false) == (1, 1, 0) and scores.recall == 0.5 and scores.precision == 1


def test_trials_and_kernels_are_apart():
    true = table((0, 100, 0))
    assert score_events(true, table((1, 100, 0))).hits == 0
    assert score_events(true, table((0, 100, 1))).hits == 0
    assert score_events(true, table((0, 100, 1)), kernels=False).hits == 1


def test_a_constant_shift_is_found():
    true, found = table((0, 100, 0), (1, 300, 0)), table((0, 85, 0), (1, 285, 0))
    assert score_events(true, found).hits == 0
    assert score_events(true, found, shift_ms=15).hits == score_events(true, found, shift_ms="best").hits == 2


def test_nothing_found_or_nothing_true():
    nothing = table()
    assert score_events(table((0, 1, 0)), nothing).f1 == 0 and score_events(nothing, table((0, 1, 0))).false == 1
    assert score_events(nothing, nothing, shift_ms="best").f1 == 0


def test_bad_options_are_refused():
    for options in ({"tolerance_ms": 0}, {"shift_ms": "any"}):
        with pytest.raises(ValueError):
            score_events(table(), table(), **options)


def test_a_table_is_in_order():
    events = as_events(np.array([1, 0]), np.zeros(2), np.array([3.0, 4.0]), np.zeros(2), np.ones(2))
    assert events["trial"].tolist() == [0, 1] and events["time_ms"].tolist() == [4, 3]
