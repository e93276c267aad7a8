"""Counts at the door; what is no count is refused in tests/keras_crsae/problem/test_counts.py, by each likelihood."""

import numpy as np
import pytest
from crsae_onnx.core.counts import as_own_size, as_size, check_counts

SHAPE = (2, 30, 4)


@pytest.mark.parametrize("given, per_signal, shape", [
    ((), True, ()), ((2,), True, (2, 1, 1)), (SHAPE, True, SHAPE), ((2, 30), True, (2, 30, 1)),
    ((30, 4), True, (1, 30, 4)), ((30, 1), True, (1, 30, 1)), ((4,), True, (1, 1, 4)), ((4,), False, (1, 1, 4)),
    ((2, 1, 1), True, (2, 1, 1)), ((1, 30, 1), False, (1, 30, 1))])
def test_sizes_are_one_number_one_a_signal_or_one_a_sample(given, per_signal, shape):
    found = as_size(np.ones(given), SHAPE, "trials", per_signal=per_signal)
    assert found.shape == shape and np.broadcast_to(found, SHAPE).shape == SHAPE


@pytest.mark.parametrize("given, per_signal", [((3,), True), ((2,), False), ((30,), True), ((2, 31, 4), True)])
def test_sizes_that_do_not_fit_are_refused(given, per_signal):
    with pytest.raises(ValueError, match="`trials` must be a number.*broadcastable to the signal.*Received: shape"):
        as_size(np.ones(given), SHAPE, "trials", per_signal=per_signal)
    with pytest.raises(ValueError, match="Received: 1.5"):
        as_size(1.5, SHAPE, "trials", whole=True)


@pytest.mark.parametrize("size", [-1.0, np.inf, [0.0, 0.0], "many", []])
def test_what_is_no_size_is_refused(size):
    with pytest.raises(ValueError, match="`exposure` must"):
        as_own_size(size, "exposure", whole=False)


def test_counts_beyond_their_trials_are_named_by_their_place():
    counts = np.array([[[1], [4], [2]]])
    check_counts(counts, np.array(4), "trials", bounded=True)
    check_counts(counts, np.array(3), "trials", bounded=True, observed=counts < 4)
    with pytest.raises(ValueError, match="`y` must hold counts: at most the number of trials.*4 at .0, 1, 0., 1 such"):
        check_counts(counts, np.array(3), "trials", bounded=True, name="y")
