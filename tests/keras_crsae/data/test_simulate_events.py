"""Simulated spikes of trials."""

import numpy as np
import pytest

from keras_crsae.data import response_kernels, simulate_neural_events


def test_rates_follow_from_the_events():
    data = simulate_neural_events(trials=3, duration_ms=800, neurons=2, kernels=2, events_per_trial=2, seed=3)
    eta = np.full(data.spikes.shape, np.log(0.008 / 0.992))
    for event in data.events:
        first = int(event["time_ms"])
        eta[event["trial"], first:first + 125, event["neuron"]] += event["amplitude"] * data.kernels[:, event["kernel"]]
    np.testing.assert_allclose(data.rates_hz, 1000 / (1 + np.exp(-eta)))
    assert len(data.events) == 3 * 2 * 2 * 2 and data.onsets(1, 1, 1).size == 2


def test_spikes_have_the_rates():
    data = simulate_neural_events(trials=200, duration_ms=1000, onsets_ms=[300.0], amplitude=(3.0, 0.0), seed=0)
    measured, expected = (part[..., 0].mean(axis=0).reshape(-1, 50).mean(axis=1)
                          for part in (1000.0 * data.spikes, data.rates_hz))
    assert np.abs(measured - expected).max() < 4 * np.sqrt(expected.max() * 1000 / 50 / 200)


def test_gaps_are_kept():
    data = simulate_neural_events(trials=20, events_per_trial=8, gap_ms=(30, 80), seed=1)
    gaps = np.concatenate([np.diff(data.onsets(trial)) for trial in range(20)])
    assert 29 <= gaps.min() < 40 and 70 < gaps.max() <= 81


def test_known_onsets_are_the_same_in_all_trials():
    data = simulate_neural_events(trials=2, neurons=2, onsets_ms=500 + 125 * np.arange(16))
    assert all(data.onsets(t, n).tolist() == (500 + 125 * np.arange(16)).tolist() for t in range(2) for n in range(2))


def test_kernels_differ_and_have_peak_one():
    kernels = response_kernels(100, 5)
    np.testing.assert_allclose(np.abs(kernels).max(axis=0), 1)
    unit = kernels / np.linalg.norm(kernels, axis=0)
    assert np.abs(unit.T @ unit - np.eye(5)).max() < 0.95


@pytest.mark.parametrize("options, message", [
    ({"duration_ms": 200, "events_per_trial": 8}, "do not fit"), ({"onsets_ms": [2990.0]}, "do not fit"),
    ({"baseline_hz": 0}, "baseline_hz"), ({"baseline_hz": [5.0, 5.0]}, "broadcast|baseline_hz"),
    ({"kernels": np.zeros((10, 1))}, "none of them zero"), ({"trials": 0}, "trials")])
def test_what_cannot_be_drawn_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        simulate_neural_events(**options)
