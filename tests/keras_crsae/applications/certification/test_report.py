"""The report counts what is right and certified."""

import numpy as np
import pytest

from keras_crsae.applications.certification import CertificationReport


@pytest.fixture
def report():
    radius = np.array([0.0, 0.1, 0.2, 0.3])
    return CertificationReport(np.array([1, 0, 1, 2]), np.array([0, 0, 1, 2]), radius, radius / 2, radius / 10,
                               np.zeros(4), np.arange(4.0), np.arange(4), True)


def test_certified_accuracy_falls_from_the_accuracy_to_nothing(report):
    assert report.accuracy() == 0.75
    np.testing.assert_allclose(report.certified_accuracy([0, 0.05, 0.15, 0.3, 1]), [0.75, 0.75, 0.5, 0, 0])
    np.testing.assert_allclose(report.certified_accuracy(0.05, "paper_radius"), 0)
    assert report.table((0, 0.15))["at 0.15"] == ["0.500", "0.000", "0.000"]


@pytest.mark.parametrize("given", [(-1.0,), (np.nan,), (0.1, "best")])
def test_what_is_no_radius_or_bound_is_refused(given, report):
    with pytest.raises(ValueError, match="must be"):
        report.certified_accuracy(*given)
