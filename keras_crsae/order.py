"""The order of batches as a function of seed, epoch and step: training that stopped goes on as if it had not."""

import keras
import numpy as np
import tensorflow as tf

from keras_crsae.replicas import number

#: Seeds are kept in a float32 weight: whole numbers below this are exact.
SEEDS = 2**24


class Place:
    """Where training stands: ``epoch``, ``seed`` of the order, and ``skip``, batches of this epoch done before.

    ``packed`` tells what else lies in the channels of a batch (``pack``).
    """

    def __init__(self):
        self.epoch = self.seed = self.skip = 0
        self.packed = None


def pack(x, y, weight):
    """Signal, target and weight as one array, and what ``unpack`` needs: Keras spreads no tuples over machines."""
    parts = [x] if y is None else [x, y]
    if weight is not None:
        full = weight if weight.ndim == x.ndim else weight.reshape(-1, *(1,) * (x.ndim - 1))
        parts.append(np.broadcast_to(full, (*x.shape[:-1], full.shape[-1])))
    kind = None if weight is None else "signal" if weight.ndim == 1 else "mask"
    return np.concatenate(parts, axis=-1), (x.shape[-1], y is not None, kind)


def unpack(data, packed):
    """The tuple that went into ``pack``."""
    channels, has_target, kind = packed
    x, rest = data[..., :channels], data[..., channels:]
    y, rest = (rest[..., :channels], rest[..., channels:]) if has_target else (None, rest)
    if kind == "signal":
        rest = rest[(slice(None), *(0,) * (len(rest.shape) - 1))]
    return x, y, None if kind is None else rest


def epoch_order(count, seed, epoch):
    """Indices 0 ... count - 1 in the order of an epoch.

    Example:
        >>> epoch_order(4, seed=0, epoch=0).tolist() == epoch_order(4, seed=0, epoch=0).tolist()
        True
    """
    return np.random.default_rng([seed, epoch]).permutation(count)


def in_order(arrays, batch_size, place, shuffle=True):
    """Batches of arrays as a ``tf.data.Dataset`` whose order follows ``place`` each time it is iterated.

    Args:
        arrays: (signal, target or None, weight or None), each (batch, ...).
        batch_size: int.
        place: ``Place``; its seed and epoch are read when an epoch begins.
        shuffle: False: always the arrays' own order.
    """
    arrays = tuple(arrays)
    while arrays[-1] is None:
        arrays = arrays[:-1]
    with tf.device("CPU:0"):  # all of the data in a GPU's memory would be too much
        tensors = tuple(tf.constant(a) for a in arrays)

    def load(i):
        return tf.nest.map_structure(lambda t: tf.gather(t, i), tensors if len(tensors) > 1 else tensors[0])

    return following(place, len(arrays[0]), batch_size, load, shuffle)


def following(place, count, batch_size, load, shuffle=True, prefetch=1, **options):
    """Batches of ``count`` things in the order that ``place`` tells, each made by ``load`` from their indices.

    Args:
        place: ``Place``; its seed and epoch are read when an epoch begins.
        load: function from int64 (batch_size,), fewer in the last batch, to a batch of tensors.
        prefetch: batches made ahead.
        **options: of ``tf.data.Dataset.map``.
    """
    def order():
        return epoch_order(count, place.seed, place.epoch) if shuffle else np.arange(count)

    def epoch(_):
        return tf.data.Dataset.from_tensor_slices(tf.ensure_shape(tf.numpy_function(order, [], tf.int64), (count,)))

    data = tf.data.Dataset.range(1).flat_map(epoch).batch(batch_size).map(load, **options)
    data = data.apply(tf.data.experimental.assert_cardinality(-(-count // batch_size))).prefetch(prefetch)
    sharded = tf.data.Options()
    sharded.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return data.with_options(sharded)


class FollowPlace(keras.callbacks.Callback):
    """Keeps the model's ``position`` (epoch, batches done) and its ``Place``; ``fit`` adds it before all others.

    ``other``: None, or the ``Place`` of a dataset whose order follows it, too.
    """

    def __init__(self, place, other=None):
        super().__init__()
        self.place, self.other = place, other

    def on_epoch_begin(self, epoch, logs=None):
        kept_epoch, kept_step = (int(n) for n in keras.ops.convert_to_numpy(self.model.position))
        self.place.epoch, self.place.seed = epoch, int(number(self.model.order_seed))
        if self.other is not None:
            self.other.epoch, self.other.seed = self.place.epoch, self.place.seed
        # Another callback may have restored weights from the middle of this epoch.
        self.place.skip = kept_step if kept_epoch == epoch else 0
        self.model.position.assign([epoch, self.place.skip])

    def on_train_batch_end(self, batch, logs=None):
        self.model.position.assign([self.place.epoch, max(batch + 1, self.place.skip)])

    def on_epoch_end(self, epoch, logs=None):
        self.model.position.assign([epoch + 1, 0])

    def on_train_end(self, logs=None):
        self.place.skip = 0
