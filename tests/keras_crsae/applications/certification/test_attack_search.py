"""The attack: breaks nothing inside the radius, and finds what lies far outside."""

import numpy as np
import pytest

from keras_crsae.applications.certification import attack, certify


def test_nothing_breaks_inside_the_radius_and_much_breaks_outside(model, signals):
    report = certify(model, signals)
    inside = attack(model, signals, report.predictions, report.radius * (1 - 1e-9), restarts=2)
    assert not inside.success.any() and (inside.distance <= report.radius).all()
    outside = attack(model, signals, report.predictions, 2 * report.radius)
    assert outside.success.sum() >= 4
    np.testing.assert_array_equal(certify(model, outside.signals).predictions, outside.predictions)


def test_a_wrong_label_succeeds_at_once(model, signals):
    wrong = (certify(model, signals).predictions + 1) % 3
    found = attack(model, signals, wrong, 0.0)
    assert found.success.all() and (found.distance == 0).all() and found.signals.shape == signals.shape


@pytest.mark.parametrize("radius", [-1.0, np.nan, [0.1, 0.2], "far"])
def test_other_radii_are_refused(radius, model, signals):
    with pytest.raises(ValueError):
        attack(model, signals, np.zeros(12, int), radius)
