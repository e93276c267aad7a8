"""Curves over training."""

import numpy as np
import pytest

from keras_crsae import plots


def test_lambda_is_drawn_in_units_of_the_noise():
    (axis,) = plots.plot_lambda(np.array([[1.0, 3.0], [2.0, 6.0]]), steps=[10, 20], sigma=0.5).axes
    one, two, median = (line.get_ydata().tolist() for line in axis.lines)
    assert (one, two, median) == ([0.5, 1.0], [1.5, 3.0], [1.0, 2.0]) and axis.get_xlabel() == "step"


def test_every_curve_and_reference_has_its_name():
    figure = plots.plot_curves({f"curve {i}": ([0, 1], [i, i + 1]) for i in range(6)}, {"BM3D": 3.0})
    (axis,) = figure.axes
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [f"curve {i}" for i in range(6)]
    assert axis.texts[0].get_text() == "BM3D"


@pytest.mark.parametrize("call, words", [
    (lambda: plots.plot_lambda(np.ones(3)), "must have shape"),
    (lambda: plots.plot_lambda(np.ones((3, 2)), steps=[1]), "one entry a time"),
    (lambda: plots.plot_curves({}), "at least one"),
    (lambda: plots.plot_curves({"a": ([1, 2], [1])}), "equal lengths")])
def test_wrong_shapes_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
