"""A result whose spikes are grouped into other units: units merged, split or removed after sorting."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from crsae_onnx.core.spikes.correlations import gram
from crsae_onnx.core.spikes.detector import SpikeReader, Spikes
from crsae_onnx.core.spikes.whitening import Whitening

from keras_crsae.applications.spike_sorting.median_waveforms import median_waveforms
from keras_crsae.applications.spike_sorting.motion import sorted_traces
from keras_crsae.applications.spike_sorting.noise import band_pass
from keras_crsae.applications.spike_sorting.result import SpikeSortingResult
from keras_crsae.applications.spike_sorting.spike_waveforms import spike_waveforms
from keras_crsae.applications.spike_sorting.templates import as_kernel, template_norms, wiener_shrink
from keras_crsae.applications.spike_sorting.training import with_filters

#: Spikes of a part of a unit that its template is the mean of.
_MEAN_SPIKES = 1500


class _Unit(NamedTuple):
    """What the reader and the result know of one unit."""

    white: np.ndarray  #: (kernel_size, channels), mean whitened waveform
    shown: np.ndarray  #: (time, channels), in the recording's unit
    amplitude_cv: float
    log_odds_against: float
    peak_offset: int
    peak_value: float
    rate: float  #: lambda of the filter
    penalty_weight: float
    least_amplitude: float


def regroup(result: SpikeSortingResult, groups: Sequence[np.ndarray], recording: Any = None) -> SpikeSortingResult:
    """The result with one unit for each group of spikes; spikes in no group are dropped.

    The templates of merged units are averaged, those of a part of a unit are the mean of its spikes in the recording.
    Model and reader follow, so that the new units are found in other recordings.

    Args:
        result: of ``sort``.
        groups: each int, rows of ``result.spike_samples``; a row is in one group at most.
        recording: the one that was sorted; needed where a group is a part of a unit.

    Raises:
        ValueError: a part of a unit without the recording, a recording of another shape, no group, or an empty one.
    """
    groups = [np.sort(np.asarray(group, np.int64)) for group in groups]
    if not groups or not all(map(len, groups)):
        raise ValueError("No spikes would be left" + (" of a unit." if groups else ".") + " Keep some of each unit.")
    traces = None if recording is None else sorted_traces(result, recording)
    units, shifts = [], np.zeros(len(result.spike_samples), np.int64)
    for rows in groups:
        unit, moved = _new_unit(result, rows, traces)
        units.append(unit)
        shifts[rows] = moved
    label = np.full(len(shifts), -1)
    for new, rows in enumerate(groups):
        label[rows] = new
    samples = np.clip(result.spike_samples + shifts, 0, result.recording_samples - 1)
    kept = np.flatnonzero(label >= 0)
    kept = kept[np.lexsort((label[kept], samples[kept]))]
    spikes = Spikes(samples[kept], label[kept], result.spike_amplitudes[kept])
    shown = np.stack([unit.shown for unit in units])
    if traces is not None:
        shown = median_waveforms(traces, plain_whitening(result), spikes, len(units), result.nbefore, shown.shape[1],
                                 result.parameters.template_spikes)
    reader = _reader(result.reader, units)
    return dataclasses.replace(
        result, spike_samples=spikes.peak_sample, spike_units=spikes.unit_id, spike_amplitudes=spikes.peak_value,
        templates=shown, model=with_filters(result.model, reader.kernel, [unit.rate for unit in units]), reader=reader,
        messages=list(result.messages))


def plain_whitening(result: SpikeSortingResult) -> Whitening:
    """From the recording to the signal that ``result.templates`` are of: referenced and band-passed, not whitened."""
    white, channels, band = result.reader.whitening, result.templates.shape[2], result.settings["band"]
    blanks = {"blank_samples": white.blank_samples, "blank_tolerance": white.blank_tolerance}
    if band is None:
        return Whitening(np.ones((1, channels)), np.eye(channels), white.offset, 0, white.common_reference, **blanks)
    taps = band_pass(band, result.sampling_frequency, result.parameters.band_pass_periods)
    return Whitening(np.repeat(taps[:, None], channels, 1), np.eye(channels), white.offset, len(taps) // 2,
                     white.common_reference, fall_samples=len(taps), **blanks)


def _new_unit(result: SpikeSortingResult, rows: np.ndarray, traces: Any) -> tuple[_Unit, np.ndarray]:
    """(unit, samples by which each of its spikes moves)."""
    of, counts = np.unique(result.spike_units[rows], return_counts=True)
    whole = bool(np.all(counts == np.bincount(result.spike_units, minlength=result.num_units)[of]))
    if whole and len(of) == 1:
        return _unit(result, int(of[0])), np.zeros(len(rows), np.int64)
    if whole:
        return _merge(result, of, counts, result.spike_units[rows])
    if traces is None:
        raise ValueError("A unit is split, and the template of each part is the mean of its spikes. Give the recording "
                         "that was sorted: recording=...")
    if len(of) > 1:
        raise ValueError(f"A part of a unit is joined with another one: units {of.tolist()}. Split first, then merge "
                         "the result.")
    return _part(result, int(of[0]), rows, traces), np.zeros(len(rows), np.int64)


def _unit(result: SpikeSortingResult, unit: int) -> _Unit:
    reader, rates = result.reader, np.asarray(result.model.lambda_reg)
    rate = float(rates[min(unit, len(rates) - 1)])
    weight = rate if reader.penalty_weight is None else float(reader.penalty_weight[unit])
    return _Unit(reader.kernel[:, :, unit] * reader.mean_amplitude[unit], result.templates[unit],
                 float(reader.amplitude_cv[unit]), float(reader.log_odds_against[unit]),
                 int(reader.peak_offset[unit]), float(reader.peak_value[unit]), rate, weight,
                 float(reader.least_amplitude[unit]))


def _merge(result: SpikeSortingResult, of: np.ndarray, counts: np.ndarray, labels: np.ndarray
           ) -> tuple[_Unit, np.ndarray]:
    """Units joined: the mean of their templates, each at its best lag to the one with most spikes."""
    parts, weights = [_unit(result, int(unit)) for unit in of], counts / counts.sum()
    first, size = int(counts.argmax()), len(result.reader.kernel)
    lags = gram(result.reader.kernel[:, :, of])[first].argmax(axis=1) - (size - 1)
    white = sum(weight * _shifted(part.white, int(lag)) for weight, part, lag in zip(weights, parts, lags, strict=True))
    norms, norm = template_norms(np.stack([part.white for part in parts])), float(np.linalg.norm(white))
    deviation = np.array([part.amplitude_cv for part in parts]) * norms
    variance = weights @ (np.square(deviation) + np.square(norms - norm))
    moved = np.array([parts[first].peak_offset - part.peak_offset - lag
                      for part, lag in zip(parts, lags, strict=True)], np.int64)
    mean = parts[first]._replace(
        white=np.asarray(white), shown=sum(weight * part.shown for weight, part in zip(weights, parts, strict=True)),
        amplitude_cv=math.sqrt(variance) / norm,
        log_odds_against=-float(np.logaddexp.reduce([-part.log_odds_against for part in parts])),
        peak_value=float(weights @ [part.peak_value for part in parts]),
        least_amplitude=min(part.least_amplitude for part in parts))
    return mean, moved[np.searchsorted(of, labels)]


def _shifted(template: np.ndarray, lag: int) -> np.ndarray:
    """A template (time, channels) later by ``lag`` samples, filled with zeros."""
    out = np.zeros_like(template)
    if lag >= 0:
        out[lag:] = template[:len(template) - lag]
    else:
        out[:lag] = template[-lag:]
    return out


def _part(result: SpikeSortingResult, unit: int, rows: np.ndarray, traces: Any) -> _Unit:
    whole, total = _unit(result, unit), np.sum(result.spike_units == unit)
    some = rows if len(rows) <= _MEAN_SPIKES else rows[np.linspace(0, len(rows) - 1, _MEAN_SPIKES).astype(int)]
    mean = spike_waveforms(result, traces, some).mean(axis=0)
    reached = result.reader.kernel[:, :, unit].any(axis=0)
    white = wiener_shrink(mean[None] * reached, [len(some)])[0]
    if not white.any():
        white = mean
    scale = float(np.linalg.norm(white) / np.linalg.norm(whole.white))
    return whole._replace(white=white, shown=whole.shown * scale, peak_value=whole.peak_value * scale,
                          log_odds_against=whole.log_odds_against + math.log(total / len(rows)), least_amplitude=0.0)


def _reader(reader: SpikeReader, units: list[_Unit]) -> SpikeReader:
    white = np.stack([unit.white for unit in units])

    def column(name: str) -> np.ndarray:
        return np.array([getattr(unit, name) for unit in units])

    return SpikeReader(reader.whitening, as_kernel(white), template_norms(white), column("amplitude_cv"),
                       column("log_odds_against"), column("peak_offset"), column("peak_value"),
                       reader.sampling_frequency, reader.refractory_s, reader.frame_samples,
                       None if reader.penalty_weight is None else column("penalty_weight"), column("least_amplitude"))
