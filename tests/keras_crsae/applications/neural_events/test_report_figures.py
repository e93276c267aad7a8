"""What the figures of a report show."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")

from keras_crsae.applications.neural_events.report_figures import (  # noqa: E402
    draw_kernels,
    draw_raster,
    residual_by_time,
)


def test_the_residual_of_a_good_fit_is_small_and_of_a_silent_one_large(fitted):
    time, rest = residual_by_time(fitted)
    assert len(time) == 40 and np.abs(rest).mean() < 2.5
    silent = dataclasses.replace(fitted, events=fitted.events[:0])
    assert residual_by_time(silent)[1].max() > 5


def test_raster_marks_every_event_and_spike(fitted):
    axes = draw_raster(fitted).axes
    marks = sum(len(line.get_xdata()) for axis in axes for line in axis.lines if line.get_marker() == "o")
    spikes = sum(len(line.get_xdata()) for axis in axes for line in axis.lines if line.get_marker() == "|")
    assert marks == len(fitted.events) and spikes == np.count_nonzero(fitted.counts.counts)


def test_kernels_of_several_neurons_are_all_drawn(fitted):
    assert [len(axis.lines) for axis in draw_kernels(fitted).axes] == [2]  # the kernel, and zero
