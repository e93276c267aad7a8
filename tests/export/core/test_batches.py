"""Arrays of files become batches (batch, *space, channels)."""

import numpy as np
import pytest
from crsae_onnx.core.batches import SingleBatch, as_batch
from crsae_onnx.core.errors import FileError


@pytest.mark.parametrize("shape, rank, expected", [
    ((50,), 1, (1, 50, 1)), ((50, 2), 1, (1, 50, 2)), ((3, 50, 2), 1, (3, 50, 2)), ((9, 8), 2, (1, 9, 8, 1)),
    ((9, 8, 3), 2, (1, 9, 8, 3)), ((4, 9, 8, 3), 2, (4, 9, 8, 3))])
def test_missing_axes_are_added(shape, rank, expected):
    assert as_batch(np.zeros(shape), rank, "y.npy").shape == expected


@pytest.mark.parametrize("shape, rank, words", [
    ((2, 3, 4, 5), 1, "--rank 2"), ((5,), 2, "height, width"), ((32, 20), 1, None), ((6, 1000), 1, "transpose")])
def test_other_layouts_are_refused(shape, rank, words):
    if words is None:
        assert as_batch(np.zeros(shape), rank, "y.npy").shape == (1, *shape)
        return
    with pytest.raises(FileError, match=words):
        as_batch(np.zeros(shape), rank, "y.npy")


def test_a_recording_is_a_batch_of_one_and_is_read_only_where_it_is_indexed(rng):
    recording = rng.standard_normal((100, 3))
    batch = SingleBatch(recording)
    assert (batch.shape, batch.ndim, len(batch), batch.dtype) == ((1, 100, 3), 3, 1, recording.dtype)
    np.testing.assert_array_equal(batch[:1, 20:50], recording[None, 20:50])
