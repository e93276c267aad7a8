"""SURE is the true error on average, with a gradient that is its own, and needs no clean image."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_crsae.models.cdlnet import CDLNet
from keras_crsae.models.denoiser import Denoiser
from keras_crsae.models.sure_error import SureError
from keras_crsae.training.inputs import unpack

SIGMA = 0.2


def network(**options):
    model = CDLNet(6, 5, iterations=3, sigma=SIGMA, seed=0, **options)
    model.adapt(np.random.default_rng(0).random((2, 20, 20, 1)), init="dct")
    model.compile(keras.optimizers.Adam(3e-3))
    return model


@pytest.fixture(scope="module")
def model():
    return network()


def noisy_images(rng, count=3, size=24, sigma=SIGMA):
    clean = rng.random((count, size, size, 1)).astype("float32")
    return clean, clean + sigma * rng.standard_normal(clean.shape).astype("float32")


class Shrinks(SureError):
    """A denoiser that is known: it multiplies by ``factor`` what is left without the mean."""

    factor = 0.6

    def reconstruct(self, batch, training):
        return batch.signal, self.factor * batch.signal


def value(forward, signal, training=False, **options):
    error, weight = forward(unpack((signal,), 2, "float32")._replace(**options), training)[1]
    return float(error / weight)


def test_the_value_of_a_linear_shrinkage_is_its_closed_form(model, rng):
    """f(y) = mean + a (y - mean): SURE = (1 - a)^2 var(y) - sigma^2 + 2 sigma^2 (a (N - 1) + 1) / N."""
    _, noisy = noisy_images(rng)
    n, forward = noisy[0].size, Shrinks(model, 1)
    rest = noisy - noisy.mean(axis=(1, 2, 3), keepdims=True)
    expected = 0.16 * np.square(rest).mean() - SIGMA**2 + 2 * SIGMA**2 * (0.6 * (n - 1) + 1) / n
    assert value(forward, rest) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("make", [network, lambda: Denoiser(
    8, 6, strides=3, iterations=4, tied=False, lambda_init=1.5, sigma=SIGMA, training_shifts=2, seed=0)],
    ids=["CDLNet", "Denoiser"])
def test_on_average_it_is_the_error_against_the_clean_image(make, rng):
    """400 draws of noise and probe; a term forgotten would be off by ten times the tolerance."""
    model = make()
    model.build((None, None, None, 1))
    model.compile(keras.optimizers.Adam(1e-3))
    forward = SureError(model, getattr(model, "training_shifts", 1))
    clean = noisy_images(rng, 1)[0]
    clean = np.repeat(clean - clean.mean(), 400, axis=0)
    noisy = clean + SIGMA * rng.standard_normal(clean.shape).astype("float32")
    rest = noisy - noisy.mean(axis=(1, 2, 3), keepdims=True)
    batch = unpack((rest,), 2, "float32")
    denoised = forward.reconstruct(batch, False)[1].numpy() + noisy - rest
    assert value(forward, rest) == pytest.approx(np.square(denoised - clean).mean(), abs=0.01 * SIGMA**2)


def test_each_image_has_its_own_noise_and_weight(rng):
    model, levels = network(), np.array([0.1, 0.3], "float32")
    forward = SureError(model, 1)
    noisy = np.repeat(noisy_images(rng, 1)[1], 2, axis=0)
    one, other = (value(forward, noisy, sigma=tf.constant(levels), weight=tf.constant(w)) for w in
                  ([1.0, 0.0], [0.0, 1.0]))
    both = value(forward, noisy, sigma=tf.constant(levels))
    assert both == pytest.approx((one + other) / 2, rel=1e-4) and abs(one - other) > 0.01


def test_the_padding_of_a_replica_without_images_has_no_part_in_it(rng):
    """``training.inputs.replica_batch`` gives it zeros: signal, noise level and weight."""
    forward, (_, noisy) = SureError(network(), 1), noisy_images(rng, 1)
    padded = np.concatenate([noisy, np.zeros_like(noisy)])
    levels, weights = tf.constant([SIGMA, 0.0]), tf.constant([1.0, 0.0])
    assert np.isfinite(value(forward, padded, sigma=levels, weight=weights))


def test_missing_pixels_have_no_part_in_it(model, rng):
    _, noisy = noisy_images(rng, 1)
    seen = np.ones_like(noisy)
    seen[:, 5:9] = 0
    values = [value(Shrinks(model, 1), np.where(seen > 0, noisy, fill).astype("float32"), observed=tf.constant(seen))
              for fill in (0.0, 7.0)]
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_its_gradient_is_that_of_finite_differences(rng):
    """Along the gradient itself, with the probe of one step held."""
    model = network()
    forward, (_, noisy) = SureError(model, 1), noisy_images(rng, 2)
    batch = unpack((noisy - noisy.mean(axis=(1, 2, 3), keepdims=True),), 2, "float32")

    def loss():
        error, weight = forward(batch, True)[1]
        return error / weight

    variables = model.dictionary_variables
    with tf.GradientTape() as tape:
        made = loss()
    gradients = tape.gradient(made, [v.value for v in variables])
    norm = float(tf.linalg.global_norm(gradients))
    assert all(float(tf.reduce_max(tf.abs(g))) > 0 for g in gradients)
    start, step, ends = [v.numpy() for v in variables], 1e-3, []
    for sign in (1, -1):
        for variable, first, gradient in zip(variables, start, gradients, strict=True):
            variable.assign(first + sign * step / norm * gradient.numpy())
        ends.append(float(loss()))
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(norm, rel=0.03)


def test_another_step_draws_another_probe(model, rng):
    _, noisy = noisy_images(rng, 1)
    forward = SureError(model, 1)
    one, same = value(forward, noisy, training=True), value(forward, noisy, training=True)
    model.optimizer.iterations.assign(1)
    assert one == same != value(forward, noisy, training=True)


def test_a_level_of_the_noise_stands_in_for_the_models_where_a_batch_brings_none(model, rng):
    """Crops in units of their noise have a level of 1, whatever the model's sigma is."""
    _, noisy = noisy_images(rng)
    known = Shrinks(model, 1, sigma=0.4)
    assert value(known, noisy) == value(Shrinks(model, 1), noisy, sigma=tf.fill((3,), 0.4))
    assert value(known, noisy, sigma=tf.fill((3,), SIGMA)) == value(Shrinks(model, 1), noisy)


def test_a_model_takes_up_its_own_loss_again(rng):
    model, (clean, noisy) = network(), noisy_images(rng)

    def loss():
        model.compile(keras.optimizers.Adam(3e-3))
        return model.evaluate(noisy, clean, verbose=0, return_dict=True)["reconstruction_loss"]

    own = loss()
    model.learn_by(SureError(model, 1))
    assert loss() != own
    model.learn_by(None)
    assert loss() == own
