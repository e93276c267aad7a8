"""The certified minimum that solvers are judged by."""

import numpy as np
import pytest
from scipy.optimize import nnls

from benchmarks.certificate import Problem, dictionary_matrix
from benchmarks.reference_implementations import numpy_fista
from keras_crsae.data.simulate import simulate_spikes, spike_templates
from tests.twin import dictionary_matrix as twin_matrix


@pytest.fixture(scope="module")
def problem():
    made = simulate_spikes(spike_templates(15, 2), windows=2, samples=200, events_per_window=3, seed=3)
    return Problem(made.signal[..., 0], made.filters, 3.0)


def test_the_sparse_matrix_is_the_dictionary(rng):
    filters = rng.standard_normal((5, 1, 3))
    expected, (positions,) = twin_matrix(filters, (20,), (1,))
    expected = expected.reshape(20, positions, 3).transpose(0, 2, 1).reshape(20, -1)
    assert np.allclose(dictionary_matrix(filters, 20).toarray(), expected)


def test_the_minimum_equals_that_of_an_independent_solver(problem):
    matrix = problem.matrix.toarray()
    for y, best, gap in zip(problem.windows, problem.best, problem.gap, strict=True):
        # min 1/2 ||y - D z||^2 + l 1'z  =  min 1/2 z'Gz - (D'y - l)'z: NNLS of a Cholesky factor and its right side.
        gram = matrix.T @ matrix + 1e-10 * np.eye(matrix.shape[1])
        factor = np.linalg.cholesky(gram).T
        z, _ = nnls(factor, np.linalg.solve(factor.T, matrix.T @ y - problem.lambda_reg), maxiter=10000)
        value = 0.5 * np.sum((y - matrix @ z) ** 2) + problem.lambda_reg * z.sum()
        assert best - gap - 1e-6 <= value and best <= value + 1e-4


def test_the_zero_code_has_drop_one_and_a_converged_one_none(problem):
    shape = (2, problem.positions, 2)
    assert problem.drop(np.zeros(shape)) == pytest.approx(1.0)
    code = numpy_fista(problem.filters, problem.lambda_reg, 2000)(problem.windows.astype("float32"))
    assert -1e-6 < problem.drop(code) < 1e-4 and np.any(code)
    assert problem.certified < 1e-6


def test_a_negative_or_misshapen_code_is_refused(problem):
    with pytest.raises(ValueError, match="non-negative"):
        problem.drop(-np.ones((2, problem.positions, 2)))
    with pytest.raises(ValueError, match="Expected a code"):
        problem.drop(np.zeros((2, 3, 2)))


def test_windows_without_events_have_no_drop_to_measure(problem):
    silent = Problem(0.01 * problem.windows, problem.filters, problem.lambda_reg)
    with pytest.raises(ValueError, match="no drop to measure"):
        silent.drop(np.zeros((2, silent.positions, 2)))
