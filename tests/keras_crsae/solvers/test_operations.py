"""What a solver of own step sizes is given: the step in units of the step size, and the sums of each signal."""

import numpy as np
import tensorflow as tf

from keras_crsae.problem import Exponential, Laplace, Mask, Poisson, Problem
from keras_crsae.solvers.operations import SignalOperations
from tests.twin import dictionary_matrix


def test_step_and_sums_are_those_of_the_matrix(rng):
    kernel = rng.standard_normal((5, 1, 2))
    matrix, positions = dictionary_matrix(kernel, (20,), (1,))
    y, observed = rng.poisson(2.0, (2, 20, 1)).astype(float), rng.uniform(0.1, 1, (2, 20, 1))
    observed[:, 7:10] = 0
    w, other = rng.standard_normal((2, 2, *positions, 2)) * 0.3
    exists = (rng.random((1, *positions, 2)) > 0.2).astype(float)
    step, baseline = np.array([0.1, 0.2]), -0.5
    w = w * exists  # what is closed stays 0
    flat = [a.reshape(2, -1) for a in (y, observed, w, other)]
    for prior in (Exponential(), Laplace()):
        problem = Problem(Poisson(), prior, Mask(tf.constant(observed)), tf.constant([baseline], "float64"))
        given = SignalOperations(problem, tf.constant(y), tf.constant(kernel), (1,), tf.constant(step),
                                 tf.constant([0.3, 0.4], "float64"), exists=tf.constant(exists))
        assert given.first_step.shape == (2, 1, 1)
        change = given.synthesise(tf.constant(w))  # none in gaps
        np.testing.assert_allclose(tf.reshape(change, (2, -1)), flat[2] @ matrix.T * (flat[1] > 0), atol=1e-12)
        np.testing.assert_allclose(given.start(), np.full(y.shape, baseline))
        eta = flat[2] @ matrix.T + baseline
        moved = flat[2] + step[:, None] * ((flat[1] * (flat[0] - np.exp(eta))) @ matrix * exists.ravel())
        weight = step[:, None] * np.tile([0.3, 0.4], positions[0])
        expected = np.maximum(np.abs(moved) - weight, 0) * np.sign(moved)
        expected = np.maximum(expected, 0) if prior.bias_form else expected
        made = given.change(tf.constant(-w), tf.reshape(eta, y.shape), tf.constant(step[:, None, None]))
        np.testing.assert_allclose(tf.reshape(made, (2, -1)), expected - flat[2], atol=1e-10)
    change = 0.1 * (flat[3] - flat[2]) @ matrix.T
    exact = np.sum(flat[1] * np.exp(eta) * (np.expm1(change) - change), axis=1)
    for factor, within in ((0.99, False), (1.01, True)):
        asked = (tf.reshape(eta, y.shape), tf.reshape(change, y.shape), tf.constant(factor * exact[:, None, None]))
        assert (np.ravel(given.is_within(*asked)) == within).all()
        assert within or not np.any(given.is_surely_within(*asked))
    asked = (*asked[:2], tf.constant(1.5 * exact[:, None, None]))
    assert np.all(given.is_surely_within(*asked))
    moves = rng.random(flat[2].shape) < 0.3
    found = np.ravel(given.steepest(tf.reshape(eta, y.shape), tf.reshape(moves, w.shape)))
    for bound, weight, one, chosen in zip(found, flat[1], eta, moves, strict=True):
        root = np.sqrt(weight * np.exp(one))[:, None] * matrix[:, chosen]
        assert np.linalg.norm(root, 2) ** 2 <= bound <= 4 * np.linalg.norm(root, 2) ** 2
    np.testing.assert_allclose(np.ravel(given.energy(tf.constant(w))), np.sum(flat[2]**2, axis=1), rtol=1e-12)
    chosen = given.choose(tf.constant([True, False])[:, None, None], tf.constant(w), tf.constant(other))
    np.testing.assert_array_equal(chosen, np.stack([w[0], other[1]]))
