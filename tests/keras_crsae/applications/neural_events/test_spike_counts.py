"""Counts of spikes in bins."""

import numpy as np
import pytest

from keras_crsae.applications.neural_events.spike_counts import bin_spikes


def test_samples_are_summed_in_bins_and_the_rest_is_left_out():
    spikes = np.zeros((2, 13), int)
    spikes[0, [0, 3, 4, 12]] = 1
    found = bin_spikes(spikes, bin_ms=4)
    assert found.counts[..., 0].tolist() == [[2, 1, 0], [0, 0, 0]] and found.trials_per_bin == 4
    assert found.times_ms.tolist() == [0, 4, 8] and found.rate_hz.tolist() == [1000 * 3 / 24]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32"])
def test_any_dtype_of_whole_numbers_is_taken(dtype):
    assert bin_spikes(np.eye(4, 20).astype(dtype), bin_ms=2).counts.sum() == 4


def test_counts_above_one_are_poisson():
    spikes = np.zeros((2, 20, 3))
    spikes[0, 0, 2] = 2
    assert bin_spikes(spikes).trials_per_bin is None
    with pytest.raises(ValueError, match="poisson"):
        bin_spikes(spikes, likelihood="binomial")


def test_times_and_arrays_agree():
    spikes = (np.random.default_rng(0).random((4, 100, 2)) < 0.1).astype(int)
    times = [[np.flatnonzero(spikes[t, :, n]) + 0.5 for n in range(2)] for t in range(4)]
    of_times = bin_spikes(times, bin_ms=5, window_ms=(0, 100))
    of_array = bin_spikes(spikes, bin_ms=5)
    assert (of_times.counts == of_array.counts).all() and of_times.trials_per_bin == of_array.trials_per_bin == 5
    seconds = bin_spikes([[t / 1000 for t in trial] for trial in times], 5, window_ms=(0, 100), time_unit="s")
    assert (seconds.counts == of_array.counts).all()


def test_silent_trials_and_neurons_are_kept():
    assert bin_spikes([[], [3.0]], 5, window_ms=(0, 10)).counts.shape == (2, 2, 1)
    assert bin_spikes([[[], []], [[3.0], []]], 5, window_ms=(0, 10)).counts.shape == (2, 2, 2)
    ragged = np.empty(2, object)
    ragged[:] = [[1.0], []]
    assert bin_spikes(ragged, 5, window_ms=(-5, 10)).start_ms == -5


@pytest.mark.parametrize("spikes, options, message", [
    (np.full((2, 20), 0.5), {}, "fractions"), (-np.eye(2, 20), {}, "negative"), (np.full((2, 20), np.nan), {}, "NaN"),
    (np.zeros(20), {}, "trials, time"), (np.zeros((0, 20)), {}, "not empty"), (np.array([["a"]]), {}, "dtype"),
    (np.eye(2, 20), {"bin_ms": 2.5}, "multiple"), (np.eye(2, 20), {"bin_ms": 50}, "longer than a trial"),
    (np.eye(2, 20), {"bin_ms": -1}, "bin_ms"), (np.eye(2, 20), {"likelihood": "gaussian"}, "likelihood"),
    ([[1.0]], {}, "window_ms"), ([[1.0]], {"window_ms": (5, 5)}, "start < stop"), ([], {"window_ms": (0, 9)}, "empty"),
    ([1.0, 2.0], {"window_ms": (0, 9)}, "single trial"), ([[1.0], [[1.0]]], {"window_ms": (0, 9)}, "mixes"),
    ([[[1.0], []], [[1.0]]], {"window_ms": (0, 9)}, "empty list to a neuron"),
    ([[np.inf]], {"window_ms": (0, 9)}, "infinite"), ([["a"]], {"window_ms": (0, 9)}, "no numbers|mixes"),
    ([[], []], {"window_ms": (0, 9)}, "no spike"), ([[50.0]], {"window_ms": (0, 9)}, "No spike lies"),
    ([np.linspace(0, 2, 30).tolist()], {"window_ms": (0, 2000)}, "time_unit='s'"),
    ([[1.0]], {"window_ms": (0, 9), "time_unit": "us"}, "time_unit"),
    ([[1.0, 1.1, 1.2]], {"window_ms": (0, 9), "bin_ms": 1, "likelihood": "binomial"}, "poisson")])
def test_bad_input_is_refused_with_the_way_out(spikes, options, message):
    with pytest.raises(ValueError, match=message):
        bin_spikes(spikes, **{"bin_ms": 5, **options})
