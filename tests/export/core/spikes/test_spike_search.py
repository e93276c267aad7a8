"""The search keeps correlations and the log posterior right while spikes are added, moved and removed."""

import numpy as np
import pytest
from crsae_onnx.core.spikes.correlations import correlate, gram
from crsae_onnx.core.spikes.spike_search import AmplitudeModel, MatchingParameters, SpikeSearch

MEAN, CV, ODDS = np.array([9.0, 11.0]), np.array([0.1, 0.2]), np.array([7.0, 6.0])


@pytest.fixture(scope="module")
def kernel():
    kernel = np.random.default_rng(0).normal(size=(12, 2, 2)).cumsum(axis=0)
    return (kernel / np.sqrt(np.square(kernel).sum((0, 1)))).astype(np.float32)


@pytest.fixture
def signal(kernel, rng):
    signal = rng.normal(size=(120, 2)).astype(np.float32)
    for start, unit, amplitude in ((20, 0, 9.0), (27, 1, 11.0), (70, 1, 12.0)):
        signal[start:start + 12] += amplitude * kernel[:, :, unit]
    return signal


@pytest.fixture
def search(kernel, signal):
    model = AmplitudeModel.from_prior(gram(kernel), MEAN, CV, ODDS)
    return SpikeSearch(model, correlate(signal, kernel), refractory=5, parameters=MatchingParameters())


def rest(signal, kernel, search):
    """The signal without the search's spikes."""
    left = signal.copy()
    for start, unit, amplitude in zip(search.start, search.unit, search.amplitude, strict=True):
        left[start:start + 12] -= np.float32(amplitude) * kernel[:, :, unit]
    return left


def log_posterior(signal, kernel, search):
    value = -0.5 * np.square(rest(signal, kernel, search), dtype=np.float64).sum()
    for unit, amplitude in zip(search.unit, search.amplitude, strict=True):
        variance = (CV[unit] * MEAN[unit]) ** 2
        value -= 0.5 * (amplitude - MEAN[unit]) ** 2 / variance + ODDS[unit] + 0.5 * np.log1p(variance)
    return value


def test_correlations_are_those_with_the_rest_of_the_signal(search, signal, kernel):
    search.add(20, 0, 8.0)
    search.add(27, 1, 10.0)
    assert search.add(3, 1, 5.0) == 0 and search.start == [3, 20, 27]
    search.discard((20, 0, 8.0))
    assert search.pop(1) == (27, 1, 10.0)
    np.testing.assert_allclose(search.correlation, correlate(rest(signal, kernel, search), kernel), atol=1e-4)


def test_a_gain_is_the_change_of_the_log_posterior(search, signal, kernel):
    search.add(27, 1, 10.0)
    for spike in ((20, 0, 8.0), (70, 1, 12.0), (50, 0, 3.0)):
        before, gain = log_posterior(signal, kernel, search), search.gain(*spike)
        search.add(*spike)
        assert log_posterior(signal, kernel, search) - before == pytest.approx(gain, abs=1e-3)


def test_the_best_spike_and_pair_are_those_of_highest_gain(search):
    gain, spike = search.best(15, 26)
    assert spike[:2] == (20, 0) and gain == pytest.approx(search.gain(*spike), rel=1e-5)
    assert all(search.gain(start, unit, a) <= gain + 1e-4 for start in range(15, 26) for unit in range(2)
               for a in (spike[2], 7.0, 12.0))
    total, pair = search.best_two(15, 30)
    assert [s[:2] for s in sorted(pair)] == [(20, 0), (27, 1)] and total > gain


def test_a_spike_is_exchanged_only_for_units_that_it_overlaps():
    """Each of two units that share no channel keeps its spike where the other one would gain more."""
    kernel = np.zeros((12, 2, 2), np.float32)
    kernel[:, 0, 0] = kernel[:, 1, 1] = np.hanning(12) / np.linalg.norm(np.hanning(12))
    signal = np.zeros((60, 2), np.float32)
    signal[20:32] = [8.0, 12.0] * kernel.sum(axis=2)
    model = AmplitudeModel.from_prior(gram(kernel), MEAN, CV, ODDS)
    search = SpikeSearch(model, correlate(signal, kernel), refractory=5, parameters=MatchingParameters())
    search.add(20, 0, 8.0)
    assert search.best(17, 24)[1][1] == 1 and search.best(17, 24, np.array([0]))[0] < 0
    search.move_each()
    assert search.start == [20] and search.unit == [0]
    assert search.add_missed() == 1 and search.unit == [0, 1]


def test_no_spike_is_allowed_within_the_refractory_time(search):
    search.add(70, 1, 4.0)  # too small: the rest still looks like a spike
    assert search.best(66, 75)[1][1] == 0 or search.best(66, 75)[0] < 0


def test_no_move_lowers_the_log_posterior(search, signal, kernel):
    for spike in ((22, 1, 9.0), (69, 0, 9.0), (100, 0, 9.0)):  # a bad start
        search.add(*spike)
    value = log_posterior(signal, kernel, search)
    for _ in range(4):
        for move in (search.move_each, search.add_missed, lambda: search.move_pairs(6.0), search.try_pairs):
            move()
            now = log_posterior(signal, kernel, search)
            assert now >= value - 1e-2
            value = now
    assert list(zip(search.start, search.unit, strict=True)) == [(20, 0), (27, 1), (70, 1)]


def test_a_prior_without_odds_against_a_spike_adds_it_anywhere(kernel):
    model = AmplitudeModel.from_prior(gram(kernel), MEAN, CV, -1e3 * np.ones(2))
    assert (model.min_correlation == -np.inf).all()


def test_the_rounding_of_large_spikes_is_no_gain():
    rng, size, large = np.random.default_rng(9), 20, 6000.0
    kernel = rng.normal(size=(size, 4, 3)).cumsum(axis=0) * np.hanning(size)[:, None, None]
    kernel[..., 1] = 0.97 * kernel[..., 0] + 0.2 * kernel[..., 1]
    kernel = (kernel / np.sqrt(np.square(kernel).sum((0, 1)))).astype(np.float32)
    signal = rng.normal(size=(400, 4)).astype(np.float32)
    for start in range(30, 350, 12):
        signal[start:start + size] += large * rng.normal(1, 0.1) * kernel[:, :, rng.integers(3)]
    model = AmplitudeModel.from_prior(gram(kernel), np.full(3, large), np.full(3, 0.1), np.full(3, 7.0))
    search = SpikeSearch(model, correlate(signal, kernel), refractory=10, parameters=MatchingParameters())
    changes = [search.move_each() + search.add_missed() + search.move_pairs(10.0) for _ in range(12)]
    assert changes[0] > 0 and changes[-1] == 0
