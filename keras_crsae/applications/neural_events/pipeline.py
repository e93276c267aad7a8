"""Events in the spikes of trials: kernels, and when each of them occurs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from crsae_onnx.core.progress import Progress, progress_bar

from keras_crsae.applications.neural_events.baselines import condition_labels
from keras_crsae.applications.neural_events.choices import kernel_choices
from keras_crsae.applications.neural_events.held_out import HeldOut, held_out
from keras_crsae.applications.neural_events.model import EventFitter, EventModel
from keras_crsae.applications.neural_events.parameters import DEFAULTS, EventParameters
from keras_crsae.applications.neural_events.result import Candidate, NeuralEvents
from keras_crsae.applications.neural_events.spike_counts import SpikeCounts, bin_spikes


def fit_events(spikes: Any, bin_ms: float = 5.0, kernel_ms: float | Sequence[float] = 125.0,
               kernels: int | Sequence[int] = 1, onsets: Any = None, *, conditions: Sequence[Any] | None = None,
               sample_ms: float = 1.0, window_ms: Sequence[float] | None = None, time_unit: str = "ms",
               parameters: EventParameters = DEFAULTS, seed: int = 0, progress: bool | Progress | None = None
               ) -> NeuralEvents:
    """Learn kernels from the spikes of trials, and find when each of them occurs in every trial.

    The log odds of a spike (counts without a bound: the log rate) are a baseline plus a sum of kernels, each placed
    where an event occurs and scaled by its amplitude (arXiv 1907.03211). Kernels, lambda and baseline are learned by
    predicting bins that are hidden from the encoder of a ``CRsAE``; then events and kernels are refined in turn. An
    event stays where it adds log(number of places) to the log likelihood of its trial.

    Args:
        spikes: (trials, time) or (trials, time, neurons) array of 0/1 or counts; or a list over trials (of lists over
            neurons) of spike times, see ``bin_spikes``; or ``SpikeCounts``, with ``bin_ms`` of their own.
        bin_ms: width of a bin.
        kernel_ms: length of a kernel; of several the one with the best held-out likelihood is taken.
        kernels: number of kernels; of several the one with the best held-out likelihood is taken.
        onsets: known times in ms at which kernels may start, for all trials or a list over trials; with several kernels
            a list over kernels of either. None: found.
        conditions: label of each trial, for the trial-averaged rate (PSTH).
        sample_ms, window_ms, time_unit: see ``bin_spikes``.
        parameters: tuning constants.
        seed: int; the same seed and machine give the same result.
        progress: True: a bar; or ``callable(step, fraction)``.

    Returns:
        NeuralEvents.

    Raises:
        ValueError: invalid spikes or options, before work starts.

    Example:
        >>> from keras_crsae.applications.neural_events import EventParameters, fit_events
        >>> from keras_crsae.data import simulate_neural_events
        >>> data = simulate_neural_events(trials=20, duration_ms=1000, events_per_trial=4, seed=1)
        >>> result = fit_events(data.spikes, bin_ms=5, kernel_ms=100,
        ...                     parameters=EventParameters(steps=10, rounds=2, folds=0))
        >>> result.kernels.shape, result.events.dtype.names
        ((20, 1), ('trial', 'neuron', 'time_ms', 'kernel', 'amplitude'))
    """
    counts = spikes if isinstance(spikes, SpikeCounts) else bin_spikes(
        spikes, bin_ms, sample_ms=sample_ms, window_ms=window_ms, time_unit=time_unit, likelihood=parameters.likelihood)
    choices = kernel_choices(counts, kernels, kernel_ms, onsets, parameters)
    labels = None if conditions is None else condition_labels(conditions, len(counts.counts))
    with progress_bar(progress) as report:
        fitters = [EventFitter(number, bins, counts.counts.shape[2], counts.trials_per_bin, parameters)
                   for number, bins, _ in choices]
        candidates = [_candidate(counts, fitter, support, labels, seed, report)
                      for fitter, (_, _, support) in zip(fitters, choices, strict=True)] if parameters.folds else []
        best = int(np.argmax([one.log_likelihood for one in candidates])) if candidates else 0
        support = choices[best][2]
        fitted = fitters[best].fit(counts, labels, support, seed, report)
        report("find events", 0.0)
        return _result(counts, fitted, labels, support, candidates, best, seed)


def _candidate(counts: SpikeCounts, fitter: EventFitter, support: np.ndarray | None, labels: list[Any] | None,
               seed: int, report: Progress) -> Candidate:
    """Cross-validate one number and length."""
    number, length_ms, parameters = fitter.kernels, fitter.kernel_bins * counts.bin_ms, fitter.parameters

    def fit(train: np.ndarray) -> EventModel:
        part = replace(counts, counts=counts.counts[train])
        return fitter.fit(part, None if labels is None else [labels[i] for i in train],
                          None if support is None else support[train], seed)

    what = f"cross-validate {number} kernel{'s' * (number > 1)} of {length_ms:g} ms"
    report(what, 0.0)
    block = max(1, round(parameters.held_out_ms / counts.bin_ms))
    scores = held_out(counts, fit, labels, parameters.folds, parameters.held_out_groups, block, support, seed,
                      lambda fraction: report(what, fraction))
    return Candidate(number, length_ms, scores)


def _result(counts: SpikeCounts, fitted: EventModel, labels: list[Any] | None, support: np.ndarray | None,
            candidates: list[Candidate], best: int, seed: int) -> NeuralEvents:
    scores: HeldOut | None = candidates[best].held_out if candidates else None
    events = fitted.events(counts, labels, support)
    notes = _notes(counts, events, scores)
    return NeuralEvents(events, fitted, counts, labels, support, candidates, scores, notes, {"seed": int(seed)})


def _notes(counts: SpikeCounts, events: np.ndarray, scores: HeldOut | None) -> list[str]:
    """What a user should know, in sentences."""
    notes = []
    silent = np.flatnonzero(~counts.counts.any(axis=(0, 1)))
    if len(silent):
        notes.append(f"Neurons without any spike: {silent.tolist()}.")
    empty = np.flatnonzero(~counts.counts.any(axis=(1, 2)))
    if len(empty):
        notes.append(f"Trials without any spike: {empty.tolist()}.")
    if not len(events):
        notes.append("No event adds enough to the likelihood. Look at the kernels and the rate; a longer or shorter "
                     "`kernel_ms`, wider bins, or EventParameters(least_gain=...) may help.")
    if scores is not None and scores.gain <= 0:
        notes.append(f"Events do not predict hidden bins better than the trial-averaged rate "
                     f"({scores.gain:.3g} nats a trial): the kernels may be noise.")
    return notes
