"""Held-out likelihood."""

import numpy as np
import pytest
from scipy.stats import binom

from keras_crsae.applications.neural_events.held_out import HeldOut, held_out, predict_hidden, random_groups
from keras_crsae.applications.neural_events.spike_counts import SpikeCounts


class Constant:
    """A model whose expected counts are the mean of the bins that it sees."""

    def __init__(self):
        self.seen = []

    def mean_counts(self, counts, conditions=None, support=None, observed=None):
        self.seen.append(observed)
        return np.full(counts.counts.shape, counts.counts[observed].mean())


@pytest.fixture
def counts():
    return SpikeCounts(np.random.default_rng(0).binomial(5, 0.2, (12, 30, 2)).astype("float32"), 5.0, 0.0, 5)


def test_groups_part_every_trial_evenly():
    group = random_groups(np.random.default_rng(0), (3, 20, 2), 5, 1)
    assert group.shape == (3, 20, 2) and all((group[t, :, n] == k).sum() == 4 for t in range(3) for n in range(2)
                                             for k in range(5))
    blocks = random_groups(np.random.default_rng(0), (3, 21, 1), 5, 4)
    assert (blocks[:, :20].reshape(3, 5, 4) == blocks[:, 0:20:4]).all()


def test_every_bin_is_predicted_once_from_others(counts):
    model = Constant()
    group = random_groups(np.random.default_rng(0), counts.counts.shape, 3, 1)
    predict_hidden(model, counts, None, group)
    hidden = [~seen for seen in model.seen]
    assert (np.sum(hidden, axis=0) == 1).all()


def test_a_constant_model_scores_as_the_constant_rate(counts):
    scores = held_out(counts, lambda train: Constant(), ["a", "b"] * 6, folds=3, groups=4)
    assert np.abs(scores.model - scores.constant).mean() < 2
    expected = binom.logpmf(counts.counts, 5, 0.2).sum(axis=(1, 2)).mean()
    assert scores.constant.mean() == pytest.approx(expected, abs=1)
    assert scores.psth_width_ms >= 30 and np.abs(scores.psth - scores.constant).mean() < 3


def test_trials_of_training_are_others(counts):
    taken = []

    def fit(train):
        taken.append(train)
        return Constant()

    held_out(counts, fit, None, folds=4, groups=2)
    left = [np.setdiff1d(np.arange(12), train) for train in taken]
    assert sorted(np.concatenate(left).tolist()) == list(range(12))


def test_a_gain_has_its_error():
    scores = HeldOut(np.array([1.0, 3.0]), np.zeros(2), np.zeros(2), np.zeros(2), 10.0)
    assert scores.gain == 2 and scores.gain_error == pytest.approx(1)
