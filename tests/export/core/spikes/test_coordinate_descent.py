"""Coordinate descent reaches the optimum of the encoder's objective."""

import numpy as np
import pytest
from crsae_onnx.core.spikes.coordinate_descent import TOLERANCE, sparse_code
from crsae_onnx.core.spikes.correlations import correlate, gram
from crsae_onnx.core.spikes.search_arrays import flat_model
from crsae_onnx.core.spikes.spike_search import AmplitudeModel


@pytest.fixture(scope="module")
def kernel():
    kernel = np.random.default_rng(2).normal(size=(12, 2, 3)).cumsum(axis=0)
    return (kernel / np.sqrt(np.square(kernel).sum((0, 1)))).astype(np.float32)


def test_no_coordinate_is_better_changed(kernel, rng):
    signal = rng.normal(size=(200, 2)).astype(np.float32)
    for start, unit in ((20, 0), (25, 1), (90, 2), (150, 0)):
        signal[start:start + 12] += 12 * kernel[:, :, unit]
    model = flat_model(AmplitudeModel.from_prior(gram(kernel), np.full(3, 9.0), np.full(3, 0.1), np.full(3, 7.0)))
    weight = np.array([2.0, 3.0, 4.0])
    code = sparse_code(correlate(signal, kernel), model, weight)
    assert (code >= 0).all() and 4 <= np.count_nonzero(code) < 60
    rest = signal.astype(np.float64)
    for position, unit in zip(*np.nonzero(code), strict=True):
        rest[position:position + 12] -= code[position, unit] * kernel[:, :, unit]
    slope = correlate(rest, kernel).T - weight
    assert slope.max() < 2 * TOLERANCE, "no code should grow"
    assert slope[code > TOLERANCE].min() > -2 * TOLERANCE, "nor shrink"
