"""Numbers and lengths of kernels."""

import numpy as np
import pytest

from keras_crsae.applications.neural_events.choices import kernel_choices
from keras_crsae.applications.neural_events.parameters import EventParameters
from keras_crsae.applications.neural_events.spike_counts import bin_spikes

COUNTS = bin_spikes(np.eye(6, 200), 5)


def test_every_number_meets_every_length():
    found = kernel_choices(COUNTS, (1, 2), np.array([25, 50]), None, EventParameters())
    assert [(number, bins) for number, bins, _ in found] == [(1, 5), (1, 10), (2, 5), (2, 10)]
    (_, _, support), = kernel_choices(COUNTS, 1, 50.0, [30.0], EventParameters())
    assert np.argwhere(support)[:, 1].tolist() == [6] * 6


@pytest.mark.parametrize("kernels, kernel_ms", [(1.5, 50), (1, "long"), (1, -5), (True, 50), ([], 50), (1, [50, 9000])])
def test_what_is_no_number_or_does_not_fit_is_refused(kernels, kernel_ms):
    with pytest.raises(ValueError, match="kernel"):
        kernel_choices(COUNTS, kernels, kernel_ms, None, EventParameters())
