"""The exact pair of spikes against one small linear solve for each pair."""

import itertools

import numpy as np
import pytest
from crsae_onnx.core.spikes.correlations import gram
from crsae_onnx.core.spikes.pair_search import best_pair


def by_hand(pull, curve, constant, between, refractory):
    """(gain, {(unit, place): height}) of the best pair, one two-by-two system at a time."""
    spikes = list(itertools.product(range(pull.shape[0]), range(pull.shape[1])))
    best, found = -np.inf, {}
    for a, b in itertools.combinations(spikes, 2):
        if min(pull[a], pull[b]) <= 0 or (a[0] == b[0] and abs(a[1] - b[1]) < refractory):
            continue
        overlap = between(a, b)
        system = np.array([[curve[a[0]], overlap], [overlap, curve[b[0]]]])
        linear = np.array([pull[a], pull[b]])
        heights = np.linalg.solve(system, linear)
        gain = linear @ heights - heights @ system @ heights / 2 - constant[a[0]] - constant[b[0]]
        if (heights > 0).all() and gain > best:
            best, found = gain, {a: heights[0], b: heights[1]}
    return best, found


@pytest.mark.parametrize("seed", range(8))
def test_the_best_of_all_pairs_is_found(seed):
    rng = np.random.default_rng(seed)
    units, places, size = 3, 9, 12
    kernel = rng.normal(size=(size, 2, units)).cumsum(axis=0)
    kernel /= np.sqrt(np.square(kernel).sum(axis=(0, 1)))
    table = gram(kernel)
    pull = rng.normal(4, 4, (units, places))
    pull[rng.random(pull.shape) < 0.2] = 0
    curve, constant = 1 + rng.uniform(0.1, 1, units), rng.uniform(0, 3, units)

    def between(a, b):
        """The overlap summed sample by sample, not from the table."""
        long = np.zeros((2, places + size, 2))
        for row, (unit, place) in zip(long, (a, b), strict=True):
            row[place:place + size] = kernel[:, :, unit]
        return np.sum(long[0] * long[1])

    gain, two = best_pair(pull, curve, constant, table[:, :, size - places:size + places - 1], 3)
    expected, heights = by_hand(pull, curve, constant, between, 3)
    assert gain == pytest.approx(expected, rel=1e-5)
    assert {(u, at): h for u, at, h in two} == pytest.approx(heights, rel=1e-4)


def test_no_pair_where_only_one_spike_may_be():
    pull = np.zeros((2, 4))
    pull[1, 2] = 5.0
    assert best_pair(pull, np.full(2, 1.5), np.ones(2), np.zeros((2, 2, 7)), 2) == (-np.inf, [])
    pull[1, 3] = 5.0  # within the refractory time of the other
    assert best_pair(pull, np.full(2, 1.5), np.ones(2), np.zeros((2, 2, 7)), 2) == (-np.inf, [])
