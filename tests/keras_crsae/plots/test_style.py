"""What all figures share."""

import sys

import numpy as np
import pytest

from keras_crsae import plots
from keras_crsae.plots.style import COLOURS, colour_of, new_figure, time_axis


def test_time_is_in_samples_or_milliseconds():
    assert time_axis(None, [0, 3])[0].tolist() == [0, 3] and time_axis(None, [])[1] == "time (samples)"
    assert time_axis(30_000, [0, 30])[0].tolist() == [0, 1] and time_axis(30_000, [])[1] == "time (ms)"


def test_the_palette_repeats():
    assert colour_of(len(COLOURS) + 1) == COLOURS[1] and len(set(COLOURS)) == len(COLOURS)


def test_a_figure_has_its_size_in_inches():
    assert new_figure(3.0, 2.0).get_size_inches().tolist() == [3.0, 2.0]


def test_no_figure_stays_open_in_pyplot(rng):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    plots.plot_filters(rng.standard_normal((5, 5, 1, 4)))
    assert pyplot.get_fignums() == []


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"Plots cannot be used: matplotlib.*keras-crsae\[plots\]"):
        plots.plot_filters(np.ones((8, 1, 2)))
