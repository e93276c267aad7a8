"""The model of events in trials: a ``CRsAE`` of counts, with what it needs to know of neurons and conditions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_crsae.applications.neural_events.baselines import WIDTHS_MS
from keras_crsae.applications.neural_events.detection import Detection, find_events
from keras_crsae.applications.neural_events.first_kernels import first_kernels, onset_kernels, spike_kernels
from keras_crsae.applications.neural_events.layout import (
    Layout,
    best_psth,
    eta_of_rate,
    event_table,
    mean_of_eta,
    rate_offset,
)
from keras_crsae.applications.neural_events.parameters import EventParameters
from keras_crsae.applications.neural_events.refinement import recentre, refit_kernels
from keras_crsae.applications.neural_events.spike_counts import SpikeCounts
from keras_crsae.applications.neural_events.training import HiddenBinsTraining, Signals
from keras_crsae.models.crsae import CRsAE
from keras_crsae.problem import Binomial, Poisson

#: Signals that are encoded together.
_BATCH = 64
#: Rounds of refinement in which kernels move inside their windows.
_RECENTRED = (0, 2, 5)
#: Iterations of the encoder after training, in those of training.
_MORE_ITERATIONS = 3


@dataclass
class EventModel:
    """A fitted model.

    Attributes:
        model: the ``CRsAE``, of signals (trials or trials x neurons, bins, channels).
        baseline: (neurons,) eta of the zero code, beside the trial-averaged rate where there is one. Codes are shrunk,
            so that it takes up a part of the events.
        event_baseline: the same beside events whose amplitudes are fitted, which are not shrunk.
        rates: {condition: (bins, neurons)} trial-averaged mean counts, or None.
        parameters: as fitted.
        history: mean negative log likelihood of hidden bins, a step of training.
    """

    model: CRsAE
    baseline: np.ndarray
    rates: dict[Any, np.ndarray] | None
    parameters: EventParameters
    history: list[float]
    event_baseline: np.ndarray

    @property
    def kernel(self) -> np.ndarray:
        """(kernel bins, channels, kernels) of unit norm."""
        return keras.ops.convert_to_numpy(self.model.dictionary.kernel)

    def layout(self, counts: SpikeCounts) -> Layout:
        return Layout(len(counts.counts), counts.counts.shape[2], self.parameters.neurons == "together")

    def offset(self, counts: SpikeCounts, conditions: Any = None, events: bool = False) -> np.ndarray:
        """(trials, bins, neurons) eta of the zero code, or without ``events``."""
        shape = (counts.counts.shape[1], counts.counts.shape[2])
        return rate_offset(self.rates, conditions, len(counts.counts), counts.trials_per_bin, shape) \
            + (self.event_baseline if events else self.baseline)

    def code(self, counts: SpikeCounts, conditions: Any = None, support: np.ndarray | None = None,
             observed: np.ndarray | None = None) -> np.ndarray:
        """(signals, positions, kernels) of the bins that are ``observed`` (0/1 of the counts' shape; None: all)."""
        layout = self.layout(counts)
        means = layout.to_signals(counts.counts) / np.float32(counts.trials_per_bin or 1)
        offset = layout.to_signals(self.offset(counts, conditions)).astype(np.float32)
        mask = None if observed is None else layout.to_signals(observed.astype(np.float32))
        exists = None if support is None else layout.support_of_signals(support)
        parts = []
        for low in range(0, len(means), _BATCH):
            rows = slice(low, low + _BATCH)
            parts.append(keras.ops.convert_to_numpy(self.model.encoder(
                means[rows], mask=None if mask is None else mask[rows], baseline=offset[rows],
                support=None if exists is None else exists[rows])))
        return np.concatenate(parts)

    def mean_counts(self, counts: SpikeCounts, conditions: Any = None, support: np.ndarray | None = None,
                    observed: np.ndarray | None = None) -> np.ndarray:
        """(trials, bins, neurons) expected counts, given the bins that are ``observed``."""
        code = self.code(counts, conditions, support, observed)
        events = keras.ops.convert_to_numpy(self.model.dictionary(code))[:, :counts.counts.shape[1]]
        layout = self.layout(counts)
        return mean_of_eta(layout.to_trials(events) + self.offset(counts, conditions), counts.trials_per_bin)

    def mean_of_events(self, counts: SpikeCounts, events: np.ndarray, conditions: Any = None) -> np.ndarray:
        """(trials, bins, neurons) expected counts of the baseline and a table of events."""
        eta = self.offset(counts, conditions, events=True)
        kernel = self.kernel / np.abs(self.kernel).max(axis=(0, 1))
        for event in events:
            first = round((event["time_ms"] - counts.start_ms) / counts.bin_ms)
            neurons = slice(None) if event["neuron"] < 0 else slice(event["neuron"], event["neuron"] + 1)
            added = event["amplitude"] * kernel[:, :, event["kernel"]]
            eta[event["trial"], first:first + len(kernel), neurons] += added
        return mean_of_eta(eta, counts.trials_per_bin)

    def find(self, counts: SpikeCounts, conditions: Any = None, support: np.ndarray | None = None
             ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(positions, kernels, amplitudes) of the events of each signal."""
        layout, code = self.layout(counts), self.code(counts, conditions, support)
        signals = layout.to_signals(counts.counts)
        offset = layout.to_signals(self.offset(counts, conditions, events=True))
        kernel, parameters = self.kernel.astype(np.float64), self.parameters
        merge = len(kernel) * counts.bin_ms / 8 if parameters.merge_ms is None else parameters.merge_ms
        known = support is not None or parameters.first_kernels == "spike"
        least = 0.0 if known else np.log(code.shape[1] * code.shape[2])
        least = least if parameters.least_gain is None else parameters.least_gain
        rule = Detection(max(1, round(merge / counts.bin_ms)), least, counts.trials_per_bin,
                         refine=support is None)
        return [find_events(*parts, kernel, rule) for parts in zip(code, signals, offset, strict=True)]

    def events(self, counts: SpikeCounts, conditions: Any = None, support: np.ndarray | None = None) -> np.ndarray:
        """The events as a table."""
        peaks = np.abs(self.kernel).max(axis=(0, 1))
        table = event_table(self.layout(counts), self.find(counts, conditions, support), counts, peaks)
        if support is not None or self.parameters.first_kernels == "spike":
            return table
        size = np.abs(table["amplitude"])
        usual = np.array([np.median(size[table["kernel"] == k]) if (table["kernel"] == k).any() else 0.0
                          for k in range(len(peaks))])
        return table[size >= self.parameters.least_share * usual[table["kernel"]]]


class EventFitter:
    """Fits models of one number and length of kernels; the graphs that TensorFlow traces serve all of its fits.

    Args:
        kernels, kernel_bins: number and length.
        neurons: number of neurons.
        trials_per_bin: Bernoulli draws in a bin; None: Poisson.
        parameters: how.
    """

    def __init__(self, kernels: int, kernel_bins: int, neurons: int, trials_per_bin: int | None,
                 parameters: EventParameters) -> None:
        self.parameters, self.kernels, self.kernel_bins = parameters, kernels, kernel_bins
        likelihood = Poisson() if trials_per_bin is None else Binomial(trials_per_bin)
        self.first_lambda = parameters.first_penalty * (trials_per_bin or 1)
        self.model = CRsAE(kernels, kernel_bins, iterations=parameters.iterations, likelihood=likelihood,
                           shrinkage="soft" if parameters.signs == "both" else "nonnegative_soft",
                           gradient="unrolled", lambda_init=self.first_lambda, lambda_learning=None, seed=0)
        self.model.build((None, None, neurons if parameters.neurons == "together" else 1))
        self.training = HiddenBinsTraining(self.model.encoder, neurons, parameters)

    def fit(self, counts: SpikeCounts, conditions: Any = None, support: np.ndarray | None = None, seed: int = 0,
            progress: Callable[[str, float], object] | None = None) -> EventModel:
        """Learn kernels, lambda and baseline from trials.

        Args:
            counts: spikes.
            conditions: label of each trial, for ``baseline="psth"``.
            support: (trials, positions, kernels) known onsets, or None.
            seed: int.
            progress: gets the name of a step and the fraction of it that is done.

        Returns:
            An ``EventModel``, which holds until the next fit.
        """
        say = progress or (lambda text, fraction: None)
        parameters, training = self.parameters, self.training
        self.model.encoder.iterations = parameters.iterations
        rates = best_psth(counts, conditions, WIDTHS_MS)[1] if parameters.baseline == "psth" else None
        level = np.zeros(counts.counts.shape[2]) if rates is not None else eta_of_rate(
            np.maximum(counts.counts.mean(axis=(0, 1), dtype=np.float64), 1e-4), counts.trials_per_bin)
        fitted = EventModel(self.model, level, rates, parameters, [], level)
        training.begin(self._first(fitted.layout(counts), counts, support, seed), self.first_lambda, level, seed)
        signals = _signals(fitted, counts, conditions, support)
        training.run(signals, parameters.steps, progress=lambda fraction: say("train", fraction))
        fitted.baseline = fitted.event_baseline = training.baseline
        _refine(fitted, counts, conditions, support, lambda fraction: say("refine kernels", fraction))
        if parameters.rounds:  # lambda of the refined kernels
            training.level.assign(fitted.baseline.astype(np.float32))
            training.run(signals, max(1, parameters.steps // 2), kernels=False,
                         progress=lambda fraction: say("train lambda", fraction))
            fitted.baseline = training.baseline
        fitted.history = training.history
        own = self.model.encoder.cell.baseline
        if own is not None and len(fitted.baseline) == self.model.dictionary.channels:  # for `model.encode` by itself
            own.assign(fitted.baseline.astype(np.float32))
        self.model.encoder.iterations = _MORE_ITERATIONS * parameters.iterations
        return fitted

    def _first(self, layout: Layout, counts: SpikeCounts, support: np.ndarray | None, seed: int) -> np.ndarray:
        """The kernels to start from."""
        signals, width = layout.to_signals(counts.counts), self.parameters.smoothing_ms / counts.bin_ms
        if support is not None:
            return onset_kernels(signals, layout.support_of_signals(support), self.kernel_bins, width / 2)
        if self.parameters.first_kernels == "spike":
            return spike_kernels(self.kernel_bins, layout.channels, self.kernels, seed)
        return first_kernels(signals, self.kernel_bins, self.kernels, width, seed)


def _refine(fitted: EventModel, counts: SpikeCounts, conditions: Any, support: np.ndarray | None,
            progress: Callable[[float], object]) -> None:
    """Find events and fit the kernels to them, in turn; the model and its baseline change."""
    layout, parameters = fitted.layout(counts), fitted.parameters
    signals = layout.to_signals(counts.counts)
    for number in range(parameters.rounds):
        progress(number / parameters.rounds)
        found = fitted.find(counts, conditions, support)
        if not sum(len(one[0]) for one in found):
            return
        given = (signals, layout.to_signals(fitted.offset(counts, conditions)), fitted.kernel, found,
                 counts.trials_per_bin, parameters.smoothness)
        if support is None and number in _RECENTRED and number < parameters.rounds - 1:
            fitted.model.set_dictionary(recentre(*given))
            continue
        refit, shift = refit_kernels(*given)
        fitted.model.set_dictionary(refit)
        fitted.baseline = fitted.event_baseline = fitted.baseline + (shift if layout.together else float(shift[0]))


def _signals(fitted: EventModel, counts: SpikeCounts, conditions: Any, support: np.ndarray | None) -> Signals:
    """The training data."""
    layout = fitted.layout(counts)
    owner = np.arange(layout.neurons)[None] if layout.together else np.arange(layout.neurons)[:, None]
    return Signals(layout.to_signals(counts.counts) / np.float32(counts.trials_per_bin or 1),
                   layout.to_signals(fitted.offset(counts, conditions) - fitted.baseline).astype(np.float32),
                   np.tile(owner, (layout.trials, 1)), None if support is None else layout.support_of_signals(support))
