"""The classifier in plain numbers is the Keras model, for every form of dictionary, head and code prior."""

import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.applications.certification.linear_codes import code_classifier, matrix_of


@pytest.mark.parametrize("size, strides, space, channels, pooling", [
    (8, 1, (8,), 1, None), (3, 1, (8,), 2, 2), (3, 2, (8,), 1, "mean"), ((2, 3), 1, (4, 5), 1, None),
    ((3, 3), (2, 2), (6, 7), 1, (2, 2))])
def test_logits_are_those_of_the_model(size, strides, space, channels, pooling, rng):
    encoder = kc.CRsAE(3, size, strides=strides, lambda_init=[0.1, 0.2, 0.3], iterations=30, shrinkage="soft")
    model = kc.SparseCodingClassifier(encoder, 4, pooling=pooling)
    x = rng.standard_normal((3, *space, channels)).astype("float32")
    code, logits = model.encode(x), model.logits(x)
    problem = code_classifier(model, space)
    flat = code.reshape(3, -1)
    np.testing.assert_allclose(problem.logits(flat), logits, atol=1e-5)
    decoded = model.autoencoder.crop(model.autoencoder.dictionary(code), x)
    np.testing.assert_allclose(flat @ problem.matrix.T, np.reshape(decoded, (3, -1)), atol=1e-5)
    assert problem.two_sided.all() and set(np.round(problem.weight, 6)) == {0.1, 0.2, 0.3}


def test_negative_filters_are_turned_round(rng):
    prior = kc.problem.SignedByFilter([1, -1, 0])
    model = kc.SparseCodingClassifier(kc.CRsAE(3, 8, lambda_init=0.1, iterations=300, code_prior=prior), 2)
    x = rng.standard_normal((5, 8, 1))
    code = model.encode(x).reshape(5, -1)
    problem = code_classifier(model, (8,))
    assert problem.two_sided.tolist() == [False, False, True]
    assert (code * problem.signs)[:, :2].min() >= 0 and code[:, 1].min() < 0
    np.testing.assert_allclose(problem.logits(code * problem.signs), model.logits(x), atol=1e-5)


def test_other_penalties_are_refused():
    class Other(type(kc.problem.Laplace())):
        pass

    model = kc.SparseCodingClassifier(kc.CRsAE(3, 8, lambda_init=0.1, code_prior=Other()), 2)
    model.build((None, 8, 1))
    with pytest.raises(ValueError, match="l1 norm"):
        code_classifier(model, (8,))


def test_problems_that_fit_no_memory_are_refused(monkeypatch, model):
    monkeypatch.setattr("keras_crsae.applications.certification.linear_codes.MOST_VALUES", 10)
    with pytest.raises(ValueError, match="more than 10 numbers"):
        code_classifier(model, (8,))


def test_filters_at_the_edge_are_cropped():
    matrix = matrix_of(np.ones((3, 1, 1)), (4,), (2,), (2,))
    assert matrix.tolist() == [[1, 0], [1, 0], [1, 1], [0, 1]]
