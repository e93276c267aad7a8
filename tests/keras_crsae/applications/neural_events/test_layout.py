"""Trials and neurons as signals."""

import numpy as np
import pytest

from keras_crsae.applications.neural_events.layout import (
    Layout,
    best_psth,
    eta_of_rate,
    event_table,
    mean_of_eta,
    rate_offset,
    stratified_folds,
)
from keras_crsae.applications.neural_events.spike_counts import SpikeCounts


@pytest.mark.parametrize("together", [True, False])
def test_signals_and_trials_are_inverse(together):
    values = np.random.default_rng(0).random((3, 7, 2))
    layout = Layout(3, 2, together)
    signals = layout.to_signals(values)
    assert signals.shape == ((3, 7, 2) if together else (6, 7, 1))
    assert (layout.to_trials(signals) == values).all()
    if not together:
        assert all((signals[s, :, 0] == values[t, :, n]).all() for s in range(6)
                   for t, n in [layout.trial_and_neuron(s)])
        assert layout.of_trials(np.array([0, 2])).tolist() == [0, 1, 4, 5]


@pytest.mark.parametrize("size", [4, None])
def test_links_are_inverse(size):
    mean = np.array([0.01, 1.0, 3.5])
    np.testing.assert_allclose(mean_of_eta(eta_of_rate(mean, size), size), mean)


def test_events_have_times_neurons_and_amplitudes_of_their_own():
    found = [(np.array([2]), np.array([0]), np.array([3.0])), (np.array([], int),) * 2 + (np.array([]),)]
    events = event_table(Layout(1, 2, False), found, SpikeCounts(np.zeros((1, 9, 2)), 5.0, -10.0), np.array([0.5]))
    assert events.tolist() == [(0, 0, 0.0, 0, 1.5)]


def test_folds_hold_every_condition():
    labels = np.array(["a"] * 10 + ["b"] * 10)
    fold = stratified_folds(labels, 5, 0)
    assert all((fold[labels == label] == k).sum() == 2 for label in "ab" for k in range(5))


def test_the_width_of_a_psth_follows_the_rate():
    rng = np.random.default_rng(0)
    flat = SpikeCounts(rng.binomial(5, 0.1, (20, 100, 1)).astype(float), 5.0, 0.0, 5)
    rate = 0.3 * (np.arange(100)[:, None] // 10 % 2 == 0) + 0.02
    fast = SpikeCounts(rng.binomial(5, rate, (20, 100, 1)).astype(float), 5.0, 0.0, 5)
    widths = (5.0, 20.0, 100.0, np.inf)
    assert best_psth(flat, None, widths)[0] >= 100 and best_psth(fast, None, widths)[0] <= 20


def test_an_unknown_condition_is_refused():
    with pytest.raises(ValueError, match="conditions c"):
        rate_offset({"a": np.ones((5, 1))}, ["a", "c"], 2, 4, (5, 1))
