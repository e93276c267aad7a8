"""Spikes of trials, and what was fitted to them; small, and shared by the tests."""

import pytest

from keras_crsae.applications.neural_events import EventParameters, fit_events
from keras_crsae.data import simulate_neural_events

PARAMETERS = EventParameters(steps=25, rounds=3, folds=2, iterations=10)
CONDITIONS = ["left", "right"] * 12


@pytest.fixture(scope="session")
def trials():
    """24 trials of 1 s, two neurons of different rates, overlapping events."""
    return simulate_neural_events(trials=24, duration_ms=1000, neurons=2, kernel_ms=100, events_per_trial=4,
                                  gap_ms=(60, 140), amplitude=(4.5, 0.4), baseline_hz=[5.0, 12.0], seed=1)


@pytest.fixture(scope="session")
def fitted(trials):
    """The result of ``fit_events``, with a choice between two lengths."""
    return fit_events(trials.spikes, bin_ms=5, kernel_ms=(40, 100), conditions=CONDITIONS, parameters=PARAMETERS)
