"""ISTA: plain proximal gradient steps, slower than FISTA and to the same end."""

import numpy as np
import pytest

from keras_crsae.solvers import FISTA, ISTA


@pytest.fixture
def descend(rng):
    """Non-negative lasso of eight numbers by four columns that are much alike, in NumPy."""
    matrix, target = np.cumsum(rng.standard_normal((8, 4)) + 1, axis=0), 9 * rng.random((1, 1, 8))
    step = 1 / np.linalg.norm(matrix, 2) ** 2
    return lambda w: np.maximum(w - step * (w @ matrix.T - target) @ matrix - 0.1 * step, 0)


def test_a_step_is_one_descent_without_momentum(descend):
    start = np.ones((1, 1, 4))
    (code,) = ISTA().step(ISTA().init(start), descend, factor=0.7)
    np.testing.assert_array_equal(code, descend(start))
    assert ISTA().momentum(4) == [0.0] * 4


def test_fista_gets_to_the_same_code_in_fewer_iterations(descend):
    def run(solver, iterations):
        state = solver.init(np.zeros((1, 1, 4)))
        for factor in solver.momentum(iterations):
            state = solver.step(state, descend, factor)
        return state[0]

    best = run(ISTA(), 100000)
    np.testing.assert_allclose(run(FISTA(), 20000), best, atol=1e-8)
    assert np.abs(run(FISTA(), 40) - best).max() < np.abs(run(ISTA(), 40) - best).max()
