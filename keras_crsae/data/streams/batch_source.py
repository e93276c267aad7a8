"""A source of training batches: what ``fit`` makes its ``tf.data.Dataset`` from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from keras_crsae.backend import tf
from keras_crsae.data.batch_order import BatchOrder, split_indices

#: Name, in ``tf.data.Options``, of datasets that a source made; it stays when they are mapped, batched or shuffled.
DATASET_NAME = "keras_crsae.BatchSource"

#: Bytes of arrays up to which TensorFlow gets a copy of them; of larger ones NumPy cuts each batch.
LARGEST_COPY_BYTES = 2**26

Batch = Any  # a tensor or a tuple of tensors


@dataclass(frozen=True)
class BatchSource:
    """Batches of items in an order that depends on seed, epoch and step alone.

    ``fit`` takes a source like a dataset: every epoch then has an order of its own, training that was
    stopped goes on with the next batch, and each of several machines reads its own part of every batch. For another
    content of the batches use ``source.map(function)``. ``tf.data.Dataset.map`` would keep the content of one order
    for all epochs; ``fit`` refuses such datasets.

    Args:
        count: number of items, each of which is seen once an epoch.
        batch_size: items of a batch; the last one of an epoch may be smaller.
        load: function from int64 tensors, the indices (n,) of items and seed () and epoch () of the order, to a batch
            of tensors. ``from_reader`` makes one from a NumPy function.
        shuffle: False: the items' own order in every epoch.
        readers: batches loaded at a time; None: one.
        prefetch: batches that are prepared ahead.

    Example:
        >>> from keras_crsae.data.streams.batch_source import BatchSource
        >>> source = BatchSource(count=5, batch_size=2, load=lambda indices, seed, epoch: indices, shuffle=False)
        >>> [batch.numpy().tolist() for batch in source.map(lambda batch: 10 * batch)]
        [[0, 10], [20, 30], [40]]
    """

    count: int
    batch_size: int
    load: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Batch] = field(repr=False)
    shuffle: bool = True
    readers: int | None = None
    prefetch: int = 1
    transforms: tuple[Callable[..., Batch], ...] = ()
    machine: int = 0
    machines: int = 1
    devices: int = 1
    #: What the reader raised, the latest last: TensorFlow passes on only its text.
    errors: list[Exception] = field(default_factory=list, compare=False, repr=False)

    @classmethod
    def from_reader(cls, count: int, batch_size: int, read: Callable[[np.ndarray, BatchOrder], np.ndarray],
                    spec: tf.TensorSpec, decode: Callable[[tf.Tensor], Batch] | None = None,
                    **options: Any) -> BatchSource:
        """A source whose items are read by a NumPy function.

        Args:
            count, batch_size: see the class.
            read: function from indices (n,) and the ``BatchOrder`` (seed and epoch, for random crops and the like) to
                an array.
            spec: shape and dtype of what it returns, the first axis None.
            decode: None, or what turns that tensor into a batch.
            **options: ``shuffle``, ``readers``, ``prefetch``.
        """
        errors: list[Exception] = []

        def read_or_note(indices: np.ndarray, seed: np.ndarray, epoch: np.ndarray) -> np.ndarray:
            try:
                return read(indices, BatchOrder(int(seed), int(epoch)))
            except Exception as error:
                errors.append(error)
                raise

        def load(indices: tf.Tensor, seed: tf.Tensor, epoch: tf.Tensor) -> Batch:
            content = tf.ensure_shape(tf.numpy_function(read_or_note, [indices, seed, epoch], spec.dtype), spec.shape)
            return content if decode is None else decode(content)

        return cls(count, batch_size, load, errors=errors, **options)

    def map(self, function: Callable[..., Batch]) -> BatchSource:
        """The same source with ``function`` applied to each batch, as by ``tf.data.Dataset.map``.

        Args:
            function: from a batch (of tuples: from their parts) to a batch.
        """
        return replace(self, transforms=(*self.transforms, function))

    def shard(self, index: int, count: int, devices: int = 1) -> BatchSource:
        """One machine's part of every batch.

        Args:
            index: the machine, from 0.
            count: number of machines.
            devices: devices of each machine; their parts follow one another in the dataset.
        """
        return replace(self, machine=index, machines=count, devices=devices)

    def dataset(self, order: BatchOrder | Callable[[], BatchOrder] | None = None, counted: bool = True
                ) -> tf.data.Dataset:
        """The batches of one order.

        Args:
            order: ``BatchOrder``, or a function that gives it each time the dataset is iterated; None: seed 0, epoch 0.
            counted: whether the dataset states its number of batches.

        Returns:
            ``tf.data.Dataset``, to be iterated by hand; ``fit`` takes the source itself.
        """
        order = BatchOrder() if order is None else order
        current = order if callable(order) else lambda: order

        def rows() -> tuple[np.ndarray, ...]:
            now = current()
            parts = self._parts(now)
            return parts, np.full(len(parts), now.seed), np.full(len(parts), now.epoch)

        def one_epoch(_: tf.Tensor) -> tf.data.Dataset:
            parts, seed, epoch = tf.numpy_function(rows, [], [tf.int64] * 3)
            return tf.data.Dataset.from_tensor_slices((
                tf.ensure_shape(parts, (None, -(-self.batch_size // (self.machines * self.devices)))),
                tf.ensure_shape(seed, (None,)), tf.ensure_shape(epoch, (None,))))

        parallel = {} if self.readers is None else {"num_parallel_calls": self.readers, "deterministic": True}
        data = tf.data.Dataset.range(1).flat_map(one_epoch)
        data = data.map(lambda part, seed, epoch: self.load(tf.boolean_mask(part, part >= 0), seed, epoch), **parallel)
        for function in self.transforms:
            data = data.map(function, **parallel)
        if counted and self.devices == 1:  # Keras takes it for the number of steps
            done = 0 if callable(order) else order.skip
            data = data.apply(tf.data.experimental.assert_cardinality(len(self) - done))
        options = tf.data.Options()
        options.dataset_name = DATASET_NAME
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
        return data.prefetch(self.prefetch).with_options(options)

    def _parts(self, order: BatchOrder) -> np.ndarray:
        """Indices of the batches that are left of an epoch, a row for each batch and device; see ``split_indices``."""
        indices = order.indices(self.count, self.shuffle)[order.skip * self.batch_size:]
        first = self.machine * self.devices
        return split_indices(indices, self.batch_size, self.machines * self.devices,
                             slice(first, first + self.devices))

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.dataset())


def is_from_source(data: tf.data.Dataset) -> bool:
    """Whether a dataset, also after ``map``, ``batch`` and the like, came from ``BatchSource.dataset``."""
    return data.options().dataset_name == DATASET_NAME


def array_batches(arrays: tuple[Any, ...], batch_size: int, shuffle: bool = True) -> BatchSource:
    """Batches of arrays that lie in memory.

    Args:
        arrays: (signal, target or None, weight or None), each (batch, ...); the signal may be a dict of such arrays.
        batch_size: items of a batch.
        shuffle: False: always the arrays' own order.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.data.streams.batch_source import array_batches
        >>> source = array_batches((np.arange(3.0), None, None), batch_size=2, shuffle=False)
        >>> [batch.numpy().tolist() for batch in source]
        [[0.0, 1.0], [2.0]]
    """
    last = max(i for i, a in enumerate(arrays) if a is not None)
    given = tf.nest.map_structure(np.asarray, arrays[:last + 1])
    flat: list[np.ndarray] = tf.nest.flatten(given)
    cut = _cut_by_numpy if sum(array.nbytes for array in flat) > LARGEST_COPY_BYTES else _cut_by_tensorflow
    take = cut(flat)

    def load(indices: tf.Tensor, seed: tf.Tensor, epoch: tf.Tensor) -> Batch:
        parts: Any = tf.nest.pack_sequence_as(given, take(indices))
        return parts if last > 0 else parts[0]

    return BatchSource(len(flat[0]), batch_size, load, shuffle)


def _cut_by_tensorflow(arrays: list[np.ndarray]) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """Items of each array as a function of their indices, from a copy of the arrays."""
    with tf.device("CPU:0"):  # all of the data in a GPU's memory would be too much
        tensors = [tf.constant(array) for array in arrays]
    return lambda indices: [tf.gather(tensor, indices) for tensor in tensors]


def _cut_by_numpy(arrays: list[np.ndarray]) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """The same without a copy of the arrays."""
    def take(indices: tf.Tensor) -> list[tf.Tensor]:
        parts = tf.numpy_function(lambda i: [array[i] for array in arrays], [indices], [a.dtype for a in arrays])
        return [tf.ensure_shape(part, (None, *array.shape[1:])) for part, array in zip(parts, arrays, strict=True)]

    return take
