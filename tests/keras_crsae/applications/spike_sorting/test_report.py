"""The report of a sorting."""

import base64
import dataclasses
import io
import re

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")

from keras_crsae.applications.spike_sorting.report import figures, write_report  # noqa: E402


@pytest.fixture(scope="module")
def drawn(sorted_spikes):
    recording, _, result = sorted_spikes
    return {title: figure for title, _, figure in figures(result, recording)}


def test_the_page_holds_all_and_needs_no_other_file(sorted_spikes, tmp_path):
    from matplotlib.image import imread

    recording, _, result = sorted_spikes
    odd = dataclasses.replace(result, messages=["<script>alert(1)</script>"])
    write_report(odd, tmp_path / "report.html", recording)
    page = (tmp_path / "report.html").read_text()
    for word in ("Templates", "Raster", "Amplitude over time", "Inter-spike intervals", "Residual spectrum",
                 "Code threshold", "Training", "learning_seconds", f"{len(result.spike_samples)} spikes"):
        assert word in page
    assert "<script" not in page and "&lt;script&gt;" in page
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == 7 and all(s.startswith("data:image/png;base64,") for s in sources)
    for source in sources:
        picture = imread(io.BytesIO(base64.b64decode(source.split(",")[1])))
        assert picture[..., :3].std() > 0.01  # not blank


def test_what_is_left_without_the_spikes_is_white(drawn):
    axis, = drawn["Residual spectrum"].axes
    curves = {line.get_label(): np.asarray(line.get_ydata()) for line in axis.get_lines()}
    assert curves["with spikes"].max() > 2.5
    assert 0.9 < curves["spikes subtracted"].mean() < 1.1 and curves["spikes subtracted"].max() < 2


def test_the_smallest_spike_stands_over_the_codes_noise(drawn, sorted_spikes):
    axis, = drawn["Code threshold"].axes
    labels = axis.get_legend_handles_labels()[1]
    assert f"spikes ({len(sorted_spikes[2].spike_samples)})" in labels
    line, = [line for line in axis.get_lines() if line.get_label().startswith("smallest")]
    assert 8 < line.get_xdata()[0] < 16  # the simulated amplitudes are 16 +- 1, in noise standard deviations


def test_a_panel_for_every_unit(drawn, sorted_spikes):
    for title in ("Templates", "Amplitude over time", "Inter-spike intervals"):
        assert [a.get_title() for a in drawn[title].axes if a.get_visible()] == ["unit 0", "unit 1"]
    points = sum(len(line.get_xdata()) for line in drawn["Raster"].axes[0].get_lines())
    assert points == len(sorted_spikes[2].spike_samples)


def test_another_recording_is_refused(sorted_spikes, tmp_path):
    recording, _, result = sorted_spikes
    with pytest.raises(ValueError, match="was sorted"):
        write_report(result, tmp_path / "report.html", recording[:-1])
    assert not (tmp_path / "report.html").exists()


def test_several_channels_and_no_spikes_are_drawn(sorted_spikes):
    from keras_crsae.applications.spike_sorting import report as spike_report

    _, _, result = sorted_spikes
    several = dataclasses.replace(result, templates=np.repeat(result.templates, 10, axis=2),
                                  spike_samples=np.zeros(0, np.int64), spike_units=np.zeros(0, np.int64),
                                  spike_amplitudes=np.zeros(0, np.float32))
    axis = spike_report._templates(several).axes[0]
    assert len(axis.get_yticks()) == 8  # the largest channels
    for draw in (spike_report._raster, spike_report._amplitudes, spike_report._intervals):
        draw(several).savefig(io.BytesIO())
    spike_report._threshold(np.zeros(0), np.zeros(0)).savefig(io.BytesIO())
