"""Figures with a panel for each unit."""

import pytest

pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")

from keras_crsae.applications.spike_sorting.report_panels import unit_panels  # noqa: E402


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (3, 3), (5, 4), (16, 4), (40, 6)])
def test_every_unit_has_its_panel_and_the_others_are_hidden(count, columns):
    figure, axes = unit_panels(count, sharex=True)
    assert [axis.get_title() for axis in axes] == [f"unit {unit}" for unit in range(count)]
    assert sum(axis.get_visible() for axis in figure.axes) == count
    assert axes[0].get_gridspec().ncols == columns and figure.get_size_inches()[0] < 11


def test_titles_may_be_given():
    assert [axis.get_title() for axis in unit_panels(2, titles=["a", "b"])[1]] == ["a", "b"]
