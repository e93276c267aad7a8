"""The order of batches as a function of seed, epoch and step: training that stopped goes on as if it had not."""

import functools

import keras
import numpy as np
import tensorflow as tf

from keras_crsae.training.distribution import number

#: Seeds are kept in a float32 weight: whole numbers below this are exact.
SEEDS = 2**24


class Place:
    """Where training stands: ``epoch``, ``seed`` of the order, and ``skip``, batches of this epoch done before.

    ``failure``: what a stream's reader raised, or None; see ``reading``.
    """

    def __init__(self):
        self.epoch = self.seed = self.skip = 0
        self.failure = None

    def reading(self, read):
        """``read``, whose exception is kept: TensorFlow passes on its text alone, in the middle of its own."""
        @functools.wraps(read)
        def kept(indices):
            try:
                return read(indices)
            except Exception as error:
                self.failure = error
                raise
        return kept


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

    Returns:
        ``tf.data.Dataset`` with the attributes ``place`` and ``share``: a function of a number of replicas and a slice
        of them to the dataset of their parts of every batch, for which nothing else is loaded.
    """
    batches = -(-count // batch_size)

    def share(replicas=1, own=slice(None)):
        each = len(range(replicas)[own])

        def order():
            indices = epoch_order(count, place.seed, place.epoch) if shuffle else np.arange(count)
            return parts(indices, batch_size, replicas, own)

        def epoch(_):
            rows = tf.numpy_function(order, [], tf.int64)
            return tf.data.Dataset.from_tensor_slices(tf.ensure_shape(rows, (batches * each, None)))

        data = tf.data.Dataset.range(1).flat_map(epoch)
        data = data.map(lambda i: load(tf.boolean_mask(i, i >= 0)), **options)
        if each == 1:  # Keras takes it for the number of steps
            data = data.apply(tf.data.experimental.assert_cardinality(batches))
        sharded = tf.data.Options()  # as evaluation does, which reads all on every machine
        sharded.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
        return data.prefetch(prefetch).with_options(sharded)

    data = share()
    data.place, data.share = place, share
    return data


def parts(indices, size, replicas, own):
    """Batches of indices divided over replicas, a row for each one of ``own``; -1 stands where there is none.

    Example:
        >>> parts(np.arange(5), 4, 2, slice(1, 2)).tolist()
        [[2, 3], [-1, -1]]
    """
    batches, each = -(-len(indices) // size), -(-size // replicas)
    full = np.full(batches * size, -1, np.int64)
    full[:len(indices)] = indices
    padded = np.pad(full.reshape(batches, size), ((0, 0), (0, each * replicas - size)), constant_values=-1)
    return padded.reshape(batches, replicas, each)[:, own].reshape(-1, each)


def own_share(strategy, data):
    """What this machine reads of a dataset of ``following``: the parts of every batch that its devices work on."""
    def read(context):
        each = context.num_replicas_in_sync // context.num_input_pipelines
        first = context.input_pipeline_id * each
        return data.share(context.num_replicas_in_sync, slice(first, first + each))

    return strategy.distribute_datasets_from_function(read)


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
