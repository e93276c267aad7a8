"""Figures of a sorting."""

import dataclasses
import io

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")

from keras_crsae.applications.spike_sorting.motion import ProbeMotion  # noqa: E402
from keras_crsae.applications.spike_sorting.report_figures import (  # noqa: E402
    draw_amplitudes,
    draw_code_maxima,
    draw_intervals,
    draw_motion,
    draw_raster,
    draw_templates,
    figures,
)


@pytest.fixture(scope="module")
def drawn(sorted_spikes):
    recording, _, result = sorted_spikes
    return {title: figure for title, _, figure in figures(result, recording)}


def test_the_residual_is_white(drawn):
    axis, = drawn["Residual spectrum"].axes
    curves = {line.get_label(): np.asarray(line.get_ydata()) for line in axis.get_lines()}
    assert curves["with spikes"].max() > 2.5
    assert 0.9 < curves["spikes subtracted"].mean() < 1.1 and curves["spikes subtracted"].max() < 2


def test_the_smallest_spike_is_above_the_noise_of_the_code(drawn, sorted_spikes):
    axis, = drawn["Code maxima"].axes
    labels = axis.get_legend_handles_labels()[1]
    assert f"spikes ({len(sorted_spikes[2].spike_samples)})" in labels
    line, = [line for line in axis.get_lines() if line.get_label().startswith("smallest")]
    assert 8 < line.get_xdata()[0] < 16  # the simulated amplitudes are 16 +- 1, in noise standard deviations


def test_a_panel_for_every_unit(drawn, sorted_spikes):
    for title in ("Templates", "Amplitude over time", "Inter-spike intervals"):
        assert [a.get_title() for a in drawn[title].axes if a.get_visible()] == ["unit 0", "unit 1"]
    points = sum(len(line.get_xdata()) for line in drawn["Raster"].axes[0].get_lines())
    assert points == len(sorted_spikes[2].spike_samples)


def test_several_channels_and_no_spikes_are_drawn(sorted_spikes):
    _, _, result = sorted_spikes
    several = dataclasses.replace(result, templates=np.repeat(result.templates, 10, axis=2),
                                  spike_samples=np.zeros(0, np.int64), spike_units=np.zeros(0, np.int64),
                                  spike_amplitudes=np.zeros(0, np.float32))
    axis = draw_templates(several).axes[0]
    assert len(axis.get_yticks()) == 8  # the largest channels
    for draw in (draw_raster, draw_amplitudes, draw_intervals):
        draw(several).savefig(io.BytesIO())
    draw_code_maxima(np.zeros(0), np.zeros(0)).savefig(io.BytesIO())


def test_the_motion_is_a_line_a_depth_and_segments_follow_each_other():
    seconds, moved = np.array([0.5, 1.5, 2.5]), np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    axis, = draw_motion(ProbeMotion("kilosort_like", [moved, moved], [seconds, seconds], np.array([10.0, 400.0]))).axes
    lines = axis.get_lines()
    assert len(lines) == 4 and lines[2].get_xdata().tolist() == [2, 3, 4] and lines[1].get_ydata().tolist() == [1, 3, 5]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["10 µm", "400 µm"]
