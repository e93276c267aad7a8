"""How trials and neurons are laid out for the model: neurons with events of their own are signals, others channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_crsae.applications.neural_events.baselines import condition_labels, count_log_likelihood, psth
from keras_crsae.applications.neural_events.scoring import as_events
from keras_crsae.applications.neural_events.spike_counts import SpikeCounts


@dataclass(frozen=True)
class Layout:
    """Trials and neurons as signals (signals, bins, channels).

    Attributes:
        trials, neurons: numbers.
        together: neurons are channels of one signal a trial; else each (trial, neuron) is a signal of one channel.
    """

    trials: int
    neurons: int
    together: bool

    @property
    def channels(self) -> int:
        return self.neurons if self.together else 1

    def to_signals(self, values: np.ndarray) -> np.ndarray:
        """(trials, bins, neurons) -> (signals, bins, channels)."""
        if self.together:
            return values
        return np.ascontiguousarray(np.moveaxis(values, 2, 1)).reshape(-1, values.shape[1], 1)

    def to_trials(self, signals: np.ndarray) -> np.ndarray:
        """The inverse of ``to_signals``."""
        if self.together:
            return signals
        return np.ascontiguousarray(np.moveaxis(signals[..., 0].reshape(-1, self.neurons, signals.shape[1]), 1, 2))

    def of_signals(self, per_neuron: np.ndarray) -> np.ndarray:
        """(neurons,) -> (signals or 1, 1, channels), to be added to signals."""
        if self.together:
            return np.asarray(per_neuron)[None, None, :]
        return np.tile(np.asarray(per_neuron), self.trials)[:, None, None]

    def support_of_signals(self, support: np.ndarray) -> np.ndarray:
        """(trials, positions, kernels) -> (signals, positions, kernels)."""
        return support if self.together else np.repeat(support, self.neurons, axis=0)

    def trial_and_neuron(self, signal: int) -> tuple[int, int]:
        """Trial and neuron of a signal; the neuron of an event of all neurons is -1."""
        return (signal, -1) if self.together else divmod(signal, self.neurons)

    def of_trials(self, trials: np.ndarray) -> np.ndarray:
        """Indices of the signals of some trials."""
        if self.together:
            return np.asarray(trials)
        return (np.asarray(trials)[:, None] * self.neurons + np.arange(self.neurons)).ravel()


def eta_of_rate(mean: np.ndarray, trials_per_bin: int | None) -> np.ndarray:
    """The natural parameter of a mean count a bin: its logarithm, or the log odds of a draw."""
    if trials_per_bin is None:
        return np.log(np.maximum(mean, 1e-6))
    share = np.clip(mean / trials_per_bin, 1e-6, 1 - 1e-6)
    return np.log(share / (1 - share))


def mean_of_eta(eta: np.ndarray, trials_per_bin: int | None) -> np.ndarray:
    """The inverse of ``eta_of_rate``."""
    if trials_per_bin is None:
        return np.exp(np.minimum(eta, 30.0))
    return trials_per_bin / (1 + np.exp(-np.clip(eta, -60.0, 60.0)))


def rate_offset(rates: dict[Any, np.ndarray] | None, conditions: Any, trials: int, trials_per_bin: int | None,
                shape: tuple[int, int]) -> np.ndarray:
    """(trials, bins, neurons) eta of the trial-averaged rate of each trial's condition; zeros where there is none.

    Raises:
        ValueError: a condition that the rates do not hold.
    """
    if rates is None:
        return np.zeros((trials, *shape))
    labels = condition_labels(conditions, trials)
    unknown = sorted({str(label) for label in labels if label not in rates})
    if unknown:
        raise ValueError(f"There is no trial-averaged rate of the conditions {', '.join(unknown)}. It is known for "
                         f"{', '.join(map(str, rates))}.")
    return np.stack([eta_of_rate(rates[label], trials_per_bin) for label in labels])


def best_psth(counts: SpikeCounts, conditions: Any, widths_ms: tuple[float, ...], folds: int = 5, seed: int = 0
              ) -> tuple[float, dict[Any, np.ndarray]]:
    """(width, rates): the PSTH of each condition under the Gaussian whose held-out log likelihood is largest."""
    trials = len(counts.counts)
    labels = np.array([str(label) for label in condition_labels(conditions, trials)])
    fold = stratified_folds(labels, min(folds, trials), seed)
    scores = np.zeros(len(widths_ms))
    for k in range(fold.max() + 1):
        train, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        if not len(train) or not len(test):
            continue
        part = SpikeCounts(counts.counts[train], counts.bin_ms, counts.start_ms, counts.trials_per_bin)
        for i, width in enumerate(widths_ms):
            rates = psth(part, labels[train], width)
            known = [t for t in test if labels[t] in rates]
            mean = np.stack([rates[labels[t]] for t in known]) if known else np.zeros((0, *counts.counts.shape[1:]))
            scores[i] += count_log_likelihood(counts.counts[known], mean, counts.trials_per_bin).sum()
    width = widths_ms[int(np.argmax(scores))]
    return width, psth(counts, conditions, width)


def stratified_folds(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Fold of each trial, at random, each condition spread evenly over the folds."""
    rng, fold, first = np.random.default_rng(seed), np.zeros(len(labels), np.int64), 0
    for label in dict.fromkeys(labels.tolist()):
        rows = rng.permutation(np.flatnonzero(labels == label))
        fold[rows] = (first + np.arange(len(rows))) % folds
        first += len(rows)
    return fold


def event_table(layout: Layout, found: list[tuple[np.ndarray, np.ndarray, np.ndarray]], counts: SpikeCounts,
                peaks: np.ndarray) -> np.ndarray:
    """Table of events from (positions, kernels, amplitudes) of each signal.

    Args:
        layout: of the signals.
        found: one a signal.
        counts: for the clock.
        peaks: (kernels,) largest magnitude of each filter: amplitudes become the largest change of eta.
    """
    trial, neuron = (np.concatenate([np.full(len(one[0]), layout.trial_and_neuron(s)[i])
                                     for s, one in enumerate(found)]) for i in (0, 1))
    position, which, amplitude = (np.concatenate([one[i] for one in found]) for i in range(3))
    which = which.astype(np.int64)
    return as_events(trial, neuron, counts.start_ms + counts.bin_ms * position, which, amplitude * peaks[which])
