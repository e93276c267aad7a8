"""Windows of the active set: their Gram matrix, their selection and their optimum against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from keras_crsae.problem import Exponential, Laplace, code_priors
from keras_crsae.solvers.window_problems import movement, solve_windows, strongest_apart, window_correlation
from tests.twin import dictionary_matrix


def test_picked_positions_are_the_strongest_and_never_near_each_other(rng):
    for spacing in (1, 4, 9):
        score = rng.random((3, 50)) ** 4
        picked = strongest_apart(tf.constant(score), 0.2, spacing).numpy()
        assert len(picked) > 0 and all(score[b, i] > 0.2 for b, i in picked)
        strongest = [b for b in range(3) if score[b].max() > 0.2]
        assert all((b, score[b].argmax()) in {tuple(p) for p in picked} for b in strongest)
        for b in range(3):
            positions = np.sort(picked[picked[:, 0] == b, 1])
            assert (np.diff(positions) >= spacing).all()


def test_of_two_equal_neighbours_one_is_picked():
    score = tf.constant([[0.0, 0.0, 1.0, 1.0, 0.0, 0.0]])
    assert len(strongest_apart(score, 0.5, 3)) == 1


def test_window_correlation_is_the_gram_matrix_of_the_dictionary(rng):
    kernel = rng.standard_normal((5, 2, 3))
    matrix, positions = dictionary_matrix(kernel, (24,), (1,))
    gram = (matrix.T @ matrix).reshape(positions[0], 3, positions[0], 3)
    for around in (4, 6):  # as far as a window reaches, and further
        wide = window_correlation(tf.constant(kernel), 3, around)
        np.testing.assert_allclose(wide, gram[8:11, :, 8 - around:11 + around], atol=1e-12)


def windows_to_solve(rng, count=6, n=12):
    """Gram matrix with ones on the diagonal and neighbours alike, pulls, limits with closed positions."""
    root = np.cumsum(rng.standard_normal((n, 30)), axis=0)
    root /= np.linalg.norm(root, axis=1, keepdims=True)
    limit = np.full((count, n), 0.5)
    limit[0, :4] = limit[1, 7:] = np.inf
    return root @ root.T, 5 * rng.standard_normal((count, 30)) @ root.T, limit


def window_objective(code, gram, pull, limit):
    return np.sum(code * (0.5 * code @ gram - pull) + np.where(code == 0, 0, limit) * np.abs(code), axis=1)


@pytest.mark.parametrize("shrinkage", ["soft", "nonnegative_soft"])
def test_windows_are_solved_to_their_optimum(rng, shrinkage):
    gram, pull, limit = windows_to_solve(rng)
    prior = code_priors.get(shrinkage)
    got = solve_windows(tf.zeros_like(pull), *map(tf.constant, (gram, pull, limit)), prior, 3000, 1e-9)
    step, best = 1 / np.linalg.eigvalsh(gram)[-1], np.zeros_like(pull)
    for _ in range(100000):
        moved = best + step * (pull - best @ gram)
        best = np.maximum(moved - step * limit, 0)
        if shrinkage == "soft":
            best -= np.maximum(-moved - step * limit, 0)
    assert 0 < np.count_nonzero(best) < best.size and not best[0, :4].any()
    np.testing.assert_allclose(got, best, atol=1e-6)


@pytest.mark.parametrize("iterations", [1, 10, 40])
def test_a_round_of_few_iterations_does_not_raise_the_objective(rng, iterations):
    gram, pull, limit = windows_to_solve(rng, count=40)
    start = np.where(np.isinf(limit), 0.0, 9 * rng.random(pull.shape))
    got = solve_windows(*map(tf.constant, (start, gram, pull, limit)), Exponential(), iterations, 0.0)
    before, after = (window_objective(np.asarray(x), gram, pull, limit) for x in (start, got))
    assert (after < before).all()


def test_a_rise_is_replaced_by_a_gradient_step(rng):
    gram, pull, limit = windows_to_solve(rng)
    best = solve_windows(tf.zeros_like(pull), *map(tf.constant, (gram, pull, limit)), Laplace(), 3000, 1e-9)
    start = np.asarray(best) + 1e-3 * np.isfinite(limit)  # so near that a pass over the whole space overshoots
    rough = solve_windows(*map(tf.constant, (start, gram, pull, limit)), Laplace(), 1, 0.0)
    before, after = (window_objective(np.asarray(x), gram, pull, limit) for x in (start, rough))
    assert (after <= before * (1 + 1e-6 * np.sign(before))).all()


def test_an_optimal_window_does_not_move(rng):
    gram, pull, limit = windows_to_solve(rng)
    code = solve_windows(tf.zeros_like(pull), *map(tf.constant, (gram, pull, limit)), Laplace(), 3000, 1e-10)
    assert np.abs(movement(code, tf.constant(pull) - code @ gram, tf.constant(limit), Laplace())).max() < 1e-6
    moved = np.abs(movement(code + 0.1, tf.constant(pull) - (code + 0.1) @ gram, tf.constant(limit), Laplace()))
    assert moved.max() > 0.05
