"""The flat form of the amplitude model says which units overlap."""

import numpy as np
from crsae_onnx.core.spikes.correlations import gram
from crsae_onnx.core.spikes.search_arrays import flat_model, limits
from crsae_onnx.core.spikes.spike_search import AmplitudeModel, MatchingParameters


def test_units_without_a_common_channel_are_no_neighbours():
    kernel = np.zeros((4, 2, 3))
    kernel[:, 0, 0] = kernel[:, 1, 1] = kernel[:, 1, 2] = [0.5, -0.5, 0.5, -0.5]
    model = flat_model(AmplitudeModel.from_prior(gram(kernel), np.full(3, 9.0), np.full(3, 0.1), np.full(3, 7.0)))
    rows = [model.neighbours[low:high].tolist() for low, high in
            zip(model.first_neighbour, model.first_neighbour[1:], strict=False)]
    assert rows == [[0], [1, 2], [1, 2]]
    np.testing.assert_allclose(model.opposite[1], [0, 0.75, 0.75], atol=1e-6)


def test_limits_are_in_positions():
    quick, thorough = (limits(MatchingParameters(), 40, 30, kind) for kind in (False, True))
    assert (quick.near, thorough.near, thorough.alone, quick.sweeps, thorough.sweeps) == (10, 20, 8, 3, 8)
