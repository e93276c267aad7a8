"""The implicit gradient against finite differences of exact codes, and against many unrolled iterations, in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_crsae as kc
from keras_crsae.layers.implicit_gradient import solve

CASES = [(1, 5, (24,), 1, "soft"), (1, 6, (6,), 1, "nonnegative_soft"), (1, 4, (13,), 2, "soft"),
         (2, (3, 2), (6, 5), 1, "nonnegative_soft")]


def encoder(rank, size, strides, prior, gradient, space, iterations=400):
    dictionary = kc.ConvDictionary(3, size, strides=strides, rank=rank, channels=1, dtype="float64",
                                   kernel_initializer=keras.initializers.RandomNormal(seed=1))
    cell = kc.SparseCodingCell(dictionary, lambda_init=0.5, code_prior=prior, dtype="float64")
    layer = kc.SparseCoding(cell, iterations=iterations, gradient=gradient, dtype="float64")
    layer.build((None, *space, 1))
    return layer


def gradients(layer, weights):
    """Function of a signal to the sum of weights * code and its gradients by signal, filters and lambda."""
    @tf.function
    def of(signal):
        with tf.GradientTape() as tape:
            tape.watch(signal)
            loss = tf.reduce_sum(weights * layer(signal))
        return loss, tape.gradient(loss, [signal, layer.cell.dictionary.kernel.value, layer.cell.lambda_reg.value])

    return lambda signal: [np.asarray(v) for v in tf.nest.flatten(of(tf.constant(signal)))]


@pytest.mark.parametrize("rank, size, space, strides, prior", CASES)
def test_it_is_that_of_many_unrolled_iterations(rank, size, space, strides, prior, rng):
    signal = rng.standard_normal((2, *space, 1))
    found = []
    for gradient in ("implicit", "unrolled"):
        layer = encoder(rank, size, strides, prior, gradient, space)
        weights = np.random.default_rng(3).standard_normal((2, *layer.compute_output_shape((2, *space, 1))[1:]))
        found.append(gradients(layer, weights)(signal))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3 * np.abs(b).max())  # the unrolled one converges later than its code


def test_it_is_that_of_finite_differences(rng):
    signal, step = rng.standard_normal((1, 8, 1)), 1e-6
    layer = encoder(1, 8, 1, "soft", "implicit", (8,), iterations=1000)
    of = gradients(layer, rng.standard_normal((1, 1, 3)))
    base, by_signal, by_kernel, by_lambda = of(signal)
    for variable, found in ((layer.cell.dictionary.kernel, by_kernel), (layer.cell.lambda_reg, by_lambda)):
        value = variable.numpy()
        moved = value.copy()
        moved.flat[1] += step
        variable.assign(moved)
        assert found.flat[1] == pytest.approx((of(signal)[0] - base) / step, abs=1e-4)
        variable.assign(value)
    moved = signal.copy()
    moved[0, 3] += step
    assert by_signal[0, 3, 0] == pytest.approx((of(moved)[0] - base) / step, abs=1e-4)


def test_a_mask_leaves_missing_samples_without_gradient(rng):
    layer = encoder(1, 5, 1, "soft", "implicit", (20,), 50)
    mask = np.ones((1, 20, 1))
    mask[0, 7] = 0

    @tf.function
    def of(signal):
        with tf.GradientTape() as tape:
            tape.watch(signal)
            loss = tf.reduce_sum(layer(signal, mask=mask))
        return tape.gradient(loss, signal)

    gradient = of(tf.constant(rng.standard_normal((1, 20, 1)))).numpy()
    assert gradient[0, 7] == 0 and np.count_nonzero(gradient) > 5


def test_a_code_of_zeros_has_no_gradient():
    layer = encoder(1, 5, 1, "soft", "implicit", (20,), 20)
    for gradient in gradients(layer, np.ones((1, 16, 3)))(np.zeros((1, 20, 1)))[1:]:
        assert np.count_nonzero(gradient) == 0


def test_a_code_of_more_values_than_samples_has_a_finite_gradient(rng):
    layer = encoder(1, 5, 1, "soft", "implicit", (12,), 3)
    layer.cell.lambda_reg.assign(np.full(3, 1e-3))
    for gradient in gradients(layer, np.ones((1, 8, 3)))(rng.standard_normal((1, 12, 1)))[1:]:
        assert np.isfinite(gradient).all() and np.abs(gradient).max() < 1e4


def test_conjugate_gradients_solve_each_signal_by_itself(rng):
    roots = rng.standard_normal((3, 6, 6))
    matrices, right = roots @ roots.transpose(0, 2, 1) + np.eye(6), rng.standard_normal((3, 6))
    right[1] = 0
    found = solve(lambda x: tf.einsum("bij,bj->bi", matrices, x), right).numpy()
    np.testing.assert_allclose(found, np.linalg.solve(matrices, right[..., None])[..., 0], atol=1e-5)


@pytest.mark.parametrize("options", [{"return_sequences": True}, {"top_k": 2}])
def test_what_is_not_the_optimum_is_refused(options):
    with pytest.raises(ValueError, match="optimum alone"):
        kc.SparseCoding(kc.SparseCodingCell(kc.ConvDictionary(3, 5)), gradient="implicit", **options)


@pytest.mark.parametrize("options", [{"likelihood": "poisson"}, {"code_prior": kc.problem.GroupSparse()}])
def test_problems_without_one_are_refused(options):
    with pytest.raises(ValueError, match="conditions of optimality"):
        kc.SparseCoding(kc.SparseCodingCell(kc.ConvDictionary(3, (5, 5)), **options), gradient="implicit")
