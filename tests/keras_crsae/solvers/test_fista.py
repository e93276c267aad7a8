"""FISTA: the momentum table and the scalar recursion are the same method."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_crsae as kc
from keras_crsae.solvers import FISTA


def test_momentum_is_that_of_fista():
    t, expected = 1.0, []
    for _ in range(50):
        t, last = (1 + np.sqrt(1 + 4 * t * t)) / 2, t
        expected.append((last - 1) / t)
    np.testing.assert_allclose(FISTA().momentum(50), expected, rtol=1e-12)


def test_table_and_recursion_give_the_same_iterates(rng):
    matrix, target = rng.standard_normal((6, 4)), rng.standard_normal((1, 1, 6))
    step = 1 / np.linalg.norm(matrix, 2) ** 2

    def descend(w):
        return ops.relu(w - step * ops.matmul(ops.matmul(w, matrix.T) - target, matrix) - 0.1 * step)

    plain = table = FISTA().init(ops.zeros((1, 1, 4), dtype="float64"))
    for factor in FISTA().momentum(20):
        plain, table = FISTA().step(plain, descend), FISTA().step(table, descend, factor)
    np.testing.assert_allclose(plain[0], table[0], atol=1e-12)


@pytest.mark.slow
def test_a_gradient_through_large_codes_in_a_loop_is_summed():
    """A sum of three gradients of such a code TensorFlow made in a variable, whose name clashed in the loop."""
    images = np.random.default_rng(0).standard_normal((2, 128, 128, 1)).astype("float32")
    model = kc.CRsAE(64, 7, rank=2, iterations=20, lambda_init=3.0, gradient="unrolled", seed=0)
    model.compile(keras.optimizers.Adam(1e-4))
    assert np.isfinite(model.train_on_batch(images)).all()
