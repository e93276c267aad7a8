"""Find the units of a whitened recording: rounds of matching, averaging, merging, splitting and pruning."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from crsae_onnx.core.progress import Progress

from keras_crsae.applications.spike_sorting.detection import cluster_waveforms, detect_extrema
from keras_crsae.applications.spike_sorting.matching import (
    UnitSpikes,
    match_templates,
    mean_waveforms,
    residual,
    select_units,
    subtract_others,
)
from keras_crsae.applications.spike_sorting.noise import channel_noise
from keras_crsae.applications.spike_sorting.parameters import DEFAULTS, SortingParameters
from keras_crsae.applications.spike_sorting.pruning import prune_units
from keras_crsae.applications.spike_sorting.splitting import merge_units, split_waveforms, time_courses
from keras_crsae.applications.spike_sorting.templates import (
    align_extrema,
    remove_duplicates,
    template_norms,
    wiener_shrink,
)

#: Waveforms of a unit that show what time courses there are.
_COURSE_WAVEFORMS = 200
#: On wide probes the last rounds, so many, look at the whole signal, the others at pieces of so many samples. There a
#: unit needs fewer spikes, in proportion, but at least so many.
_WHOLE_ROUNDS, _PART_SAMPLES, _FEWEST_SPIKES = 3, 1 << 16, 5


class WaveformSpan(NamedTuple):
    """Lengths, in samples, that depend on the sampling frequency."""

    kernel_size: int  #: of a whitened template
    before: int  #: samples of a template before its extremum
    refractory: int  #: smallest distance of two spikes of a unit


def discover_units(signal: np.ndarray, white: np.ndarray, sampling_frequency: float, span: WaveformSpan, *,
                   noise: np.ndarray | None = None, seed: int = 0, parameters: SortingParameters = DEFAULTS,
                   progress: Progress | None = None) -> tuple[np.ndarray, list[str]]:
    """Find the units of a recording.

    Detected waveforms are clustered; then, round by round, the templates are matched to the signal, averaged over
    their spikes (each with all others subtracted), merged, split and pruned, until nothing changes.

    Args:
        signal: (samples, channels), referenced and band-passed.
        white: the same, whitened.
        sampling_frequency: Hz.
        span: lengths of templates.
        noise: (channels,) standard deviations of ``signal``, 0 for a dead channel; None: ``channel_noise``.
        seed: int.
        parameters: thresholds and number of rounds.
        progress: None or ``callable(text, fraction)``: where the search stands, and the fraction of the rounds that
            is done.

    Returns:
        (templates (units, kernel_size, channels), messages about the candidates dropped in the last round).
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # many small products: threads would wait for each other
        progress = progress or (lambda text, fraction: None)
        progress("waveforms are clustered", 0.0)
        noise = channel_noise(signal) if noise is None else noise
        templates = _first_templates(signal, white, noise, sampling_frequency, span, seed, parameters)
        return _refine(templates, white, span, seed, parameters, progress)


def _refine(templates: np.ndarray, white: np.ndarray, span: WaveformSpan, seed: int,
            parameters: SortingParameters, progress: Progress) -> tuple[np.ndarray, list[str]]:
    """The rounds of ``discover_units``."""
    rounds = parameters.discovery_rounds
    reasons: dict[int, str] = {}
    counts, turn = None, 0
    part = _spread_part(white, parameters)
    fewer = dataclasses.replace(parameters, minimum_spikes=max(
        min(_FEWEST_SPIKES, parameters.minimum_spikes), round(parameters.minimum_spikes * len(part) / len(white))))
    while turn < rounds and len(templates):
        progress(f"round {turn + 1} of at most {rounds}: {len(templates)} units", (turn + 1) / (rounds + 1))
        amplitude_cv = parameters.first_rounds_amplitude_cv if turn < 2 else parameters.initial_amplitude_cv
        looked_at, known = (white, parameters) if turn >= rounds - _WHOLE_ROUNDS else (part, fewer)
        spikes = match_templates(looked_at, templates, span.refractory, amplitude_cv,
                                 parameters.initial_log_odds_against_nats)
        trial = 1 <= turn <= parameters.trial_split_rounds  # clusters of the first round are too rough
        found = _regroup(looked_at, spikes, seed, turn < rounds - 2, trial, known)
        means, changed = found.templates, found.changed
        keep, reasons = prune_units(means, found.waves, len(looked_at), span.refractory, known, found.counts)
        templates = align_extrema(means[keep], span.before)
        settled = not changed and len(keep) == len(means) and counts is not None and len(counts) == len(keep) and \
            np.abs(found.counts[keep] - counts).sum() < parameters.settled_fraction * found.counts[keep].sum()
        if settled and len(looked_at) == len(white):
            break
        turn, counts = turn + 1, found.counts[keep]
        if len(part) < len(white) and (settled or turn == rounds - _WHOLE_ROUNDS):
            turn, counts = rounds - _WHOLE_ROUNDS, None
    return templates, [f"a candidate was dropped: {text}" for text in reasons.values()]


def _spread_part(white: np.ndarray, parameters: SortingParameters) -> np.ndarray:
    """``discovery_values`` of a signal of many channels, in two pieces or more; one hardly longer as it is."""
    samples, channels = white.shape
    pieces = max(2, parameters.discovery_values // (_PART_SAMPLES * channels))
    if channels <= parameters.wide_probe_channels or (pieces + 1) * _PART_SAMPLES >= samples:
        return white
    return np.concatenate([white[start:start + _PART_SAMPLES] for start in
                           np.linspace(0, samples - _PART_SAMPLES, pieces).astype(int)])


def _first_templates(signal: np.ndarray, white: np.ndarray, noise: np.ndarray, sampling_frequency: float,
                     span: WaveformSpan, seed: int, parameters: SortingParameters) -> np.ndarray:
    """Cluster medians of the detected waveforms."""
    start, channel = detect_extrema(signal, noise, span.kernel_size, span.before,
                                    round(parameters.detection_distance_ms / 1000 * sampling_frequency),
                                    parameters.detection_threshold_sd)
    if signal.shape[1] > parameters.wide_probe_channels:
        clusters = parameters.maximum_clusters_per_channel
    else:
        clusters, channel = parameters.maximum_clusters, np.zeros_like(channel)
    return remove_duplicates(cluster_waveforms(white, start, channel, span.kernel_size, clusters, seed, parameters),
                             parameters)


class _Regrouped(NamedTuple):
    """The units after merging and splitting."""

    templates: np.ndarray  #: (units, kernel_size, channels)
    waves: list[np.ndarray]  #: some waveforms of each, (spikes, kernel_size, channels)
    counts: np.ndarray  #: (units,), spikes of each
    changed: bool  #: whether units were merged, split or dropped


def _regroup(white: np.ndarray, spikes: UnitSpikes, seed: int, split: bool, trial: bool,
             parameters: SortingParameters) -> _Regrouped:
    """Merge and split the units whose spikes were matched."""
    counts = spikes.counts
    frequent = np.flatnonzero(counts >= parameters.minimum_spikes)
    rest = residual(white, spikes)
    spikes = select_units(spikes, frequent)
    if not len(frequent):
        return _Regrouped(spikes.templates, [], counts[frequent], True)
    small = parameters.small_spike_fraction * template_norms(spikes.templates)
    channels = [np.flatnonzero(template.any(axis=0)) for template in spikes.templates]
    courses = None
    if white.shape[1] > 1:  # a waveform of one channel has few values
        courses = time_courses([
            subtract_others(rest, spikes, unit, channels=reached, rows=_some(np.arange(count), _COURSE_WAVEFORMS))
            for unit, (reached, count) in enumerate(zip(channels, spikes.counts, strict=True))], parameters)
    templates, merged = merge_units(rest, spikes, mean_waveforms(rest, spikes), parameters, courses)
    means, waves, sizes = [], [], []
    changed = bool(merged) or len(frequent) < len(counts)
    for unit, (template, count) in enumerate(zip(templates, spikes.counts, strict=True)):
        if unit in merged:
            continue
        label = split_waveforms(
            subtract_others(rest, spikes, unit, minimum_norm=small[unit], channels=channels[unit]), seed, trial,
            parameters, courses) if split else None
        for rows in [np.arange(count)] if label is None else [np.flatnonzero(label == group) for group in (0, 1)]:
            waves.append(subtract_others(rest, spikes, unit, rows=_some(rows, parameters.pruning_waveforms)))
            means.append(template if label is None else _mean(rest, spikes, unit, rows))
            sizes.append(len(rows))
        changed = changed or label is not None
    return _Regrouped(wiener_shrink(np.stack(means), sizes), waves, np.array(sizes), changed)


def _some(rows: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` of the rows, evenly spread."""
    return rows[::max(1, len(rows) // most)][:most]


def _mean(rest: np.ndarray, spikes: UnitSpikes, unit: int, rows: np.ndarray) -> np.ndarray:
    """Mean waveform of some of a unit's spikes."""
    of_unit = np.flatnonzero(spikes.unit_id == unit)[rows]
    one = UnitSpikes(spikes.templates[unit:unit + 1], spikes.start_sample[of_unit], np.zeros(len(of_unit), np.int64),
                     spikes.code_amplitude[of_unit])
    return mean_waveforms(rest, one)[0]
