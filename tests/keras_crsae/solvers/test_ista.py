"""ISTA: plain proximal gradient steps, slower than FISTA and to the same end."""

import numpy as np
import pytest
from keras import ops

from keras_crsae.solvers import FISTA, ISTA


@pytest.fixture
def descend(rng):
    """Non-negative lasso of six numbers by four columns."""
    matrix, target = rng.standard_normal((6, 4)), rng.standard_normal((1, 1, 6))
    step = 1 / np.linalg.norm(matrix, 2) ** 2
    return lambda w: ops.relu(w - step * ops.matmul(ops.matmul(w, matrix.T) - target, matrix) - 0.1 * step)


def test_a_step_is_one_descent_without_momentum(descend):
    start = ops.ones((1, 1, 4), dtype="float64")
    (code,) = ISTA().step(ISTA().init(start), descend, factor=0.7)
    np.testing.assert_array_equal(code, descend(start))
    assert ISTA().momentum(4) == [0.0] * 4


def test_fista_gets_to_the_same_code_in_fewer_iterations(descend):
    def run(solver, iterations):
        state = solver.init(ops.zeros((1, 1, 4), dtype="float64"))
        for factor in solver.momentum(iterations):
            state = solver.step(state, descend, factor)
        return np.asarray(state[0])

    best = run(ISTA(), 20000)
    np.testing.assert_allclose(run(FISTA(), 5000), best, atol=1e-8)
    assert np.abs(run(FISTA(), 40) - best).max() < np.abs(run(ISTA(), 40) - best).max()
