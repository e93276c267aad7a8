"""Measurements of users' own: what is asked of them, and what is found out about them."""

import numpy as np
import pytest
import scipy.sparse

from keras_crsae.problem import Identity, Matrix, OwnMeasurement, own_measurement


class Scaled:
    """A multiple of the signal; ``wrong`` makes its adjoint another's, ``norm`` may lie."""

    def __init__(self, norm=2.0, wrong=False, short=False):
        self.norm, self.wrong, self.short = norm, wrong, short

    def forward(self, x):
        return 2.0 * x[:, 1:] if self.short else 2.0 * x

    def adjoint(self, y):
        return (-2.0 if self.wrong else 2.0) * y


def test_an_object_with_the_three_is_taken_and_checked_once_a_shape():
    measurement = own_measurement.get(Scaled())
    measurement.check_data((12, 1))
    measurement.check_data((12, 1))
    assert isinstance(measurement, OwnMeasurement) and measurement.norm == 2.0
    assert isinstance(own_measurement.get(None), Identity)


@pytest.mark.parametrize("operator, message", [
    (Scaled(norm=1.0), "largest singular value is at least 2"), (Scaled(wrong=True), "is not that of `forward`"),
    (Scaled(short=True), "makes .* of a signal")])
def test_what_is_not_as_it_says_is_refused(operator, message):
    with pytest.raises(ValueError, match=message):
        OwnMeasurement(operator).check_data((12, 1))


def test_what_fails_on_tensors_is_refused():
    class Fails(Scaled):
        def forward(self, x):
            raise TypeError("no")

    with pytest.raises(ValueError, match=r"failed on tensors.*keras\.ops"):
        OwnMeasurement(Fails()).check_data((12, 1))


@pytest.mark.parametrize("spec, message", [
    (object(), "lacks"), (Scaled(norm=-1), "positive number"), (Scaled(norm="big"), "positive number"),
    (Matrix, "Call it"), (np.ones((2, 3)), "use problem.Matrix|Use problem.Matrix"),
    (scipy.sparse.eye(3), "Use problem.Matrix"), ("no such", "Expected a measurement"), ("matrix", "needs arguments")])
def test_what_is_no_measurement_is_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        own_measurement.get(spec)
