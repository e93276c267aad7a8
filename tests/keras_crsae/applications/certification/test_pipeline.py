"""certify: agrees with the model, takes codes of its own, refuses what does not fit."""

import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.applications.certification import certify


def test_predictions_are_those_of_the_model_and_gaps_those_of_rounding(model, signals):
    report = certify(model, signals)
    np.testing.assert_array_equal(report.predictions, model.predict(signals, verbose=0).argmax(axis=-1))
    assert report.gap.max() < 1e-12 and report.accuracy() == 1.0 and not report.labelled
    assert (report.radius >= report.projection_radius).all() and (report.radius >= report.paper_radius).all()
    assert (report.radius > 0).all() and report.margin.min() > 0


def test_wrong_predictions_have_no_radius(model, signals):
    right = certify(model, signals)
    labels = np.where(np.arange(12) < 6, right.predictions, (right.predictions + 1) % 3)
    report = certify(model, signals, labels)
    assert report.accuracy() == 0.5
    np.testing.assert_array_equal(report.radius > 0, np.arange(12) < 6)
    np.testing.assert_allclose(report.radius[:6], right.radius[:6])


def test_codes_of_few_iterations_are_certified_for_less(model, signals):
    exact = certify(model, signals)
    few = kc.SparseCodingClassifier(kc.CRsAE(6, 8, lambda_init=0.1, iterations=5), 3)
    few.build((None, 8, 1))
    few.set_weights(model.get_weights())
    report = certify(model, signals, exact.predictions, code=few.encode(signals))
    assert report.gap.max() > 1e-5 and (report.radius <= exact.radius).all()
    assert (report.radius < 0.99 * exact.radius).any()


def test_convolutional_dictionaries_are_certified(rng):
    encoder = kc.CRsAE(3, (3, 3), lambda_init=0.3, iterations=50, shrinkage="soft")
    model = kc.SparseCodingClassifier(encoder, 2, pooling=(2, 2))
    x = rng.standard_normal((4, 6, 6, 1))
    report = certify(model, x)
    assert report.gap.max() < 1e-10 and (report.radius > 0).any()


@pytest.mark.parametrize("change, message", [
    (lambda x: (x[:, :5], None, None), "kernel"), (lambda x: (x * np.nan, None, None), "NaN|finite"),
    (lambda x: (x, [5] * 12, None), "5 at index 0"), (lambda x: (x, [0], None), "shape"),
    (lambda x: (x, None, np.zeros((12, 2, 6))), "codes of `x`"), (lambda x: (x, None, np.zeros((11, 1, 6))), "`x`")])
def test_data_that_do_not_fit_are_refused(change, message, model, signals):
    x, y, code = change(signals)
    with pytest.raises(ValueError, match=message):
        certify(model, x, y, code=code)


def test_other_models_are_refused(signals):
    with pytest.raises(ValueError, match="SparseCodingClassifier"):
        certify(kc.CRsAE(3, 8, lambda_init=0.1), signals)
