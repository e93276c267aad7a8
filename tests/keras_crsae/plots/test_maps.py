"""Figures of filters of rank one: bars or topographies above, time courses below."""

import numpy as np
import pytest

from keras_crsae.plots import plot_maps

pytest.importorskip("matplotlib")


@pytest.fixture
def parts(rng):
    return rng.standard_normal((16, 3)), rng.standard_normal((40, 3))


@pytest.mark.parametrize("located", [False, True])
def test_each_filter_has_its_map_above_its_time_course(parts, rng, located, tmp_path):
    maps, courses = parts
    positions = rng.uniform(5, 9, (16, 2)) if located else None
    figure = plot_maps(maps, courses, positions, sampling_frequency=100)
    assert len(figure.axes) == 6
    for c in range(3):
        line = figure.axes[3 + c].lines[-1]
        np.testing.assert_allclose(line.get_ydata(), courses[:, c])
        np.testing.assert_allclose(line.get_xdata(), 10.0 * np.arange(40))
        if located:
            x, y = figure.axes[c].lines[0].get_data()
            assert np.hypot(x, y).max() == pytest.approx(1)
        else:
            np.testing.assert_allclose([bar.get_width() for bar in figure.axes[c].patches], maps[:, c])
    figure.savefig(tmp_path / "maps.png")


def test_sensors_around_a_head_are_unrolled(parts):
    around = np.zeros((16, 3))
    angle = np.linspace(0, np.pi / 2, 16)  # from the top to the nose
    around[:, 1], around[:, 2] = np.sin(angle), np.cos(angle)
    around[0, 0], around[5, 0] = 0.01, 0.3
    y = plot_maps(*parts, positions=0.1 * around).axes[0].lines[0].get_ydata()
    np.testing.assert_allclose(np.diff(y)[6:], np.diff(y)[6], rtol=1e-6)


@pytest.mark.parametrize("wrong, words", [
    (dict(time_courses=np.zeros((40, 2))), "as many filters"),
    (dict(positions=np.zeros((3, 2))), r"\(16 channels, 2\)"),
    (dict(positions=np.full((16, 2), np.nan)), "finite"),
    (dict(positions=np.outer(np.arange(16), [1, 2])), "do not lie on a line")])
def test_what_does_not_fit_is_refused(parts, wrong, words):
    with pytest.raises(ValueError, match=words):
        plot_maps(**{"maps": parts[0], "time_courses": parts[1], **wrong})
