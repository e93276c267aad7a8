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
    flat = [a.reshape(2, -1) for a in (y, observed, w, other)]
    for prior in (Exponential(), Laplace()):
        problem = Problem(Poisson(), prior, Mask(tf.constant(observed)), tf.constant([baseline], "float64"))
        given = SignalOperations(problem, tf.constant(y), tf.constant(kernel), (1,), tf.constant(step),
                                 tf.constant([0.3, 0.4], "float64"), exists=tf.constant(exists))
        assert given.first_step.shape == (2, 1, 1)
        v = given.synthesise(tf.constant(w))
        np.testing.assert_allclose(tf.reshape(v, (2, -1)), flat[2] @ matrix.T, atol=1e-12)
        eta = flat[2] @ matrix.T + baseline
        moved = flat[2] / step[:, None] + (flat[1] * (flat[0] - np.exp(eta))) @ matrix
        shrunk = np.maximum(np.abs(moved) - np.tile([0.3, 0.4], positions[0]), 0) * np.sign(moved) * exists.ravel()
        expected = np.maximum(shrunk, 0) if prior.bias_form else shrunk
        made = given.descend(tf.constant(w / step[:, None, None]), v)
        np.testing.assert_allclose(tf.reshape(made, (2, -1)), expected, atol=1e-10)
    change = 0.1 * (flat[3] - flat[2]) @ matrix.T
    exact = np.sum(flat[1] * np.exp(eta) * (np.expm1(change) - change), axis=1)
    np.testing.assert_allclose(np.ravel(given.excess(v, tf.reshape(change, y.shape))), exact, rtol=1e-3)
    np.testing.assert_allclose(np.ravel(given.energy(tf.constant(w))), np.sum(flat[2]**2, axis=1), rtol=1e-12)
    chosen = given.choose(tf.constant([True, False])[:, None, None], tf.constant(w), tf.constant(other))
    np.testing.assert_array_equal(chosen, np.stack([w[0], other[1]]))
