"""Data of measurements at the door, and what training compares; models of them: ``models/test_measured.py``."""

from types import SimpleNamespace

import numpy as np
import pytest
from keras import ops

from keras_crsae.problem import Identity, Matrix, Subsample
from keras_crsae.training.inputs import SignalLayout
from keras_crsae.training.measured_inputs import as_data, as_operator, as_vectors, compared


def test_vectors_get_the_axes_that_all_data_have():
    flat = Matrix(np.ones((3, 20)), signal_shape=(4, 5, 1))
    layout = SignalLayout(2, 1, (2, 2), measurement=flat)
    assert as_data(np.ones((6, 3)), layout).shape == (6, 3, 1, 1)
    assert as_vectors(np.ones((6, 3, 1)), flat, 2).shape == (6, 3, 1)
    with pytest.raises(ValueError, match=r"\(batch, 3, 1, 1\)"):
        as_data(np.ones((6, 3, 1)), layout)


def test_signals_shorter_than_the_filters_are_refused():
    layout = SignalLayout(1, 1, (9,), measurement=Subsample(2))
    assert as_data(np.ones((1, 5, 1)), layout).shape == (1, 5, 1)
    with pytest.raises(ValueError, match="fewer than the filters"):
        as_data(np.ones((1, 4, 1)), layout)


def test_numbers_of_matrices():
    stack = Matrix(np.ones((3, 4, 8)))
    assert as_operator([[2], [0]], stack, 2).tolist() == [2, 0] and as_operator(1, stack, 5).shape == ()
    assert as_operator(None, Identity(), 2) is None


def test_losses_compare_data_or_clean_signals(rng):
    measurement, eta = Subsample(2), ops.convert_to_tensor(rng.standard_normal((2, 8, 1)).astype("float32"))
    batch = SimpleNamespace(signal=eta[:, ::2], target="clean", observed="mask", operator=None, supervised=False)
    target, prediction, observed = compared(measurement, batch, eta)
    np.testing.assert_array_equal(target, prediction)
    assert observed == "mask"
    batch.supervised = True
    assert compared(measurement, batch, eta) == ("clean", eta, None)
    assert compared(Identity(), batch, eta) == ("clean", eta, "mask")
