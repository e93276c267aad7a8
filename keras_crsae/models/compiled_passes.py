"""A compiled graph for several threads: each call has a copy to itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

from keras_crsae.backend import tf

_TRACING = threading.Lock()


def concurrent_graph(graph: Callable[..., tf.Tensor], signature: Sequence[tf.TensorSpec]) -> Callable[..., np.ndarray]:
    """``graph`` as a function to NumPy arrays, of which no two calls run the same operators at a time.

    oneDNN's convolutions with a sum keep memory in the operator (see ``solvers.proximal_step``). A function that does
    nothing but call ``graph`` is given operators of its own when TensorFlow writes the one into the other, and takes
    milliseconds to trace. As many copies are kept as calls once ran at a time; a call has its copy until its answer
    is there, also where eager execution is asynchronous.

    Args:
        graph: concrete function of tensors that returns one.
        signature: ``tf.TensorSpec`` of each tensor.

    Example:
        >>> import tensorflow as tf
        >>> from keras_crsae.models.compiled_passes import concurrent_graph
        >>> signature = [tf.TensorSpec((None,), "float32")]
        >>> twice = tf.function(lambda x: 2 * x, input_signature=signature).get_concrete_function()
        >>> concurrent_graph(twice, signature)(tf.ones(2)).tolist()
        [2.0, 2.0]
    """
    idle: list[Callable[..., tf.Tensor]] = []

    def run(*values: tf.Tensor) -> np.ndarray:
        try:
            copy = idle.pop()
        except IndexError:
            with _TRACING:
                copy = tf.function(lambda *v: graph(*v), input_signature=signature).get_concrete_function()
        try:
            return copy(*values).numpy()
        finally:
            idle.append(copy)

    return run
