"""Held-out log likelihood: trials that training has not seen, each bin predicted from the other bins of its trial."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from keras_crsae.applications.neural_events.baselines import (
    WIDTHS_MS,
    condition_labels,
    count_log_likelihood,
    psth,
)
from keras_crsae.applications.neural_events.layout import stratified_folds
from keras_crsae.applications.neural_events.model import EventModel
from keras_crsae.applications.neural_events.spike_counts import SpikeCounts


@dataclass(frozen=True)
class HeldOut:
    """Log likelihood of each held-out trial in nats, all bins and neurons of it, constants included.

    Every trial is held out once; whatever is learned comes from the other folds. ``model`` also sees the other bins of
    the trial: its bins are split into groups at random, and each group is predicted from the code of the others.
    ``trial_gain`` sees the same bins: the PSTH times the ratio of observed to expected spikes in them.

    Attributes:
        model: (trials,) of the events' model.
        psth: (trials,) of the trial-averaged rate of the trial's condition.
        constant: (trials,) of one constant rate for each neuron.
        trial_gain: (trials,) of the PSTH times the trial's own gain.
        psth_width_ms: width of the Gaussian that smooths the PSTH: the one with which these same held-out trials are
            most likely, to the PSTH's advantage.
    """

    model: np.ndarray
    psth: np.ndarray
    constant: np.ndarray
    trial_gain: np.ndarray
    psth_width_ms: float

    @property
    def gain(self) -> float:
        """Mean log likelihood of a trial above that of the PSTH."""
        return float(np.mean(self.model - self.psth))

    @property
    def gain_error(self) -> float:
        """Standard error of ``gain`` over trials."""
        return float(np.std(self.model - self.psth, ddof=1) / np.sqrt(len(self.model)))


def held_out(counts: SpikeCounts, fit: Callable[[np.ndarray], EventModel], conditions: Any, folds: int, groups: int,
             block_bins: int = 1, support: np.ndarray | None = None, seed: int = 0,
             progress: Callable[[float], object] | None = None) -> HeldOut:
    """Cross-validate.

    Args:
        counts: spikes of all trials.
        fit: from indices of trials to a model of them.
        conditions: label of each trial, or None.
        folds: number of parts of the trials, each condition spread evenly over them.
        groups: number of parts of the bins of a trial.
        block_bins: neighbouring bins that are in one group.
        support: known onsets of all trials, or None.
        seed: of the partitions.
        progress: gets the fraction done.

    Returns:
        HeldOut.
    """
    trials = len(counts.counts)
    labels = np.array([str(label) for label in condition_labels(conditions, trials)])
    fold, rng = stratified_folds(labels, folds, seed), np.random.default_rng(seed)
    out = {name: np.zeros(trials) for name in ("model", "constant", "trial_gain")}
    rates = np.zeros((len(WIDTHS_MS), *counts.counts.shape))
    for number in range(folds):
        train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        model, part = fit(train), _part(counts, train)
        for i, width in enumerate(WIDTHS_MS):
            known, pooled = psth(part, labels[train], width), psth(part, None, width)[None]
            rates[i, test] = [known.get(label, pooled) for label in labels[test]]
        constant = np.asarray(part.counts, np.float64).mean(axis=(0, 1)).clip(1e-6)
        out["constant"][test] = _of_trials(counts.counts[test], constant, counts.trials_per_bin)
        group = random_groups(rng, counts.counts[test].shape, groups, block_bins)
        out["model"][test] = predict_hidden(model, _part(counts, test), _at(conditions, test), group,
                                            None if support is None else support[test])
        if progress is not None:
            progress((number + 1) / folds)
    scores = np.stack([_of_trials(counts.counts, rate, counts.trials_per_bin) for rate in rates])
    best = int(np.argmax(scores.mean(axis=1)))
    group = random_groups(rng, counts.counts.shape, groups, block_bins)
    out["trial_gain"] = _trial_gain(counts, rates[best], group)
    return HeldOut(psth=scores[best], psth_width_ms=WIDTHS_MS[best], **out)


def random_groups(rng: np.random.Generator, shape: tuple[int, ...], groups: int, block_bins: int) -> np.ndarray:
    """Group of each bin, (trials, bins, neurons): blocks in random order, groups of nearly equal size."""
    trials, bins, neurons = shape
    blocks = -(-bins // block_bins)
    group = rng.permuted(np.tile(np.arange(blocks) % groups, (trials, neurons, 1)), axis=2)
    return np.moveaxis(np.repeat(group, block_bins, axis=2)[:, :, :bins], 1, 2)


def predict_hidden(model: EventModel, counts: SpikeCounts, conditions: Any, group: np.ndarray,
                   support: np.ndarray | None = None) -> np.ndarray:
    """(trials,) log likelihood, each group of bins given the code of all other bins."""
    total = np.zeros(len(counts.counts))
    for number in range(group.max() + 1):
        mean = model.mean_counts(counts, conditions, support, observed=group != number)
        total += (count_log_likelihood(counts.counts, mean, counts.trials_per_bin) * (group == number)).sum(axis=(1, 2))
    return total


def _trial_gain(counts: SpikeCounts, rates: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(trials,) log likelihood of the PSTH times the trial's own gain, from the bins outside of each group.

    The gain is shrunk towards 1 by ten expected spikes.
    """
    total = np.zeros(len(rates))
    for number in range(group.max() + 1):
        seen = group != number
        gain = ((counts.counts * seen).sum(axis=(1, 2)) + 10) / ((rates * seen).sum(axis=(1, 2)) + 10)
        mean = rates * gain[:, None, None]
        total += (count_log_likelihood(counts.counts, mean, counts.trials_per_bin) * ~seen).sum(axis=(1, 2))
    return total


def _of_trials(counts: np.ndarray, mean: ArrayLike, trials_per_bin: int | None) -> np.ndarray:
    return count_log_likelihood(counts, mean, trials_per_bin).sum(axis=(1, 2))


def _part(counts: SpikeCounts, trials: np.ndarray) -> SpikeCounts:
    return SpikeCounts(counts.counts[trials], counts.bin_ms, counts.start_ms, counts.trials_per_bin)


def _at(conditions: Any, trials: np.ndarray) -> list[Any] | None:
    return None if conditions is None else [np.asarray(conditions).ravel().tolist()[i] for i in trials]
