"""One proximal gradient step: the fused form against an explicit matrix, on every path that it takes."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_crsae.problem import Gaussian, Mask, Problem, code_priors
from keras_crsae.solvers.proximal_step import descent, last_filters
from tests.twin import dictionary_matrix


def problem_of(shrinkage, observed=None):
    return Problem(Gaussian(), code_priors.get(shrinkage), *(() if observed is None else (Mask(observed),)))


CASES = {  # space, kernel (*size, channels, filters), strides
    "signal": ((20,), (5, 2, 3), (1,)),
    "signal, strided": ((21,), (5, 1, 3), (2,)),
    "image, fused": ((9, 8), (3, 4, 6, 5), (1, 1)),
    "image, one channel": ((9, 8), (3, 3, 1, 4), (1, 1)),
    "image, strided": ((9, 11), (3, 3, 2, 4), (2, 2)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shrinkage", ["soft", "nonnegative_soft"])
@pytest.mark.parametrize("per_signal", [False, True], ids=["one threshold a filter", "one a signal and filter"])
@pytest.mark.parametrize("marked", [False, True], ids=["all observed", "masked"])
def test_step_is_that_of_the_matrix(rng, case, shrinkage, per_signal, marked):
    space, shape, strides = CASES[case]
    rank, filters = len(strides), shape[-1]
    kernel = rng.standard_normal(shape)
    matrix, positions = dictionary_matrix(kernel, space, strides)
    signal, code = rng.standard_normal((2, *space, shape[-2])), rng.standard_normal((2, *positions, filters))
    threshold = rng.uniform(0.1, 0.5, (2, *(1,) * rank, filters) if per_signal else filters)
    observed = (rng.uniform(size=signal.shape) < 0.7).astype(float) if marked else None
    exists = (rng.uniform(size=(1, *positions, 1)) < 0.7).astype(float) if marked else None
    step = 0.1

    problem = problem_of(shrinkage, None if observed is None else tf.constant(observed))
    made = [descent(problem, signal, tf.constant(kernel), strides, step, tf.constant(threshold),
                    exists=None if exists is None else tf.constant(exists), in_place=in_place)(tf.constant(code))
            for in_place in (False, True)]

    mask = np.ones_like(signal) if observed is None else observed
    residual = mask.reshape(2, -1) * (signal.reshape(2, -1) - code.reshape(2, -1) @ matrix.T)
    moved = code + step * (residual @ matrix).reshape(code.shape)
    expected = np.sign(moved) * np.maximum(np.abs(moved) - threshold, 0)
    if shrinkage == "nonnegative_soft":
        expected = np.maximum(moved - threshold, 0)
    for one in made:
        np.testing.assert_allclose(one, expected if exists is None else expected * exists, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shrinkage", ["soft", "nonnegative_soft"])
def test_the_first_step_is_that_from_zeros(rng, case, shrinkage):
    space, shape, strides = CASES[case]
    kernel = rng.standard_normal(shape)
    _, positions = dictionary_matrix(kernel, space, strides)
    signal, zero = rng.standard_normal((2, *space, shape[-2])), tf.zeros((2, *positions, shape[-1]), "float64")
    for observed in (None, tf.constant((rng.uniform(size=signal.shape) < 0.7).astype(float))):
        step = descent(problem_of(shrinkage, observed), signal, tf.constant(kernel), strides, 0.1,
                       tf.fill([shape[-1]], tf.constant(0.2, "float64")))
        assert np.any(step(None))
        np.testing.assert_allclose(step(None), step(zero), atol=1e-12)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_tail_written_over_equals_one_multiplied_by_zero(rng, count):
    """Also where a gradient needs what was there, and compiled by XLA."""
    space, shape, strides = CASES["image, fused"]
    kernel, signal = tf.constant(rng.standard_normal(shape)), rng.standard_normal((2, *space, shape[-2]))
    _, positions = dictionary_matrix(kernel.numpy(), space, strides)
    code = tf.constant(rng.standard_normal((2, *positions, shape[-1])))
    weight = tf.constant(rng.standard_normal(code.shape))
    exists = np.ones((1, *positions, shape[-1]))
    exists[:, :, -1, shape[-1] - count:] = 0

    def run(code, kernel, **closed):
        with tf.GradientTape() as tape:
            tape.watch([code, kernel])
            made = descent(problem_of("soft"), signal, kernel, strides, 0.1,
                           tf.fill([shape[-1]], tf.constant(0.2, "float64")), **closed)(code)
            loss = tf.reduce_sum(weight * made)
        return made, *tape.gradient(loss, [code, kernel])

    expected = run(code, kernel, exists=tf.constant(exists))
    assert np.any(expected[0])
    for compiled in (False, True)[:1 + (count > 0)]:  # XLA does not differentiate an empty write
        made = tf.function(lambda code, kernel: run(
            code, kernel, tail=last_filters(code.shape, count, code.dtype)), jit_compile=compiled)(code, kernel)
        for one, other in zip(made, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-12)


def convolutions(in_place):
    """The convolutions of three steps in a loop as TensorFlow runs them: for each, what was fused with it."""
    rng = np.random.default_rng(0)
    kernel, signal = (rng.standard_normal(s).astype("float32") for s in ((3, 1, 16, 48), (1, 100, 1, 16)))
    code = np.zeros((1, 98, 1, 48), np.float32)

    @tf.function
    def loop(signal, kernel, code):
        step = descent(problem_of("nonnegative_soft"), signal, kernel, (1, 1), 0.1, tf.fill([48], 0.2),
                       in_place=in_place)
        return tf.while_loop(lambda i, code: i < 3, lambda i, code: (i + 1, step(code)), (0, code))[1]

    with tf.Graph().as_default():
        given = {tf.compat.v1.placeholder(tf.float32, (*(None,) * 3, a.shape[-1])): a for a in (signal, code)}
        given |= {tf.compat.v1.placeholder(tf.float32, kernel.shape): kernel}
        image, start, filters = given
        made, seen = loop(image, filters, start), tf.compat.v1.RunMetadata()
        with tf.compat.v1.Session() as session:
            session.run(made, given, run_metadata=seen,
                        options=tf.compat.v1.RunOptions(output_partition_graphs=True))
    return sorted(list(node.attr["fused_ops"].list.s) for graph in seen.partition_graphs for node in graph.node
                  if "Conv2D" in node.op)


def test_tensorflow_fuses_the_step_where_one_call_runs_at_a_time():
    """The order of operations is chosen for this, and against it; another release may match another order.

    It is oneDNN that fuses, which TensorFlow takes by itself only on processors with AVX-512 VNNI: asked for in a
    process of its own, the outcome is the same on others. Its sum is not safe for two calls at a time.
    """
    ask = ("from tests.keras_crsae.solvers import test_proximal_step as t\n"
           "print([t.convolutions(in_place) for in_place in (True, False)])")
    done = subprocess.run([sys.executable, "-c", ask], env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": "1"}, check=True,
                          cwd=Path(__file__).parents[3], capture_output=True, text=True)
    fused, safe = ast.literal_eval(done.stdout.strip().splitlines()[-1])
    assert fused == [[], [b"BiasAdd", b"Add", b"Relu"]] and safe == [[], []]
