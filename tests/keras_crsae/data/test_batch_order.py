"""The order of batches is a function of seed and epoch."""

import numpy as np
import pytest

from keras_crsae.data.batch_order import BatchOrder, split_indices


def test_the_order_follows_seed_and_epoch_alone():
    first, later, again, other = (BatchOrder(*given).indices(10) for given in ((0, 0), (0, 1), (0, 0, 3), (1, 1)))
    assert sorted(first) == list(range(10))
    np.testing.assert_array_equal(first, again)  # batches that were done before are skipped in it, not left out of it
    assert (first != later).any() and (later != other).any()
    np.testing.assert_array_equal(BatchOrder(3, 4).indices(5, shuffle=False), range(5))


@pytest.mark.parametrize("count, size, replicas", [(10, 4, 2), (11, 5, 2), (9, 4, 4), (3, 8, 3), (7, 1, 1)])
def test_replicas_share_every_batch_without_overlap(count, size, replicas):
    whole = split_indices(np.arange(count), size)
    parts = [split_indices(np.arange(count), size, replicas, slice(i, i + 1)) for i in range(replicas)]
    assert {len(part) for part in parts} == {-(-count // size)}  # all make the same number of steps
    for batch, *rows in zip(whole, *parts, strict=True):
        together = np.concatenate(rows)
        np.testing.assert_array_equal(together[together >= 0], batch[batch >= 0])
        assert all(len(row) == -(-size // replicas) for row in rows)
