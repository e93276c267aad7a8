"""Units of a result that may be one, and units that may be two: what a person should look at (NumPy, scikit-learn)."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from crsae_onnx.core.spikes.correlations import gram

from keras_crsae.applications.spike_sorting.spike_waveforms import spike_waveforms, spread_rows
from keras_crsae.applications.spike_sorting.splitting import split_waveforms


@dataclass(frozen=True)
class DoubtLimits:
    """When two units may be one, or one two. Looser than the limits of ``SortingParameters``, which decide."""

    merge_separation: float = 3.0  #: Ashman's D of two units below which spikes are mistaken often (7 % at 3)
    similar_correlation: float = 0.8  #: over shifts, of two units that may be parts of one
    pair_ms: float = 2.0  #: spikes of one neuron keep further apart
    pair_fraction: float = 0.25  #: of the pairs that chance gives, below which two units avoid each other
    least_expected_pairs: float = 5.0  #: for that
    split_separation: float = 1.5  #: Ashman's D of two groups of a unit's waveforms
    split_bic_difference: float = 6.0  #: Bayesian information criterion of one group minus that of two
    waveforms: int = 1500  #: of a unit that are looked at
    stretches: int = 60  #: of the recording that they are read from


class DoubtfulMerge(NamedTuple):
    """Two units that may be one."""

    units: tuple[int, int]
    separation: float  #: Ashman's D of their spikes
    pairs: int  #: spikes of the two within ``DoubtLimits.pair_ms`` of each other
    expected_pairs: float  #: by chance


class DoubtfulSplit(NamedTuple):
    """A unit that may be two."""

    unit: int
    labels: np.ndarray  #: bool, one a spike of the unit in order of time: the two groups


def doubtful_merges(result: Any, limits: DoubtLimits | None = None) -> list[DoubtfulMerge]:
    """Pairs of units that may be one neuron, the least separated first; no unit is in two of them.

    Two units are doubtful where noise and the variation of amplitudes make their spikes hard to tell apart: Ashman's D
    of their projections on the difference of the two templates. Or where they are similar and avoid each other, as
    spikes of one neuron do, while independent neurons coincide by chance.

    Args:
        result: ``SpikeSortingResult``.
        limits: ``DoubtLimits``.

    Example:
        >>> from types import SimpleNamespace
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting.doubts import doubtful_merges
        >>> shape = np.hanning(20)[:, None] / np.linalg.norm(np.hanning(20))
        >>> reader = SimpleNamespace(kernel=np.stack([shape, shape, -shape], axis=-1), amplitude_cv=np.full(3, 0.1),
        ...                          mean_amplitude=np.array([20.0, 23.0, 20.0]))
        >>> result = SimpleNamespace(reader=reader, spike_samples=np.array([10, 50, 90]), recording_samples=1000,
        ...                          spike_units=np.array([0, 1, 2]), sampling_frequency=10000.0, num_units=3)
        >>> [doubt.units for doubt in doubtful_merges(result)]
        [(0, 1)]
    """
    limits = DoubtLimits() if limits is None else limits
    correlation = gram(result.reader.kernel).max(axis=2)
    found = []
    for i in range(result.num_units):
        for j in range(i + 1, result.num_units):
            if correlation[i, j] < limits.similar_correlation:
                continue
            separation = _separation(result.reader, i, j, float(correlation[i, j]))
            pairs, expected = _pairs(result, i, j, limits.pair_ms)
            avoid = expected >= limits.least_expected_pairs and pairs < limits.pair_fraction * expected
            if separation < limits.merge_separation or avoid:
                found.append(DoubtfulMerge((i, j), separation, pairs, expected))
    found.sort(key=lambda doubt: doubt.separation)
    used: set[int] = set()
    kept = []
    for doubt in found:
        if not used & set(doubt.units):
            kept.append(doubt)
            used |= set(doubt.units)
    return kept


def _separation(reader: Any, i: int, j: int, correlation: float) -> float:
    """Ashman's D of two units' spikes on the difference of their templates."""
    a, b = float(reader.mean_amplitude[i]), float(reader.mean_amplitude[j])
    distance = math.sqrt(max(a * a + b * b - 2 * correlation * a * b, 1e-12))
    # Part of each unit's amplitude along the difference; noise has variance 1 along any direction.
    along = a * (a - correlation * b) / distance, b * (correlation * a - b) / distance
    variance = sum(1 + (float(cv) * part) ** 2 for cv, part in zip(reader.amplitude_cv[[i, j]], along, strict=True))
    return distance * math.sqrt(2 / variance)


def _pairs(result: Any, i: int, j: int, pair_ms: float) -> tuple[int, float]:
    """(pairs of spikes of two units closer than ``pair_ms``, the number by chance)."""
    one, other = (np.sort(result.spike_samples[result.spike_units == unit]) for unit in (i, j))
    reach = round(pair_ms / 1000 * result.sampling_frequency)
    count = np.searchsorted(other, one + reach, side="right") - np.searchsorted(other, one - reach)
    return int(count.sum()), len(one) * len(other) * (2 * reach + 1) / max(1, result.recording_samples)


def doubtful_splits(result: Any, traces: Any, limits: DoubtLimits | None = None) -> list[DoubtfulSplit]:
    """Units whose waveforms form two groups by weaker evidence than sorting splits them on.

    Args:
        result: ``SpikeSortingResult``.
        traces: (samples, channels), with slices of time, the recording that was sorted.
        limits: ``DoubtLimits``.
    """
    limits = DoubtLimits() if limits is None else limits
    parameters = dataclasses.replace(result.parameters, split_separation=limits.split_separation,
                                     minimum_bic_difference=limits.split_bic_difference)
    found = []
    for unit in range(result.num_units):
        channels = np.flatnonzero(result.reader.kernel[:, :, unit].any(axis=0))
        waves = spike_waveforms(result, traces, spread_rows(result, unit, limits.waveforms, limits.stretches), channels)
        labels = split_waveforms(waves, 0, parameters=parameters)
        if labels is None:
            continue
        means = [waves[labels == group].mean(axis=0) for group in (0, 1)]
        rows = np.flatnonzero(result.spike_units == unit)
        if len(rows) > len(waves):  # the others by the nearer mean, which is best in white noise
            axis, middle = (means[1] - means[0]).ravel(), (means[1] + means[0]).ravel() / 2
            labels = np.concatenate([
                (spike_waveforms(result, traces, some, channels).reshape(len(some), -1) - middle) @ axis > 0
                for some in np.array_split(rows, -(-len(rows) // limits.waveforms))])
        found.append(DoubtfulSplit(unit, np.asarray(labels, bool)))
    return found
