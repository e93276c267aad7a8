"""Events from a code."""

import numpy as np
import pytest

from keras_crsae.applications.neural_events.detection import (
    Detection,
    find_events,
    fit_amplitudes,
    pool_code,
    synthesis,
)

KERNEL = np.exp(-0.5 * ((np.arange(15) - 5) / 2.5) ** 2)[:, None, None]


def test_neighbours_are_one_event_and_signs_are_apart():
    code = np.zeros(30)
    code[[9, 10, 11, 20]] = 1, 3, 1, -2
    position, amplitude = pool_code(code, 2)
    assert position.tolist() == [10, 20] and amplitude.tolist() == [5, -2]
    assert len(pool_code(np.zeros(5), 2)[0]) == 0


@pytest.mark.parametrize("size", [5, None])
def test_amplitudes_of_expected_counts_are_the_true_ones(size):
    position, which, true = np.array([10, 18]), np.zeros(2, int), np.array([2.0, 1.0])
    eta = -2 + synthesis(position, which, true, KERNEL, 60)
    counts = np.exp(eta) if size is None else size / (1 + np.exp(-eta))
    fitted = fit_amplitudes(position, which, np.ones(2), counts, np.full((60, 1), -2.0), KERNEL, size)
    np.testing.assert_allclose(fitted, true, rtol=0.01)


def test_an_amplitude_keeps_its_sign():
    counts = np.zeros((60, 1))
    assert fit_amplitudes(np.array([10]), np.array([0]), np.ones(1), counts, np.full((60, 1), -1.0), KERNEL, 5)[0] == 0


def test_events_that_add_little_are_dropped_and_others_moved_to_their_place():
    eta = -3 + synthesis(np.array([20]), np.array([0]), np.array([4.0]), KERNEL, 80)
    counts = 5 / (1 + np.exp(-eta))
    code = np.zeros((66, 1))
    code[21], code[50] = 3, 0.5
    rule = Detection(radius=2, least_gain=3.0, trials_per_bin=5)
    position, which, amplitude = find_events(code, counts, np.full((80, 1), -3.0), KERNEL, rule)
    assert position.tolist() == [20] and which.tolist() == [0] and amplitude[0] == pytest.approx(4, rel=0.02)
    position, _, _ = find_events(0 * code, counts, np.full((80, 1), -3.0), KERNEL, rule)
    assert len(position) == 0
