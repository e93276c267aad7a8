"""Drop units that noise imitates or that other units explain (NumPy)."""

from __future__ import annotations

import math

import numpy as np
from crsae_onnx.core.spikes.correlations import gram

from keras_crsae.applications.spike_sorting.matching import UnitSpikes, match_templates, residual
from keras_crsae.applications.spike_sorting.parameters import DEFAULTS, SortingParameters
from keras_crsae.applications.spike_sorting.templates import as_kernel, template_norms

#: Correlation over shifts with the most similar unit below which others do not explain a unit: even if three explain it
#: whole, one has a correlation of .58 with it.
_LEAST_CORRELATION = 0.5
#: Other units, the most similar ones, that are tried together to explain a unit: as many as a tetrode sees.
_LARGEST_GROUP = 12
#: One waveform in so many is fitted first: where those lose so many times the loss below which a unit is dropped, all
#: would lose more than it, and others that go only raise it.
_FIRST_OF, _CLEAR_LOSS = 5, 10.0


def prune_units(templates: np.ndarray, waves: list[np.ndarray], samples: int, refractory: int,
                parameters: SortingParameters = DEFAULTS, counts: np.ndarray | None = None
                ) -> tuple[list[int], dict[int, str]]:
    """(rows to keep, reasons {dropped row: text}); copies and sums of others go one by one, the clearest first.

    Args:
        templates: (units, kernel_size, channels).
        waves: waveforms (spikes, kernel_size, channels) of each unit, other spikes subtracted; all, or some of them.
        samples: length of the signal.
        refractory: samples.
        parameters: smallest number of spikes and norm, false alarms, loss and synchrony.
        counts: (units,), spikes of each unit; None: as many as waveforms.
    """
    reasons, keep = {}, []
    counts = np.array([len(w) for w in waves]) if counts is None else counts
    for row, norm in enumerate(template_norms(templates)):
        if counts[row] < parameters.minimum_spikes:
            reasons[row] = f"only {counts[row]} spikes"
        elif norm < parameters.minimum_norm_sd or (
                expected_false_alarms(norm, samples, parameters.initial_log_odds_against_nats)
                > parameters.maximum_false_alarm_fraction * counts[row]):
            reasons[row] = f"a waveform of {norm:.1f} noise standard deviations, which noise imitates"
        else:
            keep.append(row)
    most = parameters.pruning_waveforms
    sample = [w[:: max(1, len(w) // most)][:most] for w in waves]
    groups = _Groups(templates, keep)
    weak: dict[int, float] = {}
    stale = list(keep)
    while True:
        for row in stale:
            weak.pop(row, None)
            if len(group := groups.of(row)) > 1:
                channels = groups.reached[group].sum(axis=0) > 0
                shapes, values = templates[group][:, :, channels], sample[row][:, :, channels]
                overlap = groups.overlap[np.ix_(group, group)]
                loss, _ = loss_without(shapes, values[::_FIRST_OF], 0, refractory, parameters, overlap)
                if loss > _CLEAR_LOSS * parameters.minimum_loss_nats:
                    groups.used.pop(row, None)
                    continue
                loss, others = loss_without(shapes, values, 0, refractory, parameters, overlap)
                groups.used[row] = set(group[1:][np.unique(others.unit_id)].tolist())
                if loss < parameters.minimum_loss_nats and not exceeds_chance(
                        int(counts[row]), counts[group[1:]], others, len(sample[row]), samples, parameters):
                    weak[row] = loss
        if not weak:
            break
        weakest = min(weak, key=lambda row: weak[row])
        reasons[weakest] = f"other units explain its waveform (loss {weak.pop(weakest):.1f} nats a spike)"
        keep.remove(weakest)
        stale = groups.drop(weakest)
    return keep, reasons


class _Groups:
    """Which units may explain each other: those that share a channel, the most similar ones.

    On a wide probe a group does not grow with the probe.
    """

    def __init__(self, templates: np.ndarray, rows: list[int]) -> None:
        self.reached = np.any(templates, axis=1, keepdims=True)[:, 0]
        self.overlap = gram(as_kernel(templates))
        self._alike = self.overlap.max(axis=2)
        self._kept = np.isin(np.arange(len(templates)), rows)
        self.used: dict[int, set[int]] = {}  #: of a row, the others that explain some of its waveforms

    def of(self, row: int) -> np.ndarray:
        """The row and then, ascending, those that may explain it; the row alone where none is similar."""
        shared = np.flatnonzero(self._kept & (self.reached @ self.reached[row]))
        shared = shared[shared != row]
        nearest = np.sort(shared[np.argsort(-self._alike[row, shared], kind="stable")[:_LARGEST_GROUP]])
        if self._alike[row, nearest].max(initial=0.0) < _LEAST_CORRELATION:
            return np.array([row])
        return np.array([row, *nearest])

    def drop(self, row: int) -> list[int]:
        """Remove a row; those whose explanation changes with that."""
        self._kept[row] = False
        return [other for other, used in self.used.items() if self._kept[other] and row in used]


def loss_without(templates: np.ndarray, waves: np.ndarray, unit: int, refractory: int,
                 parameters: SortingParameters = DEFAULTS, overlap: np.ndarray | None = None
                 ) -> tuple[float, UnitSpikes]:
    """(nats, spikes of the others): log likelihood a spike lost when the other units explain a unit's waveforms.

    Small for a copy of another unit, and for the sum of two units that fire together. The prior odds of a spike are
    not counted, so that two spikes in place of one lose nothing where they fit as well. The waveforms are laid one
    after the other, each between zeros of its own length. ``overlap``: None, or ``gram`` of the unit-norm filters.
    """
    kernel_size = templates.shape[1]
    padding = ((0, 0), (kernel_size, kernel_size), (0, 0))
    signal = np.pad(waves, padding).reshape(-1, templates.shape[2]).astype(np.float32)
    prior = parameters.initial_amplitude_cv, parameters.initial_log_odds_against_nats
    rest = np.delete(np.arange(len(templates)), unit)
    itself, others = (match_templates(signal, templates[rows], refractory, *prior, overlap=None if overlap is None
                                      else np.ascontiguousarray(overlap[np.ix_(rows, rows)]))
                      for rows in (np.array([unit]), rest))
    lost = _log_likelihood(itself, signal, prior[0]) - _log_likelihood(others, signal, prior[0])
    return lost / len(waves), others


def exceeds_chance(count: int, counts: np.ndarray, others: UnitSpikes, waves: int, samples: int,
                   parameters: SortingParameters = DEFAULTS) -> bool:
    """Whether ``count`` spikes that are each the sum of the same two others at one lag are more than chance predicts.

    The lag may be anything within a quarter of a template, which overestimates chance.

    Args:
        count: spikes of the unit.
        counts: spikes of the other units.
        others: spikes of the other units in the waveforms, as ``loss_without`` returns them.
        waves: number of waveforms.
        samples: length of the signal.
        parameters: ``synchrony_ratio`` and ``synchrony_lag_samples``.
    """
    kernel_size = others.templates.shape[1]
    border = np.searchsorted(others.start_sample, np.arange(waves + 1) * 3 * kernel_size)
    lags: dict[tuple[int, int], list[int]] = {}
    for low, high in zip(border, border[1:], strict=False):
        if high - low == 2:
            (first, start), (second, later) = sorted(
                zip(others.unit_id[low:high], others.start_sample[low:high], strict=True))
            lags.setdefault((first, second), []).append(later - start)
    if not lags:
        return False
    (first, second), lags_of_pair = max(lags.items(), key=lambda item: len(item[1]))
    deviation = np.abs(np.array(lags_of_pair) - np.median(lags_of_pair))
    if np.count_nonzero(deviation <= parameters.synchrony_lag_samples) < waves / 2:
        return False  # a copy, or not explained by one pair at one lag
    chance = counts[first] * counts[second] * (kernel_size / 4) / samples
    return count > parameters.synchrony_ratio * chance


def _log_likelihood(spikes: UnitSpikes, signal: np.ndarray, amplitude_cv: float) -> float:
    mean = template_norms(spikes.templates)[spikes.unit_id]
    error = np.square(residual(signal, spikes), dtype=np.float64).sum()
    return -0.5 * error - 0.5 * np.sum(np.square((spikes.code_amplitude - mean) / (amplitude_cv * mean)))


def expected_false_alarms(norm: float, samples: int,
                          log_odds_against: float = DEFAULTS.initial_log_odds_against_nats) -> float:
    """Spikes of a template that are expected in white noise alone.

    A spike is accepted where the correlation exceeds norm / 2 + log_odds_against / norm; adjacent samples
    count together.

    Args:
        norm: of the template, in noise standard deviations.
        samples: length of the signal.
        log_odds_against: against a spike at one sample, nats.

    Example:
        >>> from keras_crsae.applications.spike_sorting.pruning import expected_false_alarms
        >>> round(expected_false_alarms(5.0, samples=1_000_000), 1)
        24.0
    """
    threshold = norm / 2 + log_odds_against / norm
    return 0.5 * samples * 0.5 * math.erfc(threshold / math.sqrt(2))
