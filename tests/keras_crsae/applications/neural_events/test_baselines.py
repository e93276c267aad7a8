"""PSTH, smoothed raster and matched filter."""

import numpy as np
import pytest
from scipy.stats import binom, poisson

from keras_crsae.applications.neural_events.baselines import (
    best_threshold,
    condition_labels,
    count_log_likelihood,
    matched_filter_peaks,
    psth,
    smooth,
    smoothed_raster_peaks,
)
from keras_crsae.applications.neural_events.scoring import score_events
from keras_crsae.applications.neural_events.spike_counts import SpikeCounts, bin_spikes
from keras_crsae.data import simulate_neural_events


def test_log_likelihoods_are_those_of_scipy():
    counts = np.arange(4)
    np.testing.assert_allclose(count_log_likelihood(counts, np.array(1.5), None), poisson.logpmf(counts, 1.5))
    np.testing.assert_allclose(count_log_likelihood(counts, np.array(1.5), 5), binom.logpmf(counts, 5, 0.3))


def test_smoothing_keeps_a_constant_up_to_the_border():
    np.testing.assert_allclose(smooth(np.full((2, 30, 1), 3.0), 20, 5), 3)
    assert np.ptp(smooth(np.random.default_rng(0).random((1, 30, 1)), np.inf, 5)) == 0


def test_a_psth_is_one_of_its_condition_and_never_zero():
    counts = SpikeCounts(np.array([[[2.0], [0.0]], [[4.0], [0.0]], [[0.0], [6.0]]]), 5.0)
    rates = psth(counts, ["a", "a", "b"])
    assert rates["a"].ravel()[0] == 3 and rates["b"].ravel()[1] == 6 and rates["a"].min() > 0
    with pytest.raises(ValueError, match="one label a trial"):
        condition_labels(["a"], 3)


@pytest.fixture(scope="module")
def isolated():
    data = simulate_neural_events(trials=20, duration_ms=2000, events_per_trial=3, gap_ms=(300, 500), seed=0)
    return data, bin_spikes(data.spikes, 5)


def test_isolated_events_are_found_by_both(isolated):
    data, counts = isolated
    kernel = data.kernels.reshape(25, 5, 1).mean(axis=1)
    for peaks in (smoothed_raster_peaks(counts, 15), matched_filter_peaks(counts, kernel)):
        level, scores = best_threshold(data.events, peaks, tolerance_ms=15, shift_ms="best")
        assert scores.f1 > 0.9
        assert score_events(data.events, peaks[peaks["amplitude"] >= level], 15, "best") == scores


def test_a_threshold_without_candidates_finds_nothing(isolated):
    data, _ = isolated
    assert best_threshold(data.events, data.events[:0])[1].hits == 0
