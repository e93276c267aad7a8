"""Figures of single units and of pairs: waveforms, correlograms, places on the probe. Needs the extra ``plots``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from crsae_onnx.core.spikes.whitening import Whitening

from keras_crsae.applications.spike_sorting.correlograms import correlogram, excess_coincidences
from keras_crsae.applications.spike_sorting.noise import band_pass
from keras_crsae.applications.spike_sorting.report_panels import unit_panels
from keras_crsae.applications.spike_sorting.result import SpikeSortingResult
from keras_crsae.plots.style import GRAY, colour_of, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Spikes of a unit whose waveforms are drawn.
SHOWN_WAVEFORMS = 80
#: Up to so many units every pair has its correlogram; of more the pairs that stand out most, at most ``_SHOWN_PAIRS``.
ALL_PAIRS_UNITS, _SHOWN_PAIRS = 8, 24
#: Half the width of a correlogram, and its bins, in ms.
_HALF_MS, _BIN_MS = 30.0, 1.0


def unit_figures(result: SpikeSortingResult, traces: Any) -> list[tuple[str, str, Figure]]:
    """[(title, explanation, figure)]; ``traces``: (samples, channels), the recording that was sorted."""
    trains = spike_trains(result)
    drawn = [
        ("Waveforms", f"Up to {SHOWN_WAVEFORMS} spikes of each unit on its largest channel, and their median. Two "
         "bundles are two units, or spikes that others overlap.", draw_waveforms(result, traces)),
        ("Autocorrelograms", f"Pairs of spikes by their distance, {_BIN_MS:g} ms a bin. One neuron leaves the middle "
         "empty.",
         draw_autocorrelograms(result, trains))]
    if 1 < result.num_units <= ALL_PAIRS_UNITS:
        drawn.append(("Cross-correlograms", "Spikes of the unit of the column around those of the unit of the row. A "
                      "hole in the middle that no autocorrelogram has: one neuron that was split. A narrow peak: one "
                      "fires with the other, or two units share spikes.", draw_all_pairs(result, trains)))
    elif result.num_units > ALL_PAIRS_UNITS:
        excess = excess_coincidences(trains, result.recording_samples, result.sampling_frequency)
        drawn += [
            ("Coincidences", "Pairs of spikes within 1 ms, less those that independent units would give, over the root "
             "of these. Blue: one hides the other, or one neuron was split. Red: they fire together, or share spikes.",
             draw_coincidences(excess)),
            ("Cross-correlograms", "Of the pairs that stand out most above.", draw_pairs(result, trains, excess))]
    if result.channel_locations is not None and result.templates.shape[2] > 1:
        drawn.append(("Probe", "Channels, and each unit where the energy of its template has its centre; the larger "
                      "the circle, the larger the template.", draw_probe(result)))
    return drawn


def spike_trains(result: SpikeSortingResult) -> list[np.ndarray]:
    """Sorted sample positions of each unit's spikes."""
    return [np.sort(result.spike_samples[result.spike_units == unit]) for unit in range(result.num_units)]


def plain_filter(result: SpikeSortingResult) -> Whitening:
    """From the recording to the signal that the templates are medians of: reference and band-pass, not whitened."""
    white, band = result.reader.whitening, result.settings.get("band")
    channels, taps = white.channels, np.ones(1)
    if band is not None:
        taps = band_pass(band, result.sampling_frequency, result.parameters.band_pass_periods)
    return Whitening(np.repeat(taps[:, None], channels, 1), np.eye(channels), white.offset, len(taps) // 2,
                     white.common_reference, white.blank_samples, white.blank_tolerance,
                     0 if band is None else len(taps))


def best_channels(templates: np.ndarray) -> np.ndarray:
    """Channel of each template's largest magnitude, (units,)."""
    return np.abs(templates).max(axis=1).argmax(axis=1)


def draw_waveforms(result: SpikeSortingResult, traces: Any) -> Figure:
    """Waveforms of single spikes on the unit's largest channel, a panel for each unit."""
    plain, (units, length, _) = plain_filter(result), result.templates.shape
    time = 1e3 * (np.arange(length) - result.nbefore) / result.sampling_frequency
    figure, axes = unit_panels(units, sharex=True)
    for unit, (axis, channel) in enumerate(zip(axes, best_channels(result.templates), strict=True)):
        start = result.spike_samples[result.spike_units == unit] - result.nbefore
        start = start[(start >= 0) & (start + length <= traces.shape[0])]
        chosen = start[np.unique(np.linspace(0, len(start) - 1, min(SHOWN_WAVEFORMS, len(start))).astype(int))]
        if len(chosen):
            waves = np.stack([plain(traces, int(at), int(at) + length)[:, channel] for at in chosen])
            axis.plot(time, waves.T, color=colour_of(unit), linewidth=0.5, alpha=0.25)
        axis.plot(time, result.templates[unit, :, channel], color="black", linewidth=1.4)
        axis.set_title(f"unit {unit}" + f", ch {channel}" * (result.templates.shape[2] > 1), fontsize=9)
    figure.supxlabel("time from the extremum (ms)", fontsize=9)
    figure.supylabel("amplitude (recording's unit)", fontsize=9)
    return figure


def _draw_bars(axis: Any, lags: np.ndarray, pairs: np.ndarray, colour: str) -> None:
    axis.bar(lags, pairs, width=lags[1] - lags[0], color=colour, linewidth=0)
    axis.set(xlim=(lags[0] - 0.5, lags[-1] + 0.5), ylim=(0, max(1, 1.08 * pairs.max())))
    axis.yaxis.get_major_locator().set_params(integer=True, nbins=3)
    axis.axvline(0, color="0.6", linewidth=0.6, zorder=0)


def draw_autocorrelograms(result: SpikeSortingResult, trains: list[np.ndarray]) -> Figure:
    """Distances between the spikes of a unit, a panel for each."""
    figure, axes = unit_panels(result.num_units, height=1.6, sharex=True)
    for unit, (axis, train) in enumerate(zip(axes, trains, strict=True)):
        _draw_bars(axis, *correlogram(train, train, result.sampling_frequency, _HALF_MS, _BIN_MS), colour_of(unit))
    figure.supxlabel("distance (ms)", fontsize=9)
    figure.supylabel("pairs", fontsize=9)
    return figure


def draw_all_pairs(result: SpikeSortingResult, trains: list[np.ndarray]) -> Figure:
    """Cross-correlograms of every two units, a row and a column for each; autocorrelograms on the diagonal."""
    units = len(trains)
    figure = new_figure(max(4.5, 1.35 * units), max(3.5, 1.1 * units))
    axes = figure.subplots(units, units, squeeze=False, sharex=True)
    for i, first in enumerate(trains):
        for j, second in enumerate(trains):
            _draw_bars(axes[i, j], *correlogram(first, first if i == j else second, result.sampling_frequency, _HALF_MS,
                                                _BIN_MS), colour_of(i) if i == j else GRAY)
            axes[i, j].tick_params(labelsize=6)
        axes[i, 0].set_ylabel(f"unit {i}", fontsize=8)
        axes[0, i].set_title(f"unit {i}", fontsize=8)
    figure.supxlabel("lag (ms)", fontsize=9)
    return figure


def draw_coincidences(excess: np.ndarray) -> Figure:
    """``excess_coincidences`` as an image."""
    units = len(excess)
    size = 2.2 + 0.12 * units
    figure = new_figure(size + 1.2, size)
    axis = figure.subplots()
    image = axis.imshow(excess, cmap="RdBu_r", vmin=-8, vmax=8, interpolation="nearest")
    every = 1 if units <= 20 else 4
    axis.set(xlabel="unit", ylabel="unit", xticks=range(0, units, every), yticks=range(0, units, every))
    axis.tick_params(labelsize=8)
    figure.colorbar(image, label="excess (standard deviations)", shrink=0.8)
    return figure


def draw_pairs(result: SpikeSortingResult, trains: list[np.ndarray], excess: np.ndarray) -> Figure:
    """Cross-correlograms of the pairs whose coincidences differ most from chance."""
    rows, columns = np.triu_indices(len(trains), 1)
    order = np.argsort(-np.abs(excess[rows, columns]), kind="stable")[:_SHOWN_PAIRS]
    pairs = list(zip(rows[order].tolist(), columns[order].tolist(), strict=True))
    titles = [f"units {i} and {j}" for i, j in pairs]
    figure, axes = unit_panels(len(pairs), height=1.6, titles=titles, sharex=True)
    for axis, (i, j) in zip(axes, pairs, strict=True):
        _draw_bars(axis, *correlogram(trains[i], trains[j], result.sampling_frequency, _HALF_MS, _BIN_MS), GRAY)
    figure.supxlabel("lag (ms)", fontsize=9)
    figure.supylabel("pairs", fontsize=9)
    return figure


def unit_places(templates: np.ndarray, locations: np.ndarray) -> np.ndarray:
    """Centre of the energy of each template, (units, 2), in the unit of ``locations`` (channels, 2).

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting.report_units import unit_places
        >>> unit_places(np.array([[[1.0, 1.0, 0.0]]]), np.array([[0, 0], [0, 20], [0, 40]])).tolist()
        [[0.0, 10.0]]
    """
    energy = np.square(templates).sum(axis=1)
    return energy @ np.asarray(locations, float) / np.maximum(energy.sum(axis=1, keepdims=True), 1e-12)


def draw_probe(result: SpikeSortingResult) -> Figure:
    """Channels and units in the plane of the probe."""
    locations = np.asarray(result.channel_locations, float)[:, :2]
    places = unit_places(result.templates, locations)
    low, high = locations.min(axis=0), locations.max(axis=0)
    width, height = np.maximum(high - low, 1.0)
    tall = np.clip(8 * height / max(width, height) + 1, 3.5, 11)
    figure = new_figure(6.5, max(tall, min(11.0, 0.22 * result.num_units + 1)))
    axis = figure.subplots()
    axis.plot(*locations.T, "s", color="0.75", markersize=5, zorder=1)
    for channel, place in enumerate(locations):
        axis.annotate(str(channel), place, xytext=(-5, 0), textcoords="offset points", fontsize=6, color="0.45",
                      ha="right", va="center")
    size = np.abs(result.templates).max(axis=(1, 2))
    size = size / max(float(size.max()), 1e-12)
    margin = 0.1 * max(width, height)
    labels = spread(places[:, 1], (height + margin) / max(result.num_units, 25), low[1] - margin / 2,
                    high[1] + margin / 2)
    right = high[0] + 0.35 * max(width, 0.25 * height) + margin / 2
    for unit, (place, label) in enumerate(zip(places, labels, strict=True)):
        axis.plot([place[0], right], [place[1], label], color=colour_of(unit), linewidth=0.5, alpha=0.6)
        axis.plot(*place, "o", color=colour_of(unit), markersize=4 + 9 * size[unit], alpha=0.75)
        axis.annotate(f" {unit}", (right, label), fontsize=7, color="black", va="center")
    axis.set(xlabel="x (µm)", ylabel="y (µm)", ylim=(low[1] - margin, high[1] + margin),
             xlim=(low[0] - 0.3 * max(width, 0.25 * height) - margin / 2, right + margin))
    return figure


def spread(values: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Positions near ``values``, in their order, at least ``gap`` apart, within [low, high] where they fit.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting.report_units import spread
        >>> spread(np.array([5.0, 5.0, 0.0]), gap=2.0, low=0.0, high=8.0).tolist()
        [5.0, 7.0, 0.0]
    """
    order = np.argsort(values, kind="stable")
    out = np.array(values, float)
    before = low - gap
    for row in order:
        before = out[row] = max(out[row], before + gap)
    after = max(high, low + gap * (len(values) - 1)) + gap
    for row in order[::-1]:
        after = out[row] = min(out[row], after - gap)
    return out
