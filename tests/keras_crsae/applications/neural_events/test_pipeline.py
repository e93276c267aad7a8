"""``fit_events`` on simulated trials, and what it refuses."""

import dataclasses

import numpy as np
import pytest

from keras_crsae.applications.neural_events import (
    EventParameters,
    best_threshold,
    bin_spikes,
    fit_events,
    matched_filter_peaks,
    score_events,
    smoothed_raster_peaks,
)
from keras_crsae.data import simulate_neural_events
from keras_crsae.metrics import dictionary_error

QUICK = EventParameters(steps=25, rounds=4, folds=0, iterations=10)


def binned(data):
    return data.kernels.reshape(-1, 5, data.kernels.shape[1]).mean(axis=1)[:, None, :]


def test_overlapping_events_are_found_better_than_by_a_smoothed_raster_and_a_matched_filter(trials, fitted):
    ours = score_events(trials.events, fitted.events, 15, "best").f1
    counts = bin_spikes(trials.spikes, 5)
    smoothed = max(best_threshold(trials.events, smoothed_raster_peaks(counts, width), tolerance_ms=15,
                                  shift_ms="best")[1].f1 for width in (10, 15, 20))
    matched = best_threshold(trials.events, matched_filter_peaks(counts, fitted.kernels), tolerance_ms=15,
                             shift_ms="best")[1].f1
    assert ours > 0.85 and ours > matched + 0.05 and ours > smoothed - 0.02, (ours, smoothed, matched)


def test_the_length_of_the_truth_is_chosen_and_events_predict_hidden_bins(trials, fitted):
    assert [one.kernel_ms for one in fitted.candidates] == [40, 100] and len(fitted.kernels) == 20
    assert dictionary_error(binned(trials), fitted.fitted.kernel)[0] < 0.3
    scores = fitted.held_out
    assert fitted.held_out_log_likelihood.shape == (24,)
    assert scores.gain > 5 * scores.gain_error and (scores.model - scores.constant).mean() > 10


def test_rates_of_the_fit_are_nearer_to_the_truth_than_the_psth(trials, fitted):
    true = trials.rates_hz.reshape(24, 200, 5, 2).mean(axis=2)
    assert fitted.rates.shape == true.shape
    error, constant = (np.mean((rates - true) ** 2) for rates in (fitted.rates, true.mean(axis=(0, 1))))
    assert error < 0.3 * constant


def test_known_onsets_give_the_kernels_of_two_kinds_of_events():
    data = simulate_neural_events(trials=30, duration_ms=1500, kernels=2, events_per_trial=4, gap_ms=(150, 300), seed=2)
    onsets = [[data.onsets(t, 0, k) for t in range(30)] for k in range(2)]
    result = fit_events(data.spikes, kernels=2, onsets=onsets, parameters=QUICK)
    assert dictionary_error(binned(data), result.fitted.kernel).max() < 0.25
    assert set(result.events["kernel"].tolist()) == {0, 1}
    at = result.events[result.events["kernel"] == 0]
    assert all(np.abs(data.onsets(e["trial"]) - e["time_ms"]).min() < 5 for e in at)


def test_neurons_together_share_events_and_counts_may_be_poisson(trials):
    spikes = trials.spikes.astype(int)
    spikes[0, 0] = 2  # more than one a sample
    result = fit_events(spikes, kernel_ms=100, parameters=dataclasses.replace(QUICK, neurons="together", steps=8,
                                                                              rounds=1))
    assert result.kernels.shape == (20, 2, 1) and result.counts.trials_per_bin is None
    assert set(result.events["neuron"].tolist()) <= {-1} and np.isfinite(result.rates).all()


def test_the_same_seed_gives_the_same_result(trials):
    quick = dataclasses.replace(QUICK, steps=4, rounds=1)
    first, second = (fit_events(trials.spikes[:6], kernel_ms=100, parameters=quick, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.kernels, second.kernels)
    assert first.events.tolist() == second.events.tolist()


def test_silence_and_single_trials_are_no_harm():
    spikes = np.zeros((3, 400, 2), "uint8")
    spikes[0, ::29, 0] = 1
    result = fit_events(spikes, kernel_ms=50, parameters=dataclasses.replace(QUICK, steps=3, rounds=1))
    assert any("Neurons without any spike: [1]" in one for one in result.messages)
    assert any("Trials without any spike: [1, 2]" in one for one in result.messages)
    assert np.isfinite(result.rates).all()
    fit_events(spikes[:1, :, 0], kernel_ms=50, parameters=dataclasses.replace(QUICK, steps=2, rounds=0))


@pytest.mark.parametrize("spikes, options, message", [
    (np.zeros((4, 200)), {}, "no spike"), (np.eye(4, 200), {"kernel_ms": 600}, "half a trial"),
    (np.eye(4, 200), {"kernel_ms": 5}, "3 bins"), (np.eye(4, 200), {"kernels": 0}, "kernels"),
    (np.eye(4, 200), {"kernels": (1, 2), "kernel_ms": 50}, "cross-validation"),
    (np.eye(4, 200), {"kernels": ()}, "at least one"),
    (np.eye(4, 200), {"kernel_ms": 50, "conditions": [1]}, "one label a trial"),
    (np.eye(4, 200), {"kernel_ms": 50, "parameters": EventParameters(folds=5)}, "as many trials"),
    (np.eye(4, 200), {"kernel_ms": 50, "onsets": [[1.0]]}, "4 trials")])
def test_bad_options_are_refused_before_work_starts(spikes, options, message):
    with pytest.raises(ValueError, match=message):
        fit_events(spikes, **{"parameters": QUICK, **options})
