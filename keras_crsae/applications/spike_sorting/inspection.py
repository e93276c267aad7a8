"""What of a recording holds noise and spikes: the stretches to learn from, its levels, and what is said about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from crsae_onnx.core.noise import NoiseLevel, blank_rule, channels_hold_noise, noise_level
from scipy.special import ndtr

from keras_crsae.applications.spike_sorting.noise import channel_median, channel_noise, thinned
from keras_crsae.applications.spike_sorting.parameters import DEFAULTS, SortingParameters

#: Stretches that show how long runs of equal samples are by chance.
_RULE_STRETCHES = 40
#: A stretch of which less than this fraction holds noise is learned from last.
_LITTLE_FRACTION = 0.1
#: Units are learned where all channels hold noise that do so in this fraction of what is left.
_WHOLE_FRACTION = 0.25
#: A share of blanked samples below this may be chance, and is not worth a sentence.
_BLANKED_FRACTION = 2e-3
#: Shares that differ less, relative to the largest, are told as one.
_SAME_SHARE = 0.05
#: What rounded noise may exceed the expected frequency of its extreme value by, without saturation.
_CHANCE_MARGIN = 1.2
#: Channels that are copied together where each is looked at by itself.
_COLUMNS_TOGETHER = 16
#: Second differences of a blank where no channel shows how many chance makes.
_DEFAULT_BLANK_SAMPLES = 16


class NoSpikesError(ValueError):
    """The recording has no repeating waveforms above its noise, or no noise at all."""


class Inspection(NamedTuple):
    """What ``inspect_recording`` finds."""

    stretches: list[tuple[int, int]]  #: (start, stop) in samples to learn from, without what holds no noise
    holds_noise: np.ndarray  #: bool (samples of the stretches, channels)
    learn: np.ndarray  #: bool (samples of the stretches,): units are learned there
    levels: list[NoiseLevel]  #: of each channel as recorded; a standard deviation of 0: no noise
    blank_samples: int  #: see ``Whitening``
    blank_tolerance: np.ndarray  #: (channels,), see ``Whitening``
    messages: list[str]  #: what is missing, blanked, constant, saturated or coarse

    @property
    def offset(self) -> np.ndarray:
        """Level that the noise varies about, (channels,)."""
        return np.array([level.center for level in self.levels])


class _Rule(NamedTuple):
    """How samples without noise are told, and the channels that learning waits for."""

    samples: int  #: see ``Whitening``
    tolerance: np.ndarray  #: (channels,), see ``Whitening``
    channels: np.ndarray  #: bool (channels,): often enough hold noise

    def holds(self, values: np.ndarray) -> np.ndarray:
        """Boolean (samples, channels), ``holds_noise`` of each channel."""
        return channels_hold_noise(values, self.samples, self.tolerance)


class _Piece(NamedTuple):
    """A stretch as it was read."""

    start: int
    missing: np.ndarray  #: (channels,) fraction of the samples that are NaN or infinite
    blanked: np.ndarray  #: (channels,) fraction in blanks
    some: np.ndarray  #: bool (samples,), a channel holds noise
    all: np.ndarray  #: bool (samples,), all channels of the rule do
    activity: float  #: fraction of those with noise that some channel has above the noise threshold


def inspect_recording(traces: Any, sampling_frequency: float, parameters: SortingParameters = DEFAULTS
                      ) -> Inspection:
    """Find what of a recording holds noise, choose the stretches to learn from, and estimate the levels.

    Samples that are missing or in blanks (``crsae_onnx.core.noise``) have no say in anything. Units are learned where
    all channels hold noise, if that is a quarter of what is left or more: a unit of which a channel is missing has
    another shape. Of a long recording evenly spread stretches are read; those with the most samples beyond the noise
    threshold are chosen, excluding the most active 5 %, which are likely artefacts, unless they are needed.

    Args:
        traces: (samples, channels), with slices of time.
        sampling_frequency: Hz.
        parameters: ``learning_seconds``, ``stretch_seconds``, ``maximum_stretches`` and thresholds.

    Raises:
        NoSpikesError: every channel is constant or missing, or too little of the recording is left.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting.inspection import inspect_recording
        >>> traces = np.random.default_rng(0).normal(size=(50_000, 2))
        >>> traces[10_000:30_000] = 0
        >>> found = inspect_recording(traces, sampling_frequency=10_000)
        >>> found.messages[0].split(':')[0]
        '40.0% of the samples are blanked (constant or a straight line)'
        >>> len(found.stretches), [round(level.std, 1) for level in found.levels]
        (2, [1.0, 1.0])
    """
    budget = _budget(traces.shape[1], sampling_frequency, parameters)
    ranges = _ranges(traces.shape[0], sampling_frequency, budget, parameters)
    whole = len(ranges) == 1
    if whole:  # read, and perhaps filtered, once
        traces = np.asarray(traces[:traces.shape[0]])
    rule, held = _rule(traces, ranges)
    known = held if whole else None
    pieces = [_read(traces, low, high, rule, parameters, known) for low, high in ranges]
    wait = sum(piece.all.sum() for piece in pieces) >= _WHOLE_FRACTION * sum(piece.some.sum() for piece in pieces)
    left = [piece.all if wait else piece.some for piece in pieces]
    chosen = _choose(pieces, left, budget)
    margin = parameters.samples(parameters.template_before_ms + parameters.template_after_ms, sampling_frequency)
    stretches = [part for i in chosen for part in _without_blanks(pieces[i].start, left[i], margin)]
    if not stretches:
        raise NoSpikesError(_SILENT)
    values, holds = (joined(parts) for parts in zip(
        *(_with_holds(traces, low, high, rule, known) for low, high in stretches), strict=True))
    levels = [_level(column, held) for column, held in zip(_columns(values), _columns(holds), strict=True)]
    dead = [c for c, level in enumerate(levels) if not level.std]
    if len(dead) == len(levels):
        raise NoSpikesError(_SILENT)
    _check_length(holds, pieces, sampling_frequency, parameters)
    messages = _left_out(pieces, dead)
    if dead:
        messages.append(f"channels {dead} are constant for most samples: they are ignored.")
    messages += _saturated(values, holds, levels, parameters.saturated_fraction) + _coarse(levels)
    learn = np.asarray(holds[:, rule.channels].all(axis=1) if wait else np.ones(len(holds)), bool)
    return Inspection(stretches, holds, learn, levels, rule.samples, rule.tolerance, messages)


_SILENT = ("Every channel of the recording is constant or missing, or nearly so: there is no noise to compare spikes "
           "with. Check the file, its dtype and its layout.")


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays one after the other; a single one as it is."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _budget(channels: int, sampling_frequency: float, parameters: SortingParameters) -> int:
    """Samples that are learned from at most."""
    shortest = round(parameters.minimum_recording_seconds * sampling_frequency)
    most = max(shortest, parameters.learning_values // channels)
    return min(round(parameters.learning_seconds * sampling_frequency), most)


def _ranges(samples: int, sampling_frequency: float, budget: int, parameters: SortingParameters
            ) -> list[tuple[int, int]]:
    """[(start, stop)] to read: the whole recording, or evenly spread stretches of a long one."""
    if samples <= budget:
        return [(0, samples)]
    length = min(round(parameters.stretch_seconds * sampling_frequency), budget)
    count = min(parameters.maximum_stretches, samples // length)
    return [(int(s), int(s) + length) for s in np.unique(np.linspace(0, samples - length, count).astype(np.int64))]


def _columns(values: np.ndarray) -> Iterator[np.ndarray]:
    """The columns of a matrix one by one, each in one piece of memory."""
    for first in range(0, values.shape[1], _COLUMNS_TOGETHER):
        yield from np.ascontiguousarray(values[:, first:first + _COLUMNS_TOGETHER].T)


def _rule(traces: Any, ranges: list[tuple[int, int]]) -> tuple[_Rule, np.ndarray]:
    """(the ``_Rule`` of a recording, from some of the stretches, ``_Rule.holds`` of the last of them)."""
    some = [np.asarray(traces[low:high]) for low, high in ranges[::max(1, len(ranges) // _RULE_STRETCHES)]]
    rules = [blank_rule(columns) for columns in zip(*map(_columns, some), strict=True)]
    samples = max((rule.samples for rule in rules if rule.tolerance > 0), default=0) or _DEFAULT_BLANK_SAMPLES
    rule = _Rule(samples, np.array([rule.tolerance for rule in rules]), np.ones(len(rules), bool))
    held = [rule.holds(piece) for piece in some]
    share = np.mean([piece.mean(axis=0) for piece in held], axis=0)
    return rule._replace(channels=share >= _WHOLE_FRACTION * share.max()), held[-1]


def _read(traces: Any, low: int, high: int, rule: _Rule, parameters: SortingParameters, known: np.ndarray | None
          ) -> _Piece:
    """``_Piece`` [low, high); its activity where it will be compared; ``known``: ``rule.holds`` of the whole."""
    values = np.asarray(traces[low:high])
    holds, finite = rule.holds(values) if known is None else known, np.isfinite(values)
    some = np.any(holds, axis=1, keepdims=True)[:, 0]
    return _Piece(low, 1 - finite.mean(axis=0), (finite & ~holds).mean(axis=0), some,
                  some & np.all(holds[:, rule.channels], axis=1, keepdims=True)[:, 0],
                  _activity(values, holds, parameters.noise_threshold_sd) if known is None else 0.0)


def _with_holds(traces: Any, low: int, high: int, rule: _Rule, known: np.ndarray | None
                ) -> tuple[np.ndarray, np.ndarray]:
    """(samples [low, high), ``rule.holds`` of them), with the samples around that show where a blank goes on."""
    if known is not None:
        return traces[low:high], known[low:high]
    first = max(0, low - rule.samples - 1)
    values = np.asarray(traces[first:high + rule.samples + 1])
    inside = slice(low - first, high - first)
    return values[inside], rule.holds(values)[inside]


def _activity(values: np.ndarray, holds: np.ndarray, threshold: float) -> float:
    """Fraction of the samples left that some channel has above ``threshold`` noise standard deviations."""
    left = holds.any(axis=1)
    if not left.any():
        return 0.0
    values = np.where(holds, values, 0).astype(np.float32)
    noise = channel_noise(values, holds)
    middle = channel_median(values, holds).astype(np.float32)
    loud = (np.abs(values - middle) > threshold * np.where(noise > 0, noise, np.inf)) & holds
    return float(loud[left].any(axis=1).mean())


def _choose(pieces: list[_Piece], left: list[np.ndarray], budget: int) -> list[int]:
    """The most active pieces, in order of time, with at most ``budget`` samples that are ``left``."""
    if len(pieces) == 1:
        return [0]
    counts = np.array([part.sum() for part in left])
    little = counts < _LITTLE_FRACTION * len(left[0])
    activity = np.array([piece.activity for piece in pieces])
    usual = activity if little.all() else activity[~little]
    artefact = (activity > np.quantile(usual, 0.95)) & (activity > 5 * np.median(usual))
    order = np.lexsort((-activity, artefact, little))
    # Pieces of which parts are left out make room for others.
    fit = np.cumsum(counts[order]) <= budget
    fit[0] = True
    return np.sort(order[fit]).tolist()


def _without_blanks(first: int, left: np.ndarray, margin: int) -> list[tuple[int, int]]:
    """[(start, stop)] of what is ``left`` from sample ``first`` on, with ``margin`` samples around."""
    at = np.flatnonzero(left)
    if not len(at):
        return []
    border = np.flatnonzero(np.diff(at) > 4 * margin)  # shorter gaps are not worth a border
    starts, stops = np.concatenate([at[:1], at[border + 1]]), np.concatenate([at[border], at[-1:]]) + 1
    return [(first + max(0, int(start) - margin), first + min(len(left), int(stop) + margin))
            for start, stop in zip(starts, stops, strict=True)]


def _level(values: np.ndarray, holds: np.ndarray) -> NoiseLevel:
    if holds.any():
        return noise_level(thinned(values if holds.all() else values[holds]))
    finite = values[np.isfinite(values)]
    return NoiseLevel(float(np.median(finite)) if len(finite) else 0.0, 0.0, 0.0)


def _check_length(holds: np.ndarray, pieces: list[_Piece], sampling_frequency: float, parameters: SortingParameters
                  ) -> None:
    """Raise NoSpikesError where less than the shortest recording is left."""
    left = int(holds.any(axis=1).sum())
    if left < parameters.minimum_recording_seconds * sampling_frequency:
        share = np.mean([piece.some.mean() for piece in pieces])
        raise NoSpikesError(
            f"Only {left / sampling_frequency:.3g} s of the recording ({share:.1%}) hold noise: the rest is missing "
            f"(NaN) or constant. Sorting needs at least {parameters.minimum_recording_seconds:g} s, since spikes must "
            "repeat.")


def _left_out(pieces: list[_Piece], dead: list[int]) -> list[str]:
    """Sentences on missing and on blanked samples: the share, and the channels if it is not the same for all."""
    out = []
    of = "samples" if len(pieces) == 1 else "samples inspected"
    channels = np.setdiff1d(np.arange(len(pieces[0].missing)), dead)
    for name, what, least in (("missing", "NaN or infinite", 0.0),
                              ("blanked", "blanked (constant or a straight line)", _BLANKED_FRACTION)):
        share = np.mean([getattr(piece, name) for piece in pieces], axis=0)[channels]
        together = share.max() - share.min() < _SAME_SHARE * share.max()
        group = np.array(["" if together else f"{value:.1g}" for value in share])
        for text in dict.fromkeys(group.tolist()):
            some = group == text
            where = "" if some.all() else f" of channels {channels[some].tolist()}"
            if share[some].max() > least:
                out.append(f"{share[some].mean():.1%} of the {of}{where} are {what}: they are left out, and no spikes "
                           "are found in them.")
    return out


def _saturated(values: np.ndarray, holds: np.ndarray, levels: list[NoiseLevel], most: float) -> list[str]:
    """A sentence for each channel that is too often at its largest or smallest value."""
    out = []
    for c, (column, held, level) in enumerate(zip(_columns(values), _columns(holds), levels, strict=True)):
        if not level.std:
            continue
        column = column if held.all() else column[held]
        for extreme in (column.max(), column.min()):
            fraction, chance = (column == extreme).mean(), 0.0
            if level.step:  # in coarsely rounded noise an extreme value is frequent without saturation
                at = (extreme - level.center + np.array([-0.5, 0.5]) * level.step) / level.std
                chance = _CHANCE_MARGIN * float(np.diff(ndtr(at))[0])
            if fraction - chance > most:
                out.append(f"channel {c} is at one extreme value in {fraction:.1%} of the samples: it is probably "
                           "saturated.")
                break
    return out


def _coarse(levels: list[NoiseLevel]) -> list[str]:
    """A sentence on the channels whose noise is less than the smallest difference of two values."""
    counts = {c: level.std / level.step for c, level in enumerate(levels) if 0 < level.std < level.step}
    if not counts:
        return []
    noise = ", ".join(f"{count:.2f}" for count in counts.values())
    return [f"channels {list(counts)} have noise below one count ({noise} of the step between recorded values): small "
            "spikes are lost in rounding. Record or store with a finer step."]
