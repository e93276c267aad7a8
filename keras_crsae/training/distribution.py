"""Sums over the replicas of ``tf.distribute``: a batch's statistics must not depend on how many devices share it.

Inside ``strategy.run`` each replica holds its part of the global batch. Statistics are summed over replicas before
anything is divided, so parts of different sizes, masks and weights count as in one batch. With one replica, or outside
of ``strategy.run``, every function here leaves its argument as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras

from keras_crsae.backend import tf
from keras_crsae.data.batch_order import BatchOrder
from keras_crsae.data.streams.batch_source import BatchSource
from keras_crsae.typing import Tensor


def _context() -> tf.distribute.ReplicaContext | None:
    """The replica's context where several replicas run in step, else None."""
    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None


def several() -> bool:
    """Whether this runs on one of several replicas."""
    return _context() is not None


def replicas() -> int:
    """Number of replicas that share a batch."""
    context = _context()
    return 1 if context is None else context.num_replicas_in_sync


def total(value: Tensor) -> Tensor:
    """Sum over replicas of a tensor, or of each tensor of a list.

    Example:
        >>> import tensorflow as tf
        >>> from keras_crsae.training.distribution import total
        >>> float(total(tf.constant(3.0)))
        3.0
    """
    context = _context()
    return value if context is None else context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def highest(value: Tensor) -> Tensor:
    """Largest value over replicas, elementwise; by a sum, the one reduction that every strategy has."""
    context = _context()
    if context is None:
        return value
    return tf.reduce_max(total(_alone(context, value)), axis=0)


def first(value: Tensor) -> Tensor:
    """The value of the first replica, on all of them."""
    context = _context()
    return value if context is None else total(_alone(context, value))[0]


def _alone(context: tf.distribute.ReplicaContext, value: Tensor) -> Tensor:
    """(replicas, *value.shape): zeros but for this replica's row."""
    row = tf.equal(tf.range(context.num_replicas_in_sync), context.replica_id_in_sync_group)
    row = tf.reshape(row, (-1,) + (1,) * len(value.shape))
    return tf.where(row, value[None], tf.zeros_like(value)[None])


def apply_gradients(optimizer: keras.optimizers.Optimizer, gradients: Sequence[Tensor],
                    variables: Sequence[keras.Variable]) -> None:
    """One step of a Keras optimiser on gradients that are the same on every replica.

    Keras sums the gradients of the replicas, after each has been clipped. So the first replica brings the whole and the
    others zeros: the sum is exact, and ``clipnorm`` sees what it sees on one device.
    """
    context = _context()
    if context is not None:
        whole = tf.equal(context.replica_id_in_sync_group, 0)
        gradients = [tf.where(whole, g, tf.zeros_like(g)) for g in gradients]
    optimizer.apply(gradients, variables)


def never_empty(signal: Tensor, labels: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """A replica's part of a batch; where it has none, a signal of zeros with label 0 and weight 0.

    Args:
        signal: (batch, *space, channels).
        labels: (batch,).
        weight: None, or (batch,).

    Returns:
        The same on one replica; of several with a weight of each signal.
    """
    if not several():
        return signal, labels, weight
    missing = tf.maximum(1 - tf.shape(signal)[0], 0)
    weight = tf.ones(tf.shape(signal)[:1]) if weight is None else tf.cast(tf.reshape(weight, (-1,)), tf.float32)

    def pad(a: Tensor) -> Tensor:
        return tf.pad(a, [(0, missing)] + [(0, 0)] * (len(a.shape) - 1))

    return pad(signal), pad(tf.reshape(labels, (-1,))), pad(weight)


def number(variable: keras.Variable) -> float:
    """A scalar variable as a Python float, mirrored or not."""
    return float(keras.ops.convert_to_numpy(variable))


def several_machines(strategy: tf.distribute.Strategy) -> bool:
    """Whether a strategy spreads over more than one process."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) and \
        len(strategy.cluster_resolver.cluster_spec().as_dict().get("worker", ())) > 1


def as_log(value: Tensor) -> Tensor:
    """A scalar as Keras can reduce it: with several machines Keras averages logs over their first axis."""
    return tf.reshape(value, (1,)) if several_machines(tf.distribute.get_strategy()) else value


def check_scope(strategy: tf.distribute.Strategy | None, variables: Sequence[keras.Variable], what: str) -> None:
    """ValueError where ``variables`` were made outside of the strategy's scope, which Keras reports from far inside."""
    if strategy is None or strategy.num_replicas_in_sync == 1:
        return
    for variable in variables:
        if not strategy.extended.variable_created_in_scope(variable.value):
            raise ValueError(f"{what} was made outside of the scope of {type(strategy).__name__}, so it lives on one "
                             "device alone. Make the model and its optimisers under `with strategy.scope():`.")


def synchronise(strategy: tf.distribute.Strategy, variables: Sequence[keras.Variable]) -> None:
    """Give every machine the values of the first one: each has adapted the model to data of its own."""
    if not several_machines(strategy):
        return

    @tf.function
    def everywhere() -> None:
        for variable in variables:
            variable.value.assign(first(tf.convert_to_tensor(variable.value)))

    strategy.run(everywhere)


def source_per_machine(strategy: tf.distribute.Strategy, source: BatchSource, order: Callable[[], BatchOrder]
                       ) -> tf.distribute.DistributedDataset:
    """The parts of every batch that this machine's devices work on; nothing else of the source is read here."""
    def read(context: tf.distribute.InputContext) -> tf.data.Dataset:
        devices = context.num_replicas_in_sync // context.num_input_pipelines
        return source.shard(context.input_pipeline_id, context.num_input_pipelines, devices).dataset(order)

    return strategy.distribute_datasets_from_function(read)
