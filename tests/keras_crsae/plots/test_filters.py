"""Figures of filters."""

import numpy as np
import pytest

from keras_crsae import plots
from keras_crsae.data.simulate import spike_templates


def test_alignment_undoes_order_sign_shift_and_scale():
    true = spike_templates(31, 3)
    learned = np.zeros((31, 1, 4))
    learned[:, :, 1] = -2.0 * np.roll(true[..., 0], 3, axis=0)
    learned[:, :, 3] = 0.5 * np.roll(true[..., 1], -2, axis=0)
    learned[:, :, 0] = true[..., 2]
    aligned, match = plots.align_filters(true, learned)
    assert match.learned.tolist() == [1, 3, 0]
    assert match.lags[:, 0].tolist() == [-3, 2, 0] and match.signs.tolist() == [-1, 1, 1]
    seen = np.isfinite(aligned)
    assert seen.mean() > 0.9 and not seen[-3:, 0, 0].any()
    np.testing.assert_allclose(aligned[seen], true[seen], atol=2e-2)


def test_a_true_filter_without_partner_is_left_empty():
    true = spike_templates(31, 3)
    aligned, _ = plots.align_filters(true, true[..., 1:2])
    assert np.isnan(aligned[..., 0]).all() and np.isfinite(aligned[..., 1]).all()


def test_image_filters_become_one_tile_each(rng):
    filters = rng.standard_normal((5, 6, 1, 7))
    (axis,) = plots.plot_filters(filters).axes
    canvas = np.asarray(axis.images[0].get_array())
    assert canvas.shape == (3 * 6 - 1, 3 * 7 - 1)
    tile = filters[..., 0, 4]  # second row, second column
    np.testing.assert_allclose(canvas[6:11, 7:13], 0.5 + 0.5 * tile / np.abs(tile).max())


def test_signal_filters_become_one_trace_a_channel(rng):
    figure = plots.plot_filters(rng.standard_normal((9, 2, 3)), sampling_frequency=1000)
    drawn = [axis for axis in figure.axes if axis.get_visible()]
    assert len(drawn) == 3 and all(len(axis.lines) == 2 for axis in drawn)
    assert drawn[0].lines[0].get_xdata()[-1] == pytest.approx(8.0)  # milliseconds


def test_templates_name_their_error():
    true = spike_templates(31, 3)
    figure = plots.plot_templates(true, true[..., ::-1], first=-true)
    assert [axis.get_title() for axis in figure.axes] == [f"unit {c}: error 0.000" for c in range(3)]


@pytest.mark.parametrize("call, words", [
    (lambda: plots.plot_filters(np.zeros(5)), "must have shape"),
    (lambda: plots.plot_templates(np.zeros((5, 5, 1, 2)), np.zeros((5, 5, 1, 2))), "plot_filters")])
def test_wrong_shapes_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
