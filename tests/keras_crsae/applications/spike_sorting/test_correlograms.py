"""Correlograms against counts over all pairs."""

import numpy as np
import pytest

from keras_crsae.applications.spike_sorting import correlograms
from keras_crsae.applications.spike_sorting.correlograms import correlogram, excess_coincidences, lag_counts


@pytest.fixture
def trains(rng):
    return [np.sort(rng.choice(20_000, size, replace=False)) for size in (150, 400, 0)]


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0), (0, 0), (1, 1), (0, 2), (2, 2)])
def test_every_pair_is_counted_once(trains, first, second, monkeypatch):
    monkeypatch.setattr(correlograms, "_MOST_PAIRS", 50)
    a, b = trains[first], trains[second]
    edges = np.arange(-300, 301, 30)
    lags = (b[None] - a[:, None])[~np.eye(len(a), dtype=bool)] if first == second else (b[None] - a[:, None]).ravel()
    expected = np.array([np.sum((lags >= low) & (lags < high)) for low, high in zip(edges, edges[1:], strict=False)])
    np.testing.assert_array_equal(lag_counts(a, a if first == second else b, edges), expected)


def test_a_train_after_another_has_its_peak_at_the_lag(trains):
    lags, pairs = correlogram(trains[0], trains[0] + 45, 10_000, half_ms=10, bin_ms=1)
    assert lags[pairs.argmax()] == 4.5 and pairs.max() >= 150
    assert correlogram(trains[0], trains[0], 10_000)[1][49:51].sum() < 50, "a spike is not paired with itself"


def test_trains_that_fire_together_stand_out(trains, rng):
    together = np.sort(trains[0] + rng.integers(-3, 4, len(trains[0])))
    excess = excess_coincidences([trains[0], trains[1], together, trains[2]], 20_000, 10_000)
    assert excess[0, 2] == excess[2, 0] > 8 and abs(excess[0, 1]) < 4
    assert not excess[3].any() and not excess.diagonal().any()
