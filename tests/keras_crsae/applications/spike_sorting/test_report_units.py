"""Figures of single units and of pairs, for one channel and for many units."""

import dataclasses
import io

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")

from keras_crsae.applications.spike_sorting.report_units import (  # noqa: E402
    best_channels,
    draw_probe,
    draw_waveforms,
    plain_filter,
    spread,
    unit_figures,
    unit_places,
)


@pytest.fixture(scope="module")
def wide(sorted_spikes):
    """The shared result with twelve units on a probe of six channels, each spike given to one of them at random."""
    result, rng = sorted_spikes[2], np.random.default_rng(0)
    templates = np.zeros((12, result.templates.shape[1], 6), np.float32)
    for unit in range(12):
        templates[unit, :, unit % 6] = result.templates[0, :, 0]
    units = rng.integers(12, size=len(result.spike_samples))
    return dataclasses.replace(result, templates=templates, spike_units=units,
                               channel_locations=np.stack([np.zeros(6), 20.0 * np.arange(6)], axis=1))


def test_two_units_of_one_channel_get_all_pairs_and_no_probe(sorted_spikes):
    recording, _, result = sorted_spikes
    drawn = {title: figure for title, _, figure in unit_figures(result, recording)}
    assert list(drawn) == ["Waveforms", "Autocorrelograms", "Cross-correlograms"]
    assert len(drawn["Cross-correlograms"].axes) == 4
    for figure in drawn.values():
        figure.savefig(io.BytesIO(), format="png")


def test_many_units_get_the_pairs_that_stand_out(wide, sorted_spikes):
    recording = np.repeat(sorted_spikes[0], 6, axis=1)
    one = dataclasses.replace(wide, reader=sorted_spikes[2].reader)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras_crsae.applications.spike_sorting.report_units.plain_filter",
                      lambda _: lambda traces, low, high: np.asarray(traces[low:high], np.float32))
        drawn = {title: figure for title, _, figure in unit_figures(one, recording)}
    assert list(drawn) == ["Waveforms", "Autocorrelograms", "Coincidences", "Cross-correlograms", "Probe"]
    assert sum(axis.get_visible() for axis in drawn["Cross-correlograms"].axes) == 24
    drawn["Probe"].savefig(io.BytesIO(), format="png")


def test_overlays_lie_around_their_median(sorted_spikes):
    recording, _, result = sorted_spikes
    for unit, axis in enumerate(draw_waveforms(result, recording).axes):
        *spikes, median = [line.get_ydata() for line in axis.lines]
        assert 50 < len(spikes) <= 80
        np.testing.assert_allclose(np.median(spikes, axis=0), median, atol=0.1 * np.abs(median).max())
        np.testing.assert_array_equal(median, result.templates[unit, :, 0])


def test_the_signal_of_the_waveforms_is_referenced_and_filtered_as_it_was_sorted(sorted_spikes):
    recording, _, result = sorted_spikes
    np.testing.assert_allclose(plain_filter(result)(recording, 0, 500),
                               recording[:500] - result.reader.whitening.offset, atol=1e-3)
    filtered = dataclasses.replace(result, settings={**result.settings, "band": [300.0, 3000.0]})
    slow = 500 * np.sin(2 * np.pi * 10 * np.arange(5000) / 10_000)[:, None]
    white = plain_filter(filtered)
    assert np.abs(white(slow, 1000, 4000)).max() < 30 and white.fall_samples == len(white.taps) == 51


def test_units_lie_where_their_energy_is(wide):
    places = unit_places(wide.templates, wide.channel_locations)
    np.testing.assert_allclose(places[:, 1], 20 * (np.arange(12) % 6), atol=1e-6)
    assert best_channels(wide.templates).tolist() == [unit % 6 for unit in range(12)]
    names = {text.get_text().strip() for text in draw_probe(wide).axes[0].texts}
    assert names >= {str(unit) for unit in range(12)}


@pytest.mark.parametrize("count", [1, 9, 40])
def test_labels_do_not_lie_on_each_other(count, rng):
    values = rng.uniform(0, 100, count)
    placed = spread(values, 2.0, 0.0, 100.0)
    assert np.diff(np.sort(placed)).min(initial=9) >= 2 - 1e-9 and placed.min() >= 0 and placed.max() <= 100
    np.testing.assert_array_equal(np.argsort(placed), np.argsort(values))
