"""Arrays survive JSON."""

import json

import numpy as np
import pytest

from keras_crsae.problem.stored_arrays import restored, stored


@pytest.mark.parametrize("dtype", ["<f4", "<i4"])
def test_arrays_come_back_equal(dtype, rng):
    array = (10 * rng.standard_normal((3, 0 + 4))).astype(dtype)
    back = restored(json.loads(json.dumps(stored(array, dtype))))
    np.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype and restored(array) is array
