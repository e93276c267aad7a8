"""The loss of the first stage: plain mean squared error over observed samples, weighted by signal."""

import numpy as np
import pytest

from keras_crsae.losses import reconstruction_loss, weighted_error


@pytest.fixture
def arrays(rng):
    target, reconstruction = rng.standard_normal((2, 3, 8, 2)).astype("float32")
    return target, reconstruction, (rng.random((3, 8, 2)) < 0.7).astype("float32")


def test_it_is_the_mean_squared_error(arrays):
    target, reconstruction, _ = arrays
    np.testing.assert_allclose(reconstruction_loss(target, reconstruction), np.mean((target - reconstruction) ** 2),
                               rtol=1e-6)


def test_missing_samples_and_weights_count_in_numerator_and_denominator(arrays):
    target, reconstruction, mask = arrays
    weight = np.array([1.0, 0.0, 2.5], "float32")
    expected = np.average((target - reconstruction) ** 2, weights=mask * weight[:, None, None])
    np.testing.assert_allclose(reconstruction_loss(target, reconstruction, mask, weight), expected, rtol=1e-6)
    error, total = weighted_error(target, reconstruction, mask, weight)
    np.testing.assert_allclose(error / total, expected, rtol=1e-6)
    np.testing.assert_allclose(total, np.sum(mask * weight[:, None, None]), rtol=1e-6)


def test_nothing_observed_is_a_loss_of_zero(arrays):
    target, reconstruction, mask = arrays
    assert float(reconstruction_loss(target, reconstruction, 0 * mask)) == 0.0
