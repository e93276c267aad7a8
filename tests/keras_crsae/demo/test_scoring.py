"""Events from codes, and their score."""

import numpy as np
import pytest

from keras_crsae.demo.scoring import detect_events, match_events


def test_a_run_of_values_is_one_event_at_its_mean_position():
    code = np.zeros((60, 2))
    code[[10, 11], 0] = 1.0, 3.0
    code[30, 0] = -2.0
    code[50, 0] = 0.5
    found = detect_events(code, min_amplitude=1.0, min_gap=5)
    assert found[0].tolist() == [11, 30] and found[1].tolist() == []


def test_gap_separates_events():
    code = np.zeros((20, 1))
    code[[4, 8], 0] = 1.0
    assert detect_events(code, 0.5, min_gap=4)[0].tolist() == [4, 8]
    assert detect_events(code, 0.5, min_gap=5)[0].tolist() == [6]


def test_each_true_event_takes_one_found_one():
    assert match_events([10, 50, 90], [9, 11, 52, 200], tolerance=3) == (2, 1, 2)
    assert match_events([], [3], 1) == (0, 0, 1) and match_events([3], [], 1) == (0, 1, 0)


def test_batched_codes_are_refused():
    with pytest.raises(ValueError, match="one batch entry"):
        detect_events(np.zeros((1, 5, 2)), 1.0, 2)
