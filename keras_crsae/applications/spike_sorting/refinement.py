"""Refine templates by matching and averaging, and estimate each unit's prior on amplitude and rate (NumPy)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from crsae_onnx.core.signals import robust_std

from keras_crsae.applications.spike_sorting.matching import (
    UnitSpikes,
    match_templates,
    mean_waveforms,
    residual,
    select_units,
)
from keras_crsae.applications.spike_sorting.parameters import SortingParameters
from keras_crsae.applications.spike_sorting.templates import low_rank_templates, template_norms, wiener_shrink


class RefinedUnits(NamedTuple):
    """Templates after refinement, and the prior on their spikes."""

    spikes: UnitSpikes  #: matched with the templates before the last averaging
    templates: np.ndarray  #: (units, kernel_size, channels)
    amplitude_cv: np.ndarray  #: (units,), coefficient of variation of the amplitudes
    log_odds_against: np.ndarray  #: (units,), log odds against a spike at one sample


    def without_silent(self) -> tuple[RefinedUnits, np.ndarray]:
        """(the units that have spikes, their rows)."""
        rows = np.flatnonzero(self.spikes.counts)
        if len(rows) == len(self.templates):
            return self, rows
        return RefinedUnits(select_units(self.spikes, rows), self.templates[rows], self.amplitude_cv[rows],
                            self.log_odds_against[rows]), rows


Estimate = Callable[[UnitSpikes, int, np.ndarray, SortingParameters], tuple[np.ndarray, np.ndarray]]


def estimate_spike_prior(spikes: UnitSpikes, samples: int, amplitude_cv: float | np.ndarray,
                         parameters: SortingParameters) -> tuple[np.ndarray, np.ndarray]:
    """(amplitude_cv, log_odds_against) of each unit from the amplitudes and number of its spikes.

    With the prior N(m, s^2) on amplitudes, the estimate from a correlation c is h = (c + m / s^2) / (1 + 1 / s^2).
    The correlation c has the variance of the amplitudes plus that of the noise, 1.

    Args:
        spikes: matched with ``amplitude_cv``.
        samples: length of the signal.
        amplitude_cv: a number or (units,).
        parameters: bounds of the estimates.
    """
    variations, odds = [], []
    norms = template_norms(spikes.templates)
    for unit, (mean, prior) in enumerate(zip(norms, np.broadcast_to(amplitude_cv, len(norms)), strict=True)):
        amplitude = spikes.code_amplitude[spikes.unit_id == unit]
        variance = np.square(prior * mean)
        c = amplitude * (1 + 1 / variance) - mean / variance
        deviation = robust_std(c) if len(c) else 0.0
        variations.append(np.clip(math.sqrt(max(deviation**2 - 1, 0)) / mean, parameters.minimum_amplitude_cv,
                                  parameters.maximum_amplitude_cv))
        odds.append(np.clip(math.log(samples / max(len(amplitude), 1) / parameters.timing_uncertainty_samples),
                            parameters.minimum_log_odds_against_nats, parameters.maximum_log_odds_against_nats))
    return np.array(variations), np.array(odds)


def refine_templates(templates: np.ndarray, white: np.ndarray, refractory: int, parameters: SortingParameters,
                     progress: Callable[[float], object], *, first: UnitSpikes | None = None,
                     match: Callable[..., UnitSpikes] = match_templates, estimate: Estimate = estimate_spike_prior
                     ) -> RefinedUnits:
    """Rounds of matching, estimating the prior and averaging; once few spikes change, the last ones follow at once.

    Args:
        templates: (units, kernel_size, channels), whitened.
        white: (samples, channels), whitened.
        refractory: samples.
        parameters: rounds, first prior and bounds.
        progress: called with the fraction of the rounds that is done.
        first: None, or what the first round would find: ``templates`` matched with the first prior.
        match, estimate: ``match_templates`` and ``estimate_spike_prior``.
    """
    rounds, turn, before = parameters.refinement_rounds, 0, None
    quick = max(0, rounds - parameters.thorough_rounds)
    amplitude_cv = np.full(len(templates), parameters.initial_amplitude_cv)
    log_odds_against = np.full(len(templates), parameters.initial_log_odds_against_nats)
    while turn < rounds:
        progress(turn / rounds)
        if first is not None and turn == 0 < quick:
            spikes = first
        else:
            spikes = match(white, templates, refractory, amplitude_cv, log_odds_against, thorough=turn >= quick)
        amplitude_cv, estimated = estimate(spikes, len(white), amplitude_cv, parameters)
        # Odds only rise: a unit of background spikes would become ever more probable, smaller and more frequent.
        log_odds_against = np.maximum(log_odds_against, estimated) if turn else estimated
        templates = average_spikes(spikes, white)
        settled = before is not None and len(spikes.unit_id) >= parameters.minimum_spikes and \
            turn + 1 < quick and _changed(before, spikes) <= parameters.settled_fraction
        turn, before = quick if settled else turn + 1, spikes
    return RefinedUnits(spikes, templates, amplitude_cv, log_odds_against)


def _changed(before: UnitSpikes, now: UnitSpikes) -> float:
    """Fraction of the spikes that were not there before, or have gone."""
    sets = [set(zip(spikes.start_sample.tolist(), spikes.unit_id.tolist(), strict=True)) for spikes in (before, now)]
    return len(sets[0] ^ sets[1]) / max(1, len(sets[1]))


def average_spikes(spikes: UnitSpikes, white: np.ndarray) -> np.ndarray:
    """Templates as denoised means of their spikes, each with all others subtracted."""
    counts = spikes.counts
    denoised = low_rank_templates(wiener_shrink(mean_waveforms(residual(white, spikes), spikes), counts), counts)
    nonzero = denoised.any(axis=(1, 2), keepdims=True)  # nothing may remain of a unit with few spikes
    return np.where(nonzero, denoised, spikes.templates.astype(np.float32))
