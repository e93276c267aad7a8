"""Arguments of an encoder as arrays."""

import numpy as np
import pytest
from crsae_onnx.core.errors import SignalError
from crsae_onnx.runtime.inputs import as_array, spread_mask


def test_arrays_stay_as_they_are_and_lists_become_arrays():
    array = np.zeros((1, 2, 1))
    assert as_array(array, "signal") is array and as_array([[1, 2]], "signal").shape == (1, 2)
    with pytest.raises(SignalError, match="`signal` must be an array of real numbers"):
        as_array([[1], [2, 3]], "signal")


@pytest.mark.parametrize("shape", [(2, 9, 3), (2, 9), (1, 9, 1), ()])
def test_masks_are_spread_over_the_signal(shape):
    assert spread_mask(np.ones(shape), (2, 9, 3)).shape == (2, 9, 3)


def test_masks_of_other_shapes_are_refused():
    with pytest.raises(SignalError, match="broadcastable"):
        spread_mask(np.ones((2, 8, 3)), (2, 9, 3))
