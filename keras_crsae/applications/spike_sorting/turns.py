"""Units that take turns as a probe moves: parts of one neuron, whose waveform interpolation has changed (NumPy)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from crsae_onnx.core.spikes.correlations import gram

from keras_crsae.applications.spike_sorting.motion import ProbeMotion
from keras_crsae.applications.spike_sorting.regrouping import regroup
from keras_crsae.applications.spike_sorting.result import SpikeSortingResult


@dataclass(frozen=True)
class TurnLimits:
    """When two units take turns."""

    positions: int = 8  #: of the probe, each held for as long as the others, at which spikes are counted
    similar_correlation: float = 0.7  #: over shifts, of the two templates
    norm_ratio: float = 1.7  #: of the larger template over the smaller one
    steadier: float = 0.8  #: of the smaller one's dispersion over positions, that of both together
    least_dispersion: float = 2.0  #: of each of the two, or of one where they are closer; a steady unit has 1
    close_correlation: float = 0.9  #: over shifts, of two templates where one unit is steady but for a small part
    close_ratio: float = 1.25  #: and of the larger one of these over the smaller one
    close_steadier: float = 0.9  #: ``steadier`` of these
    pair_ms: float = 1.0  #: spikes of one neuron keep further apart
    pair_fraction: float = 0.4  #: of the pairs that chance gives


class _Train(NamedTuple):
    """Spikes of a unit, or of several."""

    units: tuple[int, ...]
    samples: np.ndarray  #: ascending
    counts: np.ndarray  #: (positions,)


def merge_turns(result: SpikeSortingResult, motion: ProbeMotion, limits: TurnLimits | None = None
                ) -> SpikeSortingResult:
    """The result in which units that take turns are one.

    Interpolation gives back a waveform that moved between two contacts smaller and wider than at a contact, so the
    spikes of a neuron may form two units, each found at some positions of the probe. Neither is steady over the
    positions, and together they are; they have similar waveforms, and no spikes closer than a refractory time. Two
    neurons that happen to be similar are each as frequent at any position.

    Args:
        result: of the recording without its motion.
        motion: that was taken out.
        limits: ``TurnLimits``.
    """
    return _joined(result, motion, limits, "as the probe moved")


def merge_turns_in_time(result: SpikeSortingResult, limits: TurnLimits | None = None) -> SpikeSortingResult:
    """The result in which units that take turns from the beginning to the end are one.

    A neuron whose amplitude changes over the recording may be found as two units, one after the other; ``merge_turns``
    with time in place of the position of the probe. A neuron that falls silent while a similar one begins looks the
    same.

    Args:
        result: of ``sort``.
        limits: ``TurnLimits``.
    """
    segments = result.segments or [(0, result.recording_samples)]
    seconds = [np.array([0.0, (stop - start) / result.sampling_frequency]) for start, stop in segments]
    ramps = [start / result.sampling_frequency + time[:, None] for (start, _), time in zip(segments, seconds,
                                                                                           strict=True)]
    return _joined(result, ProbeMotion("time", ramps, seconds, np.zeros(1)), limits, "as their amplitude changed")


def _joined(result: SpikeSortingResult, motion: ProbeMotion, limits: TurnLimits | None, when: str
            ) -> SpikeSortingResult:
    groups = _groups(result, motion, TurnLimits() if limits is None else limits)
    if len(groups) == result.num_units:
        return result
    rows = [np.flatnonzero(np.isin(result.spike_units, group)) for group in groups]
    joined = regroup(result, [some for some in rows if len(some)])  # a unit whose spikes others took is left out
    joined.messages.append(f"{result.num_units - len(groups)} units were joined with others that they took turns with "
                           f"{when}.")
    return joined


def _groups(result: SpikeSortingResult, motion: ProbeMotion, limits: TurnLimits) -> list[tuple[int, ...]]:
    """The units that are one, each in one group."""
    norms, alike = result.reader.mean_amplitude, gram(result.reader.kernel).max(axis=2)
    ratio = np.maximum.outer(norms, norms) / np.minimum.outer(norms, norms)
    near = (alike >= limits.similar_correlation) & (ratio <= limits.norm_ratio)
    close = (alike >= limits.close_correlation) & (ratio <= limits.close_ratio)
    trains = []
    for unit in range(result.num_units):
        samples = np.sort(result.spike_samples[result.spike_units == unit])
        at, share = _positions(result, motion, unit, samples, limits.positions)
        trains.append(_Train((unit,), samples, np.bincount(at, minlength=len(share)) / (share * len(share))))
    while True:
        found = [(value, i, j) for i, one in enumerate(trains) for j, other in enumerate(trains[:i])
                 if near[np.ix_(one.units, other.units)].any()
                 and (value := _steadiness(one, other, limits, close)) < np.inf
                 and not _coincide(one, other, result, limits)]
        if not found:
            return [train.units for train in trains]
        _, i, j = min(found)
        one, other = trains.pop(i), trains.pop(j)
        trains.append(_Train((*one.units, *other.units), np.sort(np.concatenate([one.samples, other.samples])),
                             one.counts + other.counts))


def _positions(result: SpikeSortingResult, motion: ProbeMotion, unit: int, samples: np.ndarray, positions: int
               ) -> tuple[np.ndarray, np.ndarray]:
    """(position of the probe at each spike, share of the recording at each position), by displacement at the unit."""
    depth = 0.0
    if result.channel_locations is not None:
        depth = result.channel_locations[np.ptp(result.templates[unit], axis=0).argmax(), 1]
    row = int(np.abs(motion.depths_um - depth).argmin())
    segments: Sequence[tuple[int, int]] = result.segments or [(0, result.recording_samples)]
    step = max(1, int(result.sampling_frequency / 10))

    def displacement(at: np.ndarray) -> np.ndarray:
        out = np.zeros(len(at))
        for (start, stop), seconds, moved in zip(segments, motion.seconds, motion.displacement_um, strict=True):
            inside = (at >= start) & (at < stop)
            time = (at[inside] - start) / result.sampling_frequency
            out[inside] = np.interp(time, seconds, moved[:, row])
        return out

    every = displacement(np.concatenate([np.arange(start, stop, step) for start, stop in segments]))
    borders = np.unique(np.quantile(every, np.arange(1, positions) / positions))
    share = np.bincount(np.searchsorted(borders, every), minlength=len(borders) + 1) / len(every)
    kept = np.flatnonzero(share)
    at = np.searchsorted(borders, displacement(samples))
    return np.clip(np.searchsorted(kept, at), 0, len(kept) - 1), share[kept]


def _dispersion(counts: np.ndarray) -> float:
    """Variance over mean of counts: 1 for a steady unit whose spikes are independent."""
    return float(counts.var(ddof=1) / max(counts.mean(), 1e-9)) if len(counts) > 1 else 0.0


def _steadiness(one: _Train, other: _Train, limits: TurnLimits, close: np.ndarray) -> float:
    """Dispersion of both together over the smaller one's of the two; infinity where they take no turns.

    ``close``: bool (units, units), which have templates so close that one of the two may be steady.
    """
    if len(one.counts) != len(other.counts):
        return np.inf
    least, most = sorted((_dispersion(one.counts), _dispersion(other.counts)))
    alike = close[np.ix_(one.units, other.units)].any()
    if (most if alike else least) < limits.least_dispersion or least <= 0:
        return np.inf
    value = _dispersion(one.counts + other.counts) / least
    return value if value <= (limits.close_steadier if alike else limits.steadier) else np.inf


def _coincide(one: _Train, other: _Train, result: Any, limits: TurnLimits) -> bool:
    """Whether spikes of the two lie as close to each other as those of two neurons."""
    reach = max(1, round(limits.pair_ms / 1000 * result.sampling_frequency))
    near = (np.searchsorted(other.samples, one.samples + reach, side="right")
            - np.searchsorted(other.samples, one.samples - reach)).sum()
    # By chance, at each position apart: they are seldom both there.
    size = result.recording_samples / len(one.counts)
    expected = float(one.counts @ other.counts) * (2 * reach + 1) / size
    return bool(near > limits.pair_fraction * expected + 3)
