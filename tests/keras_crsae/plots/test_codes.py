"""A code as a raster."""

import numpy as np
import pytest

from keras_crsae import plots


def test_code_raster_draws_every_nonzero_value():
    code = np.zeros((50, 2))
    code[[10, 20, 30], [0, 1, 1]] = 1.0, 2.0, 4.0
    figure = plots.plot_code(code, np.zeros(58), events=[[10], [20, 30]], start=100, row="unit")
    stems = [[path.vertices for path in lines.get_paths()] for lines in figure.axes[1].collections]
    assert [len(s) for s in stems] == [1, 2]
    assert stems[1][1][0][0] == 130
    heights = [s[1][1] - s[0][1] for s in stems[1]]
    assert heights[1] == pytest.approx(2 * heights[0])
    assert [t.get_text() for t in figure.axes[1].get_yticklabels()] == ["unit 0", "unit 1"]


def test_a_code_without_signal_is_the_raster_alone():
    assert len(plots.plot_code(np.eye(5)).axes) == 1


def test_a_batch_of_codes_is_refused():
    with pytest.raises(ValueError, match=r"code\[0\]"):
        plots.plot_code(np.zeros((1, 5, 2)))
