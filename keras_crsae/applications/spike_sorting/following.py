"""Spikes of a recording whose waveforms change slowly: templates that follow them (NumPy)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from crsae_onnx.core.progress import Progress, progress_bar
from crsae_onnx.core.spikes.detector import SpikeReader, Spikes
from crsae_onnx.core.spikes.template_matching import MatchedSpikes
from crsae_onnx.core.validation import as_positive

from keras_crsae.applications.spike_sorting.matching import (
    UnitSpikes,
    linear_algebra_threads,
    mean_waveforms,
    residual,
)
from keras_crsae.applications.spike_sorting.median_waveforms import median_waveforms
from keras_crsae.applications.spike_sorting.motion import FOLLOW_STEP, MOTION_WAS_TAKEN_OUT
from keras_crsae.applications.spike_sorting.parameters import SortingParameters
from keras_crsae.applications.spike_sorting.recording import (
    Recording,
    as_recording,
    inside_segments,
    segment_message,
)
from keras_crsae.applications.spike_sorting.recording_view import is_recording
from keras_crsae.applications.spike_sorting.refinement import estimate_spike_prior
from keras_crsae.applications.spike_sorting.regrouping import plain_whitening
from keras_crsae.applications.spike_sorting.result import SpikeSortingResult
from keras_crsae.applications.spike_sorting.templates import (
    as_kernel,
    low_rank_templates,
    template_norms,
    wiener_shrink,
)
from keras_crsae.applications.spike_sorting.training import with_filters

#: Frames whose whitened signal is in memory together.
_FRAMES_TOGETHER = 8
_NO_SPIKES = MatchedSpikes(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
#: Changes of an amplitude, as a fraction, that a message names.
_REPORTED_CHANGE = 0.1


@dataclass(frozen=True)
class FollowParameters:
    """How quickly templates follow.

    Raises:
        ValueError: a field that is not a positive number.
    """

    window_seconds: float = 30.0  #: of the recording that is searched with the same templates
    memory_spikes: float = 300.0  #: that the template before a window counts for, at most, beside those of the window
    first_spikes: float = 75.0  #: that the template of the result counts for at the beginning

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, as_positive(getattr(self, field.name), field.name))


class _Means(NamedTuple):
    """Running means of the spikes of each unit, every other spike subtracted."""

    waveforms: np.ndarray  #: (units, kernel_size, channels), whitened
    counts: np.ndarray  #: (units,), spikes that each is the mean of
    amplitude_cv: np.ndarray  #: (units,), coefficient of variation of their amplitudes


def follow(result: SpikeSortingResult, recording: Any, *, parameters: FollowParameters | None = None,
           progress: bool | Progress | None = None) -> SpikeSortingResult:
    """The spikes of a recording whose waveforms change slowly, found with templates that change with them.

    The recording is searched window by window. After each one, the template of every unit is the mean of its latest
    spikes, denoised as in ``sort``. So amplitudes and shapes may change as far as they like, if not within a minute.
    The recording is the one that was sorted, or a later one of the same electrodes: a session of days is sorted once
    and followed from file to file. Units that were not there before are not found.

    Args:
        result: of ``sort``, ``load_result`` or ``follow``.
        recording: as ``sort`` takes it, of the same channels.
        parameters: ``FollowParameters``.
        progress: True: a bar (lines where no terminal is); or ``callable(step, fraction)``.

    Returns:
        ``SpikeSortingResult`` of the recording. Its reader and its model hold the templates as they were at the end,
        for what comes next. Its messages are of this recording; noise, rates and settings are those of the first.

    Raises:
        ValueError: a recording of other channels or another sampling frequency, or a probe whose motion was taken out.

    Example:
        >>> from keras_crsae.applications import spike_sorting
        >>> from keras_crsae.data.simulate import simulate_spikes, spike_templates
        >>> truth = spike_templates(kernel_size=24, filters=2, seed=3)
        >>> traces = simulate_spikes(truth, windows=1, samples=60_000, events_per_window=80, amplitude=(16.0, 1.0),
        ...                          refractory=30, seed=1).signal[0]
        >>> first = spike_sorting.sort(traces[:30_000], sampling_frequency=10000, seed=0, epochs=0)
        >>> second = spike_sorting.follow(first, traces[30_000:] * 0.9)
        >>> second.num_units, second.recording_samples
        (2, 30000)
    """
    checked = as_recording(recording, None if is_recording(recording) else result.sampling_frequency,
                           None if is_recording(recording) else result.channel_locations)
    if checked.channel_locations is None:  # the same electrodes
        checked = checked._replace(channel_locations=result.channel_locations)
    _check(result, checked)
    result = dataclasses.replace(result, messages=segment_message(checked.segments))
    with progress_bar(progress, (FOLLOW_STEP,)) as report:
        return follow_checked(result, checked, parameters, lambda fraction: report(FOLLOW_STEP, fraction))


def follow_checked(result: SpikeSortingResult, recording: Recording, parameters: FollowParameters | None = None,
                   progress: Callable[[float], object] | None = None) -> SpikeSortingResult:
    """``follow`` in a recording that ``as_recording`` gave."""
    parameters = FollowParameters() if parameters is None else parameters
    traces, reader, encode, workers = recording.traces, result.reader, result.model.encode, linear_algebra_threads()
    frames = -(-traces.shape[0] // reader.frame_samples)
    together = max(1, round(parameters.window_seconds * result.sampling_frequency / reader.frame_samples))
    # Those of another day, or of the mean over a day: the beginning is learned before it is searched.
    means = _Means(np.moveaxis(reader.kernel * reader.mean_amplitude, -1, 0),
                   np.full(result.num_units, parameters.first_spikes),
                   np.minimum(reader.amplitude_cv, result.parameters.maximum_amplitude_cv))
    _, seen = _search(reader, encode, traces, range(min(together, frames)), result.parameters, workers)
    reader = _followed(reader, _updated(means, seen, parameters.memory_spikes))
    latest: dict[int, int] = {}
    found, sizes = [], []
    for first in range(0, frames, together):
        window = range(first, min(first + together, frames))
        parts, seen = _search(reader, encode, traces, window, result.parameters, workers)
        found.append(reader.join(parts, latest, traces.shape[0]))
        means = _updated(means, seen, parameters.memory_spikes)
        reader = _followed(reader, means)
        sizes.append(reader.mean_amplitude)
        if progress is not None:
            progress(window.stop / frames)
    spikes = Spikes(*map(np.concatenate, zip(*found, strict=True)))
    order = np.lexsort((spikes.unit_id, spikes.peak_sample))
    spikes = Spikes(spikes.peak_sample[order], spikes.unit_id[order], spikes.peak_value[order])
    spikes = inside_segments(spikes, recording.segments)
    return _result(result, reader, spikes, recording, np.stack(sizes))


def _check(result: SpikeSortingResult, recording: Recording) -> None:
    """Refuse a recording that the result's templates cannot be followed in."""
    if result.motion is not None:
        raise ValueError(MOTION_WAS_TAKEN_OUT)
    channels, frequency = recording.traces.shape[1], recording.sampling_frequency
    expected = result.templates.shape[2]
    if channels != expected or not np.isclose(frequency, result.sampling_frequency):
        raise ValueError(f"Expected a recording of the electrodes that were sorted: {expected} channels at "
                         f"{result.sampling_frequency:g} Hz. Received: {channels} channels at {frequency:g} Hz.")
    result.reader.check(recording.traces)


def _search(reader: SpikeReader, encode: Any, traces: Any, frames: Sequence[int], parameters: SortingParameters,
            workers: int) -> tuple[list[MatchedSpikes], _Means]:
    """(spikes of the frames, means of their waveforms); one frame's spikes are one part."""
    units, size = len(reader.mean_amplitude), len(reader.kernel)
    templates = np.moveaxis(reader.kernel * reader.mean_amplitude, -1, 0)
    total, counts, parts = np.zeros(templates.shape), np.zeros(units), []
    for first in range(0, len(frames), _FRAMES_TOGETHER):
        some = frames[first:first + _FRAMES_TOGETHER]
        found = reader.match_frames(encode, traces, some, workers)
        parts += found
        if not found:
            continue
        low, high = some[0] * reader.frame_samples, (some[-1] + 1) * reader.frame_samples
        start, unit, amplitude = map(np.concatenate, zip(*found, strict=True))
        order = np.argsort(start, kind="stable")
        spikes = UnitSpikes(templates, start[order] - low, unit[order], amplitude[order])
        white = reader.whitening(traces, low, high + size)
        total += mean_waveforms(residual(white, spikes), spikes) * spikes.counts[:, None, None]
        counts += spikes.counts
    every = UnitSpikes(templates, *(np.concatenate(part) for part in zip(_NO_SPIKES, *parts, strict=True)))
    variation, _ = estimate_spike_prior(every, len(frames) * reader.frame_samples, reader.amplitude_cv, parameters)
    return parts, _Means((total / np.maximum(counts, 1)[:, None, None]).astype(np.float32), counts, variation)


def _updated(means: _Means, latest: _Means, memory: float) -> _Means:
    """Means of the spikes that are remembered, and the latest."""
    kept = np.minimum(means.counts, memory)
    counts = kept + latest.counts
    weight = latest.counts / counts
    variance = (1 - weight) * np.square(means.amplitude_cv) + weight * np.square(latest.amplitude_cv)
    weight = weight[:, None, None]
    return _Means((1 - weight) * means.waveforms + weight * latest.waveforms, counts, np.sqrt(variance))


def _followed(reader: SpikeReader, means: _Means) -> SpikeReader:
    """The reader with the means, denoised, as its templates."""
    white = low_rank_templates(wiener_shrink(means.waveforms, means.counts), means.counts)
    lost = ~white.any(axis=(1, 2), keepdims=True)
    white = np.where(lost, np.moveaxis(reader.kernel * reader.mean_amplitude, -1, 0), white)
    norms = template_norms(white)
    change = norms / reader.mean_amplitude
    return SpikeReader(reader.whitening, as_kernel(white), norms, means.amplitude_cv, reader.log_odds_against,
                       reader.peak_offset, reader.peak_value * change, reader.sampling_frequency, reader.refractory_s,
                       reader.frame_samples, reader.penalty_weight, reader.least_amplitude * change)


def _result(result: SpikeSortingResult, reader: SpikeReader, spikes: Spikes, checked: Recording, sizes: np.ndarray
            ) -> SpikeSortingResult:
    """The result of the followed recording; ``sizes``: (windows, units), norms of the templates."""
    shown = median_waveforms(checked.traces, plain_whitening(result), spikes, result.num_units, result.nbefore,
                             result.templates.shape[1], result.parameters.template_spikes)
    shown = np.where(shown.any(axis=(1, 2), keepdims=True), shown, result.templates)  # of a unit that was silent
    rates = np.broadcast_to(np.asarray(result.model.lambda_reg), result.num_units).tolist()
    ratio = sizes[-1] / sizes[0]
    changed = [f"unit {unit} by {ratio[unit] - 1:+.0%}" for unit in np.argsort(-np.abs(np.log(ratio)), kind="stable")
               if abs(ratio[unit] - 1) > _REPORTED_CHANGE]
    message = f"Templates followed the spikes, in {len(sizes)} windows. " + (
        "Amplitudes changed from the first to the last: " + ", ".join(changed) + "." if changed else
        f"No amplitude changed by more than {_REPORTED_CHANGE:.0%} from the first to the last.")
    segments = checked.segments
    return dataclasses.replace(
        result, spike_samples=spikes.peak_sample, spike_units=spikes.unit_id, spike_amplitudes=spikes.peak_value,
        templates=shown, model=with_filters(result.model, reader.kernel, rates), reader=reader,
        messages=[*result.messages, message], channel_locations=checked.channel_locations,
        recording_samples=checked.traces.shape[0], segments=segments if len(segments) > 1 else None)
