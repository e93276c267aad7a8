"""Known onsets as a support."""

import numpy as np
import pytest

from keras_crsae.applications.neural_events.onsets import onset_support
from keras_crsae.applications.neural_events.spike_counts import SpikeCounts

COUNTS = SpikeCounts(np.zeros((3, 20, 1), np.float32), 5.0, -20.0, 5)


def where(support):
    return [np.flatnonzero(row).tolist() for row in support[..., 0]]


def test_times_are_on_the_clock_of_the_trials():
    assert where(onset_support([-20.0, 0.0, 14.9], COUNTS, 1, 4)) == [[0, 4, 6]] * 3
    assert where(onset_support([[0.0], [], [5.0, np.nan]], COUNTS, 1, 4)) == [[4], [], [5]]
    assert where(onset_support(np.array([[0.0, 5.0]] * 3), COUNTS, 1, 4)) == [[4, 5]] * 3


def test_jitter_widens_and_the_border_cuts():
    assert where(onset_support([-20.0], COUNTS, 1, 4, jitter_ms=10)) == [[0, 1, 2]] * 3


def test_kernels_have_onsets_of_their_own():
    support = onset_support([[0.0], [[5.0], [], []]], COUNTS, 2, 4)
    assert support[:, 4, 0].tolist() == [1, 1, 1] and support[:, 5, 1].tolist() == [1, 0, 0]


@pytest.mark.parametrize("onsets, kernels, message", [
    ([[0.0], [1.0]], 1, "3 trials"), ([[0.0]], 2, "2 kernels"), ([500.0], 1, "No onset"), ([np.inf], 1, "infinite"),
    (["a"], 1, "no numbers|onset")])
def test_onsets_that_do_not_fit_are_refused(onsets, kernels, message):
    with pytest.raises(ValueError, match=message):
        onset_support(onsets, COUNTS, kernels, 4)
