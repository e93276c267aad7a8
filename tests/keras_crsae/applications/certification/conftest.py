"""A small classifier, its signals and labels, and random problems in plain numbers."""

import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.applications.certification.linear_codes import CodeClassifier


@pytest.fixture(scope="session")
def make_problem():
    """Function of a seed to a ``CodeClassifier`` of random atoms of norm 1."""
    def make(seed, values=4, atoms=6, classes=3, two_sided=False, weight=0.2):
        rng = np.random.default_rng(seed)
        matrix = rng.standard_normal((values, atoms))
        return CodeClassifier(matrix / np.linalg.norm(matrix, axis=0), np.full(atoms, weight),
                              np.full(atoms, two_sided), rng.standard_normal((atoms, classes)),
                              0.1 * rng.standard_normal(classes), np.ones(atoms))

    return make


@pytest.fixture(scope="session")
def model():
    """A dense classifier of random weights on signals of 8 samples."""
    made = kc.SparseCodingClassifier(kc.CRsAE(6, 8, lambda_init=0.1, iterations=100, seed=0), classes=3)
    made.build((None, 8, 1))
    rng = np.random.default_rng(1)
    made.head.kernel.assign(rng.standard_normal(made.head.kernel.shape))
    made.head.bias.assign([0.1, 0.0, -0.1])
    return made


@pytest.fixture(scope="session")
def signals():
    """(12, 8, 1) of norm 1."""
    x = np.random.default_rng(2).standard_normal((12, 8, 1))
    return x / np.linalg.norm(x, axis=1, keepdims=True)
