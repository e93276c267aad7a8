"""Gradients of every mode against finite differences of the function that the mode differentiates, in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_crsae as kc
from keras_crsae.losses import reconstruction_loss
from tests.twin import dictionary_matrix

SPACE, SIZE, FILTERS, ITERATIONS, LAST = 26, 5, 2, 9, 3
LAMBDA = np.array([0.75, 1.125])


def matrix_of(kernel):
    """D of (kernel_size, filters), the filters normalised."""
    return dictionary_matrix((kernel / np.linalg.norm(kernel, axis=0))[:, None], (SPACE,), (1,))[0]


def run(kernel, lambda_reg, step, signal, states, count):
    """``count`` FISTA iterations of the float64 twin from ``states`` (x, w, t), one-sided, filters normalised."""
    matrix = matrix_of(kernel)
    threshold = np.tile(lambda_reg, SPACE - SIZE + 1) * step
    x, w, t = states
    for _ in range(count):
        new = np.maximum(w + step * matrix.T @ (signal - matrix @ w) - threshold, 0)
        t_new = (1 + np.sqrt(1 + 4 * t * t)) / 2
        w, x, t = new + (t - 1) / t_new * (new - x), new, t_new
    return x, w, t


def loss(kernel, lambda_reg, held_kernel, held_lambda, step, signals, live):
    """Reconstruction loss whose last ``live`` iterations see (kernel, lambda_reg), the earlier ones what is held."""
    total = 0.0
    for signal in signals:
        states = (np.zeros((SPACE - SIZE + 1) * FILTERS),) * 2 + (1.0,)
        states = run(held_kernel, held_lambda, step, signal, states, ITERATIONS - live)
        code = run(kernel, lambda_reg, step, signal, states, live)[0]
        total += np.mean(np.square(signal - matrix_of(kernel) @ code))
    return total / len(signals)


def finite_differences(function, at, epsilon=1e-6):
    out = np.zeros_like(at)
    for i in np.ndindex(*at.shape):
        step = np.zeros_like(at)
        step[i] = epsilon
        out[i] = (function(at + step) - function(at - step)) / (2 * epsilon)
    return out


@pytest.mark.parametrize("gradient, live", [("unrolled", ITERATIONS), ("truncated", LAST), ("decoder", 0)])
@pytest.mark.parametrize("options", [dict(block_size=1), dict(block_size=4), dict(block_size=1, unroll=True),
                                     dict(block_size=1, remat=True)], ids=str)
def test_gradients_equal_finite_differences(rng, gradient, live, options):
    model = kc.CRsAE(FILTERS, SIZE, iterations=ITERATIONS, gradient=gradient, gradient_steps=LAST,
                     lambda_init=LAMBDA, dtype="float64", **options)
    model.set_dictionary(rng.standard_normal((SIZE, 1, FILTERS)))
    signals = 2 * rng.standard_normal((2, SPACE, 1))
    with tf.GradientTape() as tape:
        value = reconstruction_loss(signals, model(signals, training=True))
    by_kernel, by_lambda = tape.gradient(value, [model.dictionary.kernel.value, model.lambda_reg.value])

    kernel = keras.ops.convert_to_numpy(model.dictionary.kernel)[:, 0]
    step, flat = float(model.step_size), signals[..., 0]
    expected = loss(kernel, LAMBDA, kernel, LAMBDA, step, flat, live)
    np.testing.assert_allclose(value, expected, rtol=1e-9)
    by_twin = finite_differences(lambda k: loss(k, LAMBDA, kernel, LAMBDA, step, flat, live), kernel)
    assert np.abs(by_twin).max() > 1e-2
    np.testing.assert_allclose(by_kernel[:, 0], by_twin, atol=1e-7 * np.abs(by_twin).max() + 1e-9, rtol=1e-6)
    tangent = np.sum(by_kernel[:, 0] * kernel, axis=0)
    np.testing.assert_allclose(tangent, 0, atol=1e-9)
    if gradient == "decoder":
        assert by_lambda is None
        return
    by_twin = finite_differences(lambda v: loss(kernel, v, kernel, LAMBDA, step, flat, live), LAMBDA)
    assert np.abs(by_twin).min() > 1e-4
    np.testing.assert_allclose(by_lambda, by_twin, rtol=1e-6)


def test_modes_differentiate_different_functions(rng):
    """The three gradients differ, so that none can pass for another above."""
    kernel, signal = rng.standard_normal((SIZE, FILTERS)), 2 * rng.standard_normal((1, SPACE))
    made = [finite_differences(lambda k, live=live: loss(k, LAMBDA, kernel, LAMBDA, 0.2, signal, live), kernel)
            for live in (ITERATIONS, LAST, 0)]
    assert np.abs(made[0] - made[1]).max() > 1e-3 and np.abs(made[1] - made[2]).max() > 1e-3


def test_lambda_stage_gradient_equals_finite_differences(rng):
    norms = rng.random(3) * 9
    for count, options in ((3, {}), (1, {}), (3, dict(shape=4.0)), (1, dict(rate=0.3)), (3, dict(shape=4.0, rate=0.3))):
        start, mean, gamma = rng.random(count) + 1, rng.random(count) + 1, kc.GammaPrior(strength=0.7, **options)
        prior = gamma.shape_and_rate(mean, 20.0)
        value = tf.Variable(start)
        with tf.GradientTape() as tape:
            made = gamma.loss(value, tf.constant(norms), 20.0, mean)

        def by_hand(v, prior=prior, count=count):
            a, n = (norms, 20.0) if count == 3 else (norms.sum(keepdims=True), 60.0)
            return np.sum(v * a - n * np.log(v) - (prior[0] - 1) * np.log(v) + prior[1] * v)

        np.testing.assert_allclose(made, by_hand(start))
        np.testing.assert_allclose(tape.gradient(made, value), finite_differences(by_hand, start), rtol=1e-6)
        best = gamma.closed_form(tf.constant(norms), 20.0, mean, shared=count == 1)
        np.testing.assert_allclose(finite_differences(by_hand, np.asarray(best)), 0, atol=1e-5)
