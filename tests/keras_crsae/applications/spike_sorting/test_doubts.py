"""Units that may be one, and units that may be two."""

from types import SimpleNamespace

import numpy as np
import pytest

from keras_crsae.applications.spike_sorting.doubts import DoubtLimits, doubtful_merges, doubtful_splits
from keras_crsae.applications.spike_sorting.regrouping import regroup

SHAPE = np.hanning(20)[:, None] / np.linalg.norm(np.hanning(20))


def pretend(amplitudes, trains, cv=0.05):
    """A result of units of one shape with these amplitudes and spike trains, in a recording of 100,000 samples."""
    reader = SimpleNamespace(kernel=np.stack([SHAPE] * len(amplitudes), axis=-1).astype(np.float32),
                             mean_amplitude=np.array(amplitudes), amplitude_cv=np.full(len(amplitudes), cv))
    return SimpleNamespace(reader=reader, spike_samples=np.concatenate(trains), recording_samples=100_000,
                           spike_units=np.repeat(np.arange(len(trains)), [len(t) for t in trains]),
                           sampling_frequency=10_000.0, num_units=len(trains))


def test_the_separation_is_that_of_two_gaussians():
    """Amplitudes 20 and 24 with deviations 1 and 1.2 in noise of 1: D = 4 sqrt(2 / (2 + 1 + 1.44))."""
    result = pretend([20.0, 24.0], [np.array([5]), np.array([90])])
    doubt, = doubtful_merges(result)
    assert doubt.units == (0, 1) and doubt.separation == pytest.approx(4 * np.sqrt(2 / 4.44), rel=1e-3)
    assert not doubtful_merges(pretend([20.0, 40.0], [np.array([5]), np.array([90])]))


def test_similar_units_that_avoid_each_other_are_doubtful_and_independent_ones_are_not():
    rng = np.random.default_rng(0)
    one = np.sort(rng.choice(100_000, 500, replace=False))
    apart = np.setdiff1d(np.arange(100_000), (one[:, None] + np.arange(-25, 26)).ravel())
    for other, doubtful in ((np.sort(rng.choice(apart, 500, replace=False)), True),
                            (np.sort(rng.choice(100_000, 500, replace=False)), False)):
        found = doubtful_merges(pretend([20.0, 30.0], [one, other]))
        assert bool(found) == doubtful
        if found:
            assert found[0].pairs == 0 and 80 < found[0].expected_pairs < 120


def test_no_unit_is_in_two_pairs_and_the_closest_comes_first():
    trains = [np.array([100 * n]) for n in range(4)]
    pairs = doubtful_merges(pretend([20.0, 21.0, 22.5, 23.0], trains))
    assert [doubt.units for doubt in pairs] == [(2, 3), (0, 1)]
    assert not doubtful_merges(pretend([20.0, 21.0], trains[:2]), DoubtLimits(merge_separation=0.1))


def test_two_units_merged_into_one_may_be_two_and_the_true_units_are_whole(sorted_spikes):
    recording, _, result = sorted_spikes
    assert doubtful_splits(result, recording) == [] and doubtful_merges(result) == []
    merged = regroup(result, [np.arange(len(result.spike_samples))])
    split, = doubtful_splits(merged, recording, DoubtLimits(waveforms=60))  # most spikes by the nearer mean
    assert split.unit == 0 and len(split.labels) == len(merged.spike_samples)
    truth = result.spike_units[np.argsort(result.spike_samples, kind="stable")].astype(bool)
    assert max((split.labels == truth).mean(), (split.labels != truth).mean()) > 0.95
