"""Templates refined by matching and averaging, and the prior on their spikes."""

import numpy as np
import pytest

from keras_crsae.applications.spike_sorting.matching import match_templates
from keras_crsae.applications.spike_sorting.parameters import SortingParameters
from keras_crsae.applications.spike_sorting.refinement import (
    average_spikes,
    estimate_spike_prior,
    refine_templates,
)
from keras_crsae.applications.spike_sorting.templates import template_norms

PARAMETERS = SortingParameters()


def test_averaging_moves_templates_towards_the_truth(unit_shapes, unit_signal):
    rough = unit_shapes + 0.2 * np.random.default_rng(1).normal(size=unit_shapes.shape)
    averaged = average_spikes(match_templates(unit_signal, rough, refractory=20), unit_signal)
    assert template_norms(averaged - unit_shapes).max() < 0.6 < template_norms(rough - unit_shapes).min()


def test_variation_and_odds_are_those_of_the_simulation(unit_shapes, unit_signal):
    """900 spikes of 3 units in 200,000 samples, amplitudes varying by 6 %."""
    spikes = match_templates(unit_signal, unit_shapes, refractory=20)
    amplitude_cv, log_odds_against = estimate_spike_prior(spikes, len(unit_signal), 0.1, PARAMETERS)
    np.testing.assert_allclose(amplitude_cv[:2], 0.06, atol=0.02)
    np.testing.assert_allclose(log_odds_against, np.log(len(unit_signal) / 300 / 3), atol=0.2)


def test_estimates_stay_within_their_bounds(unit_shapes, unit_signal):
    spikes = match_templates(unit_signal, unit_shapes, refractory=20)
    narrow = SortingParameters(minimum_amplitude_cv=0.2, maximum_amplitude_cv=0.3, minimum_log_odds_against_nats=8.0)
    amplitude_cv, log_odds_against = estimate_spike_prior(spikes, len(unit_signal), 0.1, narrow)
    assert amplitude_cv.tolist() == [0.2] * 3 and log_odds_against.tolist() == [8.0] * 3


def test_a_unit_whose_spikes_others_have_taken_is_left_out(unit_shapes, unit_signal):
    absent = np.concatenate([unit_shapes[:1], 30 * unit_shapes[1:2, ::-1], unit_shapes[1:]])
    refined = refine_templates(absent, unit_signal[:20_000], 20, PARAMETERS, lambda fraction: None)
    assert refined.spikes.counts[1] == 0
    kept, rows = refined.without_silent()
    assert rows.tolist() == [0, 2, 3] and len(kept.templates) == len(kept.amplitude_cv) == 3
    np.testing.assert_array_equal(kept.spikes.counts, refined.spikes.counts[rows])


def test_log_odds_only_rise_during_refinement(unit_shapes):
    """A unit of background spikes would become ever more probable, smaller and more frequent."""
    white, used = np.random.default_rng(9).normal(size=(4000, 2)).astype(np.float32), []
    estimates = iter([6.0, 5.5, 6.5, 6.2, 5.0, 5.0, 7.0, 6.0])

    def match(signal, templates, refractory, amplitude_cv, log_odds_against, thorough):
        used.append((float(np.max(log_odds_against)), thorough))
        return match_templates(signal, templates, refractory, amplitude_cv, log_odds_against, thorough=thorough)

    refined = refine_templates(
        unit_shapes, white, 20, PARAMETERS, lambda fraction: None, match=match,
        estimate=lambda spikes, samples, amplitude_cv, parameters: (np.full(3, 0.1), np.full(3, next(estimates))))
    assert [odds for odds, _ in used] == [7.0, 6.0, 6.0, 6.5, 6.5, 6.5, 6.5, 7.0]
    assert [thorough for _, thorough in used] == [False] * 6 + [True] * 2
    assert refined.log_odds_against.tolist() == [7.0] * 3


@pytest.mark.parametrize("rounds", [1, 2])
def test_progress_is_reported_each_round(unit_shapes, unit_signal, rounds):
    done = []
    refine_templates(unit_shapes, unit_signal[:20_000], 20, SortingParameters(refinement_rounds=rounds), done.append)
    assert done == [turn / rounds for turn in range(rounds)]


def test_rounds_that_change_nothing_are_left_out(unit_shapes, unit_signal):
    used = []

    def match(*arguments, thorough):
        used.append(thorough)
        return match_templates(*arguments, thorough=thorough)

    refine_templates(unit_shapes, unit_signal[:20_000], 20, PARAMETERS, lambda fraction: None, match=match)
    assert used[-2:] == [True, True] and 2 <= used.count(False) < PARAMETERS.refinement_rounds - 2
    rounds, first = len(used), match_templates(unit_signal[:20_000], unit_shapes, 20)
    refine_templates(unit_shapes, unit_signal[:20_000], 20, PARAMETERS, lambda fraction: None, match=match, first=first)
    assert len(used) == 2 * rounds - 1, "what is known is not matched again"
