"""Arrays in JSON."""

import json

import numpy as np
import pytest
from crsae_onnx.core.json_arrays import from_plain, to_plain


@pytest.mark.parametrize("value", [np.arange(6, dtype=">i4").reshape(2, 3), np.ones((0, 3), "float32"),
                                   np.float64([[np.nan, np.inf]])], ids=str)
def test_arrays_come_back_with_their_type_and_shape(value):
    back = from_plain(json.loads(json.dumps(to_plain(value))))
    np.testing.assert_array_equal(back, value)
    assert back.dtype == value.dtype.newbyteorder("=") and back.shape == value.shape


@pytest.mark.parametrize("value", [3, "text", None, [1, 2]])
def test_what_is_no_array_stays(value):
    assert to_plain(value) == value and from_plain(value) == value


def test_arrays_of_other_things_than_numbers_are_refused():
    with pytest.raises(ValueError, match="array of real numbers"):
        from_plain({"dtype": "|O", "shape": [1], "base64": ""})
