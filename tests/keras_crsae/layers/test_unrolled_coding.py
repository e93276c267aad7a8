"""Iterations with filters and thresholds of their own do what the formula says, and contain the plain encoder."""

import keras
import numpy as np
import pytest

from keras_crsae.layers import ConvDictionary, FreeNormDictionary, SparseCoding, SparseCodingCell, UnrolledCoding
from tests.keras_crsae.models.baselines.oracle import correlate, place, shrink

ITERATIONS, FILTERS = 3, 4


def layer_of(rng, size=(5, 4), strides=1, channels=1, **options):
    """An ``UnrolledCoding`` whose weights are all different."""
    rank = len(size)
    cell = SparseCodingCell(FreeNormDictionary(FILTERS, size, strides=strides, rank=rank, channels=channels),
                            code_prior="soft", step_size=1.0, sigma=0.5, lambda_init=2.0)

    def bank(count):
        return FreeNormDictionary(count * FILTERS, size, strides=strides, rank=rank, channels=channels)

    layer = UnrolledCoding(cell, ITERATIONS, analysis=bank(ITERATIONS), synthesis=bank(ITERATIONS - 1),
                           free_thresholds=True, threshold_offsets=True, **options)
    layer.build((None,) * (rank + 1) + (channels,))
    for variable in (cell.dictionary.kernel, *layer.free_variables):
        positive = variable is layer.factors
        values = rng.uniform(0.1, 0.3, variable.shape) if positive else 0.2 * rng.standard_normal(variable.shape)
        variable.assign(values)
    return layer


def by_loops(layer, image, sigma):
    """The code of one image, by the formula."""
    stride = layer.cell.dictionary.strides[0]
    analysis, down = (np.asarray(k, float) for k in (layer.analysis.kernel, layer.synthesis.kernel))
    down = np.concatenate([np.asarray(layer.cell.dictionary.kernel), down], axis=-1)
    code = 0.0
    for k in range(ITERATIONS):
        own = slice(k * FILTERS, (k + 1) * FILTERS)
        rest = image - place(code, down[..., own], stride) if k else image
        tau = 2.0 * 0.5 * (np.asarray(layer.factors)[k] * sigma + np.asarray(layer.offsets)[k] * 0.5)
        code = shrink(code + correlate(rest, analysis[..., own], stride), np.maximum(tau, 0))
    return code


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("block_size", [1, 2])
def test_each_iteration_has_its_filters_and_thresholds(rng, stride, block_size):
    layer = layer_of(rng, strides=stride, block_size=block_size)
    images = rng.standard_normal((2, 17, 15, 1)).astype("float32")
    if stride == 2:
        images = images[:, :, :14]  # whole strides: (17 - 5) / 2, (14 - 4) / 2
    for sigma in (0.5, np.array([0.2, 1.5], "float32")):
        codes = np.asarray(layer(images, sigma=sigma))
        for code, image, level in zip(codes, images.astype(float), np.broadcast_to(sigma, 2), strict=True):
            expected = by_loops(layer, image, level)
            assert 0 < np.count_nonzero(expected) < expected.size
            np.testing.assert_allclose(code, expected, atol=2e-5)
    np.testing.assert_array_equal(layer(images), layer(images, sigma=0.5))


def test_a_signal_is_an_image_of_one_column(rng):
    layer = layer_of(rng, size=(5,), block_size=4)
    signal = rng.standard_normal((2, 22, 1)).astype("float32")
    image = layer_of(rng, size=(5, 1), block_size=1)
    for one, two in zip((image.cell.dictionary.kernel, *image.free_variables),
                        (layer.cell.dictionary.kernel, *layer.free_variables), strict=True):
        one.assign(np.reshape(two, one.shape))
    sigma = np.array([0.3, 0.6], "float32")
    np.testing.assert_allclose(layer(signal, sigma=sigma), image(signal[:, :, None], sigma=sigma)[:, :, 0], atol=2e-5)


@pytest.mark.parametrize("solver", ["ista", "fista"])
@pytest.mark.parametrize("tied", [True, False])
def test_without_freedom_it_is_the_plain_encoder(rng, solver, tied):
    cell = SparseCodingCell(ConvDictionary(FILTERS, (5, 5), channels=2), lambda_init=0.3)
    analysis = None if tied else FreeNormDictionary(FILTERS, (5, 5), channels=2)
    plain = SparseCoding(cell, 4, unroll=True, solver=solver, analysis=analysis)
    free = UnrolledCoding(cell, 4, solver=solver, analysis=analysis, free_thresholds=True, threshold_offsets=True)
    images = rng.standard_normal((2, 16, 13, 2)).astype("float32")
    mask = (rng.random(images.shape) < 0.9).astype("float32")
    np.testing.assert_allclose(free(images, mask=mask), plain(images, mask=mask), atol=1e-5)


def test_a_saved_layer_is_the_same(rng):
    layer = layer_of(rng)
    again = UnrolledCoding.from_config(layer.get_config())
    again.build((None, None, None, 1))
    again.set_weights(layer.get_weights())
    images = rng.standard_normal((1, 17, 15, 1)).astype("float32")
    np.testing.assert_array_equal(again(images), layer(images))


def cell(**options):
    return SparseCodingCell(FreeNormDictionary(FILTERS, (5, 5)), **options)


@pytest.mark.parametrize("make, words", [
    (lambda: UnrolledCoding(cell(), 3, analysis=FreeNormDictionary(5, (5, 5))), "`analysis` must have 4 or 12"),
    (lambda: UnrolledCoding(cell(), 3, synthesis=FreeNormDictionary(12, (5, 5))), "`synthesis` must have 8"),
    (lambda: UnrolledCoding(cell(), 3, solver="backtracking"), "the same for every signal"),
    (lambda: UnrolledCoding(cell(), 3, tolerance=1e-3), "no choice of `tolerance`"),
    *((lambda name=name: UnrolledCoding(cell(dense_filters=1, dense_penalty=1.0), 3, **{name: True}), "dense_penalty")
      for name in ("free_thresholds", "threshold_offsets"))])
def test_what_does_not_fit_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_every_weight_gets_a_gradient(rng):
    import tensorflow as tf

    layer = layer_of(rng)
    images = keras.ops.convert_to_tensor(rng.standard_normal((1, 12, 12, 1)).astype("float32"))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(layer.cell.dictionary(layer(images, training=True))))
    variables = [v.value for v in (layer.cell.dictionary.kernel, *layer.free_variables)]
    assert all(float(tf.reduce_max(tf.abs(g))) > 0 for g in tape.gradient(loss, variables))
