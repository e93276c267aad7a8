"""On counts the loss is the error of the rate."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_crsae as kc
from keras_crsae.models.rate_error import RateError, rates_in_units_of_peak
from keras_crsae.problem.anscombe import ZERO, anscombe, inverse_anscombe
from keras_crsae.training.inputs import unpack


@pytest.fixture(scope="module")
def model():
    model = kc.models.CDLNet(8, 4, strides=2, iterations=2, sigma=0.4, seed=0)
    model.adapt(np.random.default_rng(0).random((2, 20, 20, 1)), init="dct")
    return model


def photons(peak, clean, rng):
    sigma = 1 / (float(anscombe(peak)) - ZERO)
    return ((anscombe(rng.poisson(peak * clean)) - ZERO) * sigma).astype("float32"), np.full(len(clean), sigma, "f4")


@pytest.mark.parametrize("peak", [1.0, 6.0])
def test_white_is_a_rate_of_the_peak(peak):
    sigma = 1 / (float(anscombe(peak)) - ZERO)
    signal = np.linspace(0, 1.5, 40, dtype="float32").reshape(1, -1, 1, 1)
    made = rates_in_units_of_peak(tf.constant(signal), tf.constant([sigma], tf.float32)).numpy()
    np.testing.assert_allclose(made, inverse_anscombe(ZERO + signal / sigma) / peak, atol=1e-4)


def test_the_loss_is_the_mean_squared_error_of_the_rate(model, rng):
    clean = rng.random((3, 24, 24, 1)).astype("float32")
    signal, sigma = photons(4.0, clean, rng)
    forward = RateError(model, 1)
    batch = unpack(({"signal": signal, "sigma": sigma}, clean), 2, "float32")
    _, (error, weight) = forward(batch, training=False)
    mean = signal.mean(axis=(1, 2, 3), keepdims=True)
    _, smooth = forward.reconstruct(batch._replace(signal=batch.signal - mean), training=False)
    rates = inverse_anscombe(ZERO + (smooth.numpy() + mean) / sigma[0]) / 4
    inside = smooth.numpy() + mean > 0  # below, the inverse of tensors goes on as a line
    assert inside.mean() > 0.9
    assert float(error / weight) == pytest.approx(float(np.square(rates - clean).mean()), rel=0.05)


def test_training_on_counts_lowers_the_error_of_the_rate(model, rng):
    clean = np.broadcast_to(np.linspace(0.1, 1, 24, dtype="float32")[:, None, None], (4, 24, 24, 1))
    signal, sigma = photons(3.0, clean, rng)
    model.learn_by(RateError(model, 1))
    model.compile(keras.optimizers.Adam(3e-3))
    batches = tf.data.Dataset.from_tensors(({"signal": signal, "sigma": sigma}, clean)).repeat()
    losses = model.fit(batches, epochs=5, steps_per_epoch=5, verbose=0).history["reconstruction_loss"]
    assert losses[-1] < 0.8 * losses[0]


def test_batches_without_noise_levels_are_refused(model):
    with pytest.raises(ValueError, match="photon_crops"):
        RateError(model, 1)(unpack((np.zeros((1, 24, 24, 1), "f4"),), 2, "float32"), training=False)
