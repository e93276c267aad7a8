"""Labels: what is taken, and what is refused with the way out."""

import numpy as np
import pytest

from keras_crsae.models.labels import as_labels


@pytest.mark.parametrize("labels", [[0, 1, 2], [[0], [1], [2]], np.array([0.0, 1.0, 2.0]), np.arange(3, dtype="uint8")])
def test_whole_numbers_are_taken(labels):
    found = as_labels(labels, 3, 3)
    assert found.dtype == np.int32 and found.tolist() == [0, 1, 2]


@pytest.mark.parametrize("labels, message", [
    (np.eye(3), "one-hot"), ([0, 1], "shape \\(2,\\)"), ([0, 1, 3], "3 at index 2"), ([0, -1, 1], "-1 at index 1"),
    ([0, 0.5, 1], "0.5 at index 1"), ([0, np.nan, 1], "nan at index 1"), (["a", "b", "c"], "return_inverse"),
    ([[0, 1, 2]], "shape \\(1, 3\\)")])
def test_others_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        as_labels(labels, 3, 3)
