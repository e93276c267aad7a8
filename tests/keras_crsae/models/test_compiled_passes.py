"""Copies of a graph for threads."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import tensorflow as tf

from keras_crsae.models.compiled_passes import concurrent_graph

SIGNATURE = [tf.TensorSpec((None,), "float32")]


def graph_of(function):
    return tf.function(function, input_signature=SIGNATURE).get_concrete_function()


def test_calls_at_a_time_have_a_copy_each(monkeypatch):
    """Both wait for each other inside the graph: one that waited for the other's end would break the barrier."""
    both = threading.Barrier(2, timeout=60)

    def meet(x):
        both.wait()
        return x

    def twice(x):
        return 2 * tf.ensure_shape(tf.numpy_function(meet, [x], tf.float32, stateful=True), (None,))

    run = concurrent_graph(graph_of(twice), SIGNATURE)
    traced, function = [], tf.function
    monkeypatch.setattr(tf, "function", lambda *a, **k: traced.append(a) or function(*a, **k))
    with ThreadPoolExecutor(2) as threads:
        for _ in range(3):
            made = threads.map(run, [tf.ones(2), 3 * tf.ones(4)])
            assert [y.tolist() for y in made] == [[2.0] * 2, [6.0] * 4]
    assert len(traced) == 2


def test_a_copy_follows_the_variables_of_the_graph():
    scale = tf.Variable(2.0)
    run = concurrent_graph(graph_of(lambda x: scale * x), SIGNATURE)
    assert run(tf.ones(1)) == 2.0
    scale.assign(5.0)
    assert run(tf.ones(1)) == 5.0


def test_a_copy_serves_again_after_an_error():
    def checked(x):
        with tf.control_dependencies([tf.debugging.assert_positive(x)]):
            return tf.sqrt(x)

    run = concurrent_graph(graph_of(checked), SIGNATURE)
    with pytest.raises(tf.errors.InvalidArgumentError):
        run(-tf.ones(1))
    assert run(4 * tf.ones(1)) == 2.0
