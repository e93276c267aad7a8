"""A source gives every item once an epoch, in the order that it is given, also mapped, sharded and from the middle."""

import numpy as np
import pytest
import tensorflow as tf

from keras_crsae.data.batch_order import BatchOrder
from keras_crsae.data.streams import batch_source
from keras_crsae.data.streams.batch_source import BatchSource, array_batches, is_from_source


def batches_of(data):
    """Batches as tuples of arrays."""
    return [tuple(np.asarray(part) for part in (batch if isinstance(batch, tuple) else (batch,))) for batch in data]


def items_of(data):
    return np.concatenate([batch[0].ravel() for batch in batches_of(data)]).tolist()


def numbers(count=10, batch_size=4, **options):
    return array_batches((np.arange(count, dtype="float32").reshape(count, 1, 1), None, None), batch_size, **options)


@pytest.mark.parametrize("mapped", [False, True])
def test_each_epoch_has_the_order_that_it_is_given(mapped):
    source = numbers().map(lambda batch: batch + 0) if mapped else numbers()
    order = BatchOrder()
    data, seen = source.dataset(lambda: order), []
    for epoch in (0, 1, 0):
        order = BatchOrder(seed=5, epoch=epoch)
        seen.append(items_of(data))
        assert seen[-1] == order.indices(10).tolist()
    assert seen[0] == seen[2] != seen[1]
    assert [len(b[0]) for b in batches_of(data)] == [4, 4, 2] and int(data.cardinality()) == len(source) == 3


def test_batches_that_were_done_are_not_loaded():
    loaded = []

    def read(indices, order):
        loaded.extend(indices.tolist())
        return indices.astype("float32")

    source = BatchSource.from_reader(10, 4, read, tf.TensorSpec((None,), tf.float32), shuffle=False)
    assert items_of(source.dataset(BatchOrder(skip=2))) == [8, 9] and loaded == [8, 9]
    assert int(source.dataset(BatchOrder(skip=2)).cardinality()) == 1


def test_a_reader_is_given_the_order_and_its_error_is_kept():
    source = BatchSource.from_reader(
        4, 4, lambda indices, order: np.full(len(indices), 100 * order.seed + order.epoch, "float32"),
        tf.TensorSpec((None,), tf.float32), decode=lambda content: -content)
    assert items_of(source.dataset(BatchOrder(3, 7))) == [-307.0] * 4

    def fail(indices, order):
        raise OSError("no such disk")

    broken = BatchSource.from_reader(4, 2, fail, tf.TensorSpec((None,), tf.float32)).map(lambda batch: batch)
    with pytest.raises(tf.errors.OpError):
        list(broken)
    assert isinstance(broken.errors[-1], OSError)


def test_maps_follow_one_another_and_take_tuples_apart():
    source = numbers(shuffle=False).map(lambda signal: (signal, signal + 1)).map(lambda signal, target: target - signal)
    assert items_of(source) == [1.0] * 10


def test_targets_and_weights_go_along_and_unshuffled_data_keep_their_order():
    x = np.arange(6, dtype="float32").reshape(6, 1, 1)
    for signal, target, weight in batches_of(array_batches((x, 2 * x, np.arange(6)), 4)):
        np.testing.assert_array_equal(target, 2 * signal)
        np.testing.assert_array_equal(weight, signal.ravel())
    assert items_of(numbers(6, shuffle=False)) == list(range(6))


def test_large_arrays_are_cut_without_a_copy_into_the_same_batches(monkeypatch):
    x = np.arange(42, dtype="float32").reshape(7, 3, 2)
    arrays = {"signal": x, "operator": np.arange(7)}, 2 * x, np.arange(7, dtype="float32")
    order = BatchOrder(seed=3, epoch=1)
    copied = list(array_batches(arrays, 4).dataset(order))
    monkeypatch.setattr(batch_source, "LARGEST_COPY_BYTES", 0)
    cut = array_batches(arrays, 4).dataset(order)
    assert cut.element_spec == array_batches(arrays, 4).dataset(order).element_spec
    assert [b.shape[0] for b in array_batches((x, None, None), 4)] == [4, 3]
    for one, other in zip(copied, cut, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("skip", [0, 1])
def test_machines_share_every_batch(skip):
    source, order = numbers(9), BatchOrder(2, 3, skip)
    parts = [batches_of(source.shard(i, 2).dataset(order)) for i in (0, 1)]
    for batch, *rest in zip(batches_of(source.dataset(order)), *parts, strict=True):
        np.testing.assert_array_equal(np.concatenate([part[0] for part in rest]), batch[0])


def test_a_machine_of_several_devices_gives_each_its_part_in_turn():
    data = numbers(9, shuffle=False).shard(1, 2, devices=2)
    assert [b[0].ravel().tolist() for b in batches_of(data)] == [[2], [3], [6], [7], [], []]


def test_a_dataset_of_a_source_is_known_after_any_transformation():
    data = numbers().dataset()
    for changed in (data, data.map(lambda x: x + 1), data.unbatch().batch(2).prefetch(1), data.shuffle(3).repeat(2),
                    tf.data.Dataset.zip((data, data)), data.filter(lambda x: True).take(2)):
        assert is_from_source(changed)
    assert not is_from_source(tf.data.Dataset.range(3).map(lambda x: x))
