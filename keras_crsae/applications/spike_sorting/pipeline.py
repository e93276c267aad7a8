"""Spike sorting: templates and spike times from an extracellular recording."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, Unpack

import numpy as np
from crsae_onnx.core.progress import Progress, progress_bar
from crsae_onnx.core.spikes.detector import SpikeReader
from crsae_onnx.core.spikes.whitening import Whitening
from crsae_onnx.core.validation import as_positive_int

from keras_crsae.applications.spike_sorting.background import least_amplitudes
from keras_crsae.applications.spike_sorting.discovery import WaveformSpan, discover_units
from keras_crsae.applications.spike_sorting.following import follow_checked
from keras_crsae.applications.spike_sorting.inspection import Inspection, NoSpikesError, inspect_recording, joined
from keras_crsae.applications.spike_sorting.matching import (
    linear_algebra_threads,
    match_templates,
    one_thread_each,
    searching_with,
)
from keras_crsae.applications.spike_sorting.median_waveforms import median_waveforms
from keras_crsae.applications.spike_sorting.motion import (
    FOLLOW,
    FOLLOW_STEP,
    MOTION_STEP,
    check_motion,
    estimate_motion,
    motion_steps,
    without_motion,
)
from keras_crsae.applications.spike_sorting.noise import (
    channel_noise,
    erode,
    filter_radius,
    filter_time,
    in_one,
    prediction_filters,
    referenced_noise,
    space_mixing,
    thinned,
    whitening_order,
)
from keras_crsae.applications.spike_sorting.parameters import (
    DEFAULTS,
    STEPS,
    SortingOptions,
    SortingParameters,
    with_options,
)
from keras_crsae.applications.spike_sorting.recording import (
    Recording,
    as_recording,
    check_options,
    inside_segments,
    segment_message,
)
from keras_crsae.applications.spike_sorting.refinement import RefinedUnits, refine_templates
from keras_crsae.applications.spike_sorting.result import SpikeSortingResult
from keras_crsae.applications.spike_sorting.templates import as_kernel, template_norms, waveforms
from keras_crsae.applications.spike_sorting.training import held_out_gain, train_model, with_filters
from keras_crsae.applications.spike_sorting.turns import merge_turns, merge_turns_in_time

#: Samples whose channels are mixed together: few enough for the cache.
_MIXED_SAMPLES = 1 << 12


def sort(recording: Any, sampling_frequency: float | None = None, units: int | None = None, *,
         band: Sequence[float] | None = None, common_reference: bool = False, channel_locations: Any = None,
         motion: str | None = None, seed: int = 0, parameters: SortingParameters = DEFAULTS,
         progress: bool | Progress | None = None, **options: Unpack[SortingOptions]) -> SpikeSortingResult:
    """Sort the spikes of a recording.

    The noise is estimated and whitened over time and channels; waveforms are detected, clustered, split and merged
    into units; a ``CRsAE`` starts from their templates and is trained by EM (``fit``) on active windows; the whole
    recording is encoded frame by frame, in constant memory; the code's local maxima are refined into spikes
    (``crsae_onnx.core.spikes.template_matching``).

    Args:
        recording: (samples, channels) or (samples,), any real dtype: an array, memmap, or any object with ``shape``
            and time slices; or a SpikeInterface recording, whose segments are sorted together: ``spike_samples`` then
            count the samples of the segments joined with 20 ms between two, ``segments`` of the result says where
            each lies, and ``sorting`` has them apart. NaN samples mark gaps; stretches that
            are constant or a straight line (blanked, saturated) are left out like them.
        sampling_frequency: Hz; None: the SpikeInterface recording's.
        units: None: chosen from the data; or the largest number of units, of which the most energetic are kept.
        band: (low, high) in Hz of a band-pass filter applied first, e.g. (300, 6000) for raw recordings; None: none.
        common_reference: subtract the median over channels first.
        channel_locations: (channels, 2), micrometres, for reports and motion; None: the SpikeInterface recording's.
        motion: None; "estimate": the motion of the probe is estimated first and taken out, by SpikeInterface's
            ``compute_motion`` and ``InterpolateMotionRecording``; or the name of one of its presets. ``motion`` of the
            result is the estimate; in another recording the spikes are found once its own motion is taken out.
            "follow": the templates change with the spikes (``follow``), for amplitudes that change slowly, as on a
            tetrode that moves.
        seed: int; the same seed and machine give the same result.
        parameters: tuning constants.
        progress: True: a bar (lines where no terminal is); or ``callable(step, fraction)``: the name of a step (one of
            ``STEPS``, with details after a comma) and the fraction of it that is done.
        **options: the constants that are turned most, by a short name, in place of those of ``parameters``:
            ``threshold`` (noise standard deviations that an extremum must exceed to start a unit; 4),
            ``amplitude_variation`` (coefficient of variation of a unit's amplitudes, at most; 0.1), ``epochs`` (of
            training; 3, if it promises something) and ``learning_seconds`` (of the recording that is learned from;
            120).

    Returns:
        ``SpikeSortingResult``.

    Raises:
        ValueError: invalid recording or option, before work starts.
        NoSpikesError: no unit exceeds the noise, or no channel holds noise.

    Example:
        >>> from keras_crsae.applications import spike_sorting
        >>> from keras_crsae.data.simulate import simulate_spikes, spike_templates
        >>> truth = spike_templates(kernel_size=24, filters=2, seed=3)
        >>> traces = simulate_spikes(truth, windows=1, samples=30_000, events_per_window=40, amplitude=(16.0, 1.0),
        ...                          refractory=30, seed=1).signal[0]                    # (samples, channels)
        >>> result = spike_sorting.sort(traces, sampling_frequency=10000, seed=0,
        ...                             parameters=spike_sorting.SortingParameters(epochs=1))
        >>> result.num_units, result.templates.shape[2]
        (2, 1)
        >>> spikes_of_unit_0 = result.spike_samples[result.spike_units == 0]
    """
    parameters = with_options(parameters, **options)
    checked = as_recording(recording, sampling_frequency, channel_locations)
    edges = None if band is None else [float(edge) for edge in band]
    taps = check_options(checked, edges, common_reference, parameters)
    units = None if units is None else as_positive_int(units, "units")
    settings = {"units": units, "band": edges, "common_reference": bool(common_reference), "motion": motion,
                "seed": int(seed)}
    preset = check_motion(motion, checked.channel_locations)
    with progress_bar(progress, motion_steps(motion, STEPS)) as report, searching_with(linear_algebra_threads()):
        if preset is None:
            result = _sort(checked, units, taps, settings, parameters, report)
            return result if motion != FOLLOW else follow_checked(
                merge_turns_in_time(result), checked, progress=lambda fraction: report(FOLLOW_STEP, fraction))
        report(MOTION_STEP, 0.0)
        moved = estimate_motion(recording, checked, preset, edges)
        still = as_recording(without_motion(recording, moved, sampling_frequency, channel_locations), None,
                             checked.channel_locations)
        result = merge_turns(_sort(still, units, taps, settings, parameters, report), moved)
        return dataclasses.replace(result, motion=moved, messages=[moved.message, *result.messages])


def _sort(recording: Recording, units: int | None, taps: np.ndarray | None, settings: dict[str, Any],
          parameters: SortingParameters, report: Progress) -> SpikeSortingResult:
    """``sort`` of checked arguments; ``taps`` of the band-pass filter."""
    frequency, seed = recording.sampling_frequency, settings["seed"]
    report("inspect the recording", 0.0)
    signal, white, plain, whitening, noise, detection_noise, messages = _whiten(
        recording, taps, settings["common_reference"], parameters)
    span, shown = _spans(frequency, whitening, taps, parameters)

    report("find units", 0.0)
    templates, dropped = discover_units(
        signal, white, frequency, span, noise=detection_noise, seed=seed, parameters=parameters,
        progress=lambda text, fraction: report(f"find units, {text}", fraction))
    if not len(templates):
        raise NoSpikesError("No repeating waveform exceeds the noise: extrema must pass "
                            f"{parameters.detection_threshold_sd:g} noise standard deviations, at least "
                            f"{parameters.minimum_spikes} times, and whitened waveforms {parameters.minimum_norm_sd:g}."
                            " Check the recording's unit and band, use a longer stretch, or filter it: "
                            "band=(300, 6000).")
    templates, limited = _keep_strongest(templates, units, white, span.refractory, parameters)

    report("train, the first step takes longest", 0.0)
    spikes = match_templates(white, templates, span.refractory, parameters.initial_amplitude_cv,
                             parameters.initial_log_odds_against_nats)
    gain = held_out_gain(spikes, white) if parameters.epochs else 0.0
    model, history = train_model(templates, white, parameters, seed, lambda fraction: report("train", fraction), gain)
    # On the channels of the templates: training spreads noise over all of a wide probe.
    filters = np.moveaxis(model.dictionary.kernel.numpy(), -1, 0) * np.any(templates, axis=1, keepdims=True)
    refined = refine_templates(filters * template_norms(templates)[:, None, None], white, span.refractory, parameters,
                               lambda fraction: report("refine templates", fraction),
                               first=None if history else spikes)
    rates = np.broadcast_to(np.asarray(model.lambda_reg), len(templates))
    refined, found = refined.without_silent()  # others may have taken all spikes of a unit
    if not len(found):
        raise NoSpikesError("No spike is left of any unit: their waveforms may be artefacts.")
    if len(found) < len(templates):
        model = with_filters(model, as_kernel(refined.templates), rates[found].tolist())
    penalty_weight = rates[found] * float(np.square(model.sigma))
    least, smaller = least_amplitudes(refined.spikes, parameters)
    reader = _spike_reader(refined, signal, whitening, frequency, span.refractory, shown, penalty_weight, least)
    model.set_dictionary(reader.kernel)

    workers = linear_algebra_threads()
    with one_thread_each(workers):
        spikes = inside_segments(reader.find(model.encode, recording.traces, lambda done, total: report(
            f"find spikes, {done} of {total} frames", done / total), workers), recording.segments)
    medians = median_waveforms(recording.traces, plain, spikes, len(refined.templates), span.before, shown,
                               parameters.template_spikes)
    return SpikeSortingResult(
        *spikes, medians, span.before, frequency, model, reader,
        settings, parameters, segment_message(recording.segments) + messages + dropped + limited + smaller, history,
        recording.channel_locations, recording.traces.shape[0], noise,
        recording.segments if len(recording.segments) > 1 else None)


class _Whitened(NamedTuple):
    """The stretches to learn from, and what was estimated on them."""

    signal: np.ndarray  #: (samples, channels), referenced and band-passed
    white: np.ndarray  #: the same, whitened
    plain: Whitening  #: from the recording to ``signal``
    whitening: Whitening  #: from the recording to ``white``
    noise: np.ndarray  #: (channels,) standard deviations in ``signal``, before rounding
    detection_noise: np.ndarray  #: the same with the noise of rounding
    messages: list[str]


def _whiten(recording: Recording, taps: np.ndarray | None, common_reference: bool, parameters: SortingParameters
            ) -> _Whitened:
    traces, channels = recording.traces, recording.traces.shape[1]
    found = inspect_recording(traces, recording.sampling_frequency, parameters)
    blanks: dict[str, Any] = {"blank_samples": found.blank_samples, "blank_tolerance": found.blank_tolerance}
    plain = Whitening(np.ones((1, channels)), np.eye(channels), found.offset, 0, common_reference, **blanks)
    if taps is not None:
        plain = Whitening(np.repeat(taps[:, None], channels, 1), np.eye(channels), found.offset, len(taps) // 2,
                          common_reference, fall_samples=len(taps), **blanks)
    # The recording is read, and filtered, once: whitening goes on from that, and needs some samples before a stretch.
    order = whitening_order(recording.sampling_frequency, parameters)
    longer = [plain(traces, low - order, high) for low, high in found.stretches]
    signal = joined([stretch[order:] for stretch in longer])
    holds = found.holds_noise if taps is None else erode(found.holds_noise, filter_radius(taps))
    noise, detection_noise = _noise(signal, holds, found, taps is not None, common_reference)
    predict, quiet = prediction_filters(signal, recording.sampling_frequency, parameters, noise=detection_noise,
                                        holds_noise=holds)
    white = joined([filter_time(stretch, predict, order) for stretch in longer])
    mixing = space_mixing(white, predict, holds, quiet)
    whitening = in_one(predict, mixing, offset=found.offset, band=taps, common_reference=common_reference, **blanks)
    _mix(white, mixing)
    # What remains of a spike where a channel is blanked looks like another unit.
    signal[~found.learn], white[~found.learn] = 0, 0
    return _Whitened(signal, white, plain, whitening, noise, detection_noise, found.messages)


def _mix(white: np.ndarray, mixing: np.ndarray) -> None:
    """Multiply a signal (samples, channels) by ``mixing`` from the right, in place."""
    for start in range(0, len(white), _MIXED_SAMPLES):
        white[start:start + _MIXED_SAMPLES] = white[start:start + _MIXED_SAMPLES] @ mixing


def _noise(signal: np.ndarray, holds_noise: np.ndarray, found: Inspection, filtered: bool, common_reference: bool
           ) -> tuple[np.ndarray, np.ndarray]:
    """(noise before rounding, noise to detect spikes in), (channels,) each; 0 marks a dead channel."""
    std, step = (np.array([getattr(level, name) for level in found.levels], signal.dtype) for name in ("std", "step"))
    if filtered:  # a filter makes many values of few, and rounding a part of the noise
        noise = detection = channel_noise(thinned(signal), thinned(holds_noise))
    else:
        noise = referenced_noise(signal, holds_noise, found.levels) if common_reference else std
        # Rounding adds the variance of a uniform distribution.
        detection = np.where(step > 0, np.sqrt(np.square(noise) + np.square(step) / 12), noise)
    return np.where(std > 0, noise, 0), np.where(std > 0, detection, 0)


def _spans(sampling_frequency: float, whitening: Whitening, taps: np.ndarray | None, parameters: SortingParameters
           ) -> tuple[WaveformSpan, int]:
    """(lengths of whitened templates, samples of a template in the recording)."""
    before = max(2, parameters.samples(parameters.template_before_ms, sampling_frequency))
    shown = before + max(4, parameters.samples(parameters.template_after_ms, sampling_frequency))
    kernel_size = shown + len(whitening.taps) - (1 if taps is None else len(taps))
    refractory = parameters.samples(parameters.refractory_ms, sampling_frequency)
    return WaveformSpan(kernel_size, before, refractory), shown


def _keep_strongest(templates: np.ndarray, units: int | None, white: np.ndarray, refractory: int,
                    parameters: SortingParameters) -> tuple[np.ndarray, list[str]]:
    """(at most ``units`` templates, messages); those with the most energy in the recording are kept."""
    if units is None or len(templates) == units:
        return templates, []
    if len(templates) < units:
        return templates, [f"units={units}, but the recording has only {len(templates)} units that can be "
                           "distinguished from each other and from noise."]
    spikes = match_templates(white, templates, refractory, parameters.initial_amplitude_cv,
                             parameters.initial_log_odds_against_nats)
    energy = spikes.counts * np.square(template_norms(templates))
    keep = np.sort(np.argsort(-energy, kind="stable")[:units])
    return templates[keep], [f"{len(templates)} units were found, units={units}: those with the least energy (spikes "
                             "times squared norm) were dropped."]


def _spike_reader(refined: RefinedUnits, signal: np.ndarray, whitening: Whitening, sampling_frequency: float,
                  refractory: int, shown: int, penalty_weight: np.ndarray, least: np.ndarray) -> SpikeReader:
    """A ``SpikeReader`` of refined templates; ``signal`` (referenced and band-passed) gives their extrema.

    ``least``: smallest amplitude of each unit's spikes, as a fraction of its mean.
    """
    norms, spikes = template_norms(refined.templates), refined.spikes
    offset, peak = np.zeros(len(norms), np.int64), np.zeros(len(norms))
    for unit in range(len(norms)):
        start = spikes.start_sample[spikes.unit_id == unit]
        reached = np.flatnonzero(refined.templates[unit].any(axis=0))
        median = np.median(waveforms(signal, start[start + shown <= len(signal)], shown, reached), axis=0)
        offset[unit], channel = np.unravel_index(np.abs(median).argmax(), median.shape)
        peak[unit] = median[offset[unit], channel]
    return SpikeReader(whitening, as_kernel(refined.templates), norms, refined.amplitude_cv, refined.log_odds_against,
                       offset, peak, sampling_frequency, refractory / sampling_frequency,
                       penalty_weight=penalty_weight, least_amplitude=least * norms)
