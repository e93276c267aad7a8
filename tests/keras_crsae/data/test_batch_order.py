"""The order of batches is a function of seed, epoch and step."""

import keras
import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.data.batch_order import Place, epoch_order, in_order


def epoch_of(data):
    """Batches as tuples of arrays."""
    return [tuple(np.asarray(part) for part in (batch if isinstance(batch, tuple) else (batch,))) for batch in data]


def test_the_order_follows_seed_and_epoch_alone():
    x = np.arange(10, dtype="float32").reshape(10, 1, 1)
    place, other = Place(), Place()
    data, again = in_order((x, None, None), 4, place), in_order((x, None, None), 4, other)
    seen = []
    for epoch in (0, 1, 0):
        place.epoch = epoch
        seen.append(np.concatenate([b[0].ravel() for b in epoch_of(data)]))
    assert sorted(seen[0]) == list(range(10)) and (seen[0] == seen[2]).all() and (seen[0] != seen[1]).any()
    other.epoch = 1
    assert (np.concatenate([b[0].ravel() for b in epoch_of(again)]) == seen[1]).all()
    other.seed = 1
    assert (np.concatenate([b[0].ravel() for b in epoch_of(again)]) != seen[1]).any()
    assert [len(b[0]) for b in epoch_of(data)] == [4, 4, 2] and int(data.cardinality()) == 3
    np.testing.assert_array_equal(epoch_order(10, 0, 1), seen[1])


def test_targets_and_weights_go_along_and_unshuffled_data_keep_their_order():
    x = np.arange(6, dtype="float32").reshape(6, 1, 1)
    for signal, target, weight in epoch_of(in_order((x, 2 * x, np.arange(6)), 4, Place())):
        np.testing.assert_array_equal(target, 2 * signal)
        np.testing.assert_array_equal(weight, signal.ravel())
    plain = epoch_of(in_order((x, None, None), 4, Place(), shuffle=False))
    np.testing.assert_array_equal(np.concatenate([b[0] for b in plain]), x)


@pytest.mark.parametrize("count, size, replicas", [(10, 4, 2), (11, 5, 2), (9, 4, 4), (3, 8, 3), (7, 1, 1)])
def test_replicas_share_every_batch_without_overlap(count, size, replicas):
    x = np.arange(count, dtype="float32").reshape(count, 1, 1)
    whole = in_order((x, None, None), size, Place())
    shares = [epoch_of(whole.share(replicas, slice(i, i + 1))) for i in range(replicas)]
    assert {len(share) for share in shares} == {-(-count // size)}  # all make the same number of steps
    for batch, *rest in zip(epoch_of(whole), *shares, strict=True):
        np.testing.assert_array_equal(np.concatenate([part[0] for part in rest]), batch[0])
        assert all(len(part[0]) <= -(-size // replicas) for part in rest)


def test_a_machine_of_several_devices_gives_each_its_part_in_turn():
    x = np.arange(9, dtype="float32").reshape(9, 1, 1)
    data = in_order((x, None, None), 4, Place(), shuffle=False).share(4, slice(2, 4))
    assert [b[0].ravel().tolist() for b in epoch_of(data)] == [[2], [3], [6], [7], [], []]


class Witness(kc.CRsAE):
    """A CRsAE that writes down the first samples of its batches."""

    def train_step(self, data):
        self.seen.append(np.asarray(data)[:, 0, 0].tolist())
        return super().train_step(data)


def trained(signal, **fitting):
    model = Witness(1, 3, iterations=1, gradient="decoder", lambda_learning=None, lambda_init=1e-3, seed=5)
    model.seen = []
    model.set_dictionary(np.ones((3, 1, 1)))
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    model.fit(signal, verbose=0, **fitting)
    return model


@pytest.fixture
def numbered():
    return np.arange(1.0, 8.0)[:, None, None] * np.ones((7, 6, 1))


def test_fit_goes_through_all_signals_in_an_order_that_a_later_fit_continues(numbered):
    whole = trained(numbered, epochs=3, batch_size=3)
    assert len(whole.seen) == 9 and sorted(sum(whole.seen[:3], [])) == list(range(1, 8))
    assert whole.seen[:3] != whole.seen[3:6]
    later = trained(numbered, epochs=3, batch_size=3, initial_epoch=1)
    assert later.seen == whole.seen[3:]
    np.testing.assert_array_equal(whole.position, [3, 0])
    assert float(whole.order_seed) == 5


def test_a_validation_split_takes_the_last_signals(numbered):
    model = trained(numbered, batch_size=2, validation_split=0.3)
    assert sorted(sum(model.seen, [])) == [1, 2, 3, 4]
    assert "val_loss" in model.history.history
    with pytest.raises(ValueError, match="on each side"):
        trained(numbered, validation_split=1.0)
