"""Filters of rank one: the same operators, codes and gradients as the full filters, from maps and courses."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_crsae as kc
from keras_crsae.layers import RankOneDictionary, SparseCoding, SparseCodingCell, UnrolledCoding
from tests.twin import dictionary_matrix

CASES = [dict(filters=3, kernel_size=9, channels=7), dict(filters=5, kernel_size=6, channels=2, strides=3),
         dict(filters=2, kernel_size=(5, 4), channels=3), dict(filters=2, kernel_size=6, channels=5, strides=2)]


def built(**options):
    layer = RankOneDictionary(**options)
    layer.build()
    return layer


def as_full(layer):
    """The ordinary dictionary of the same filters."""
    full = kc.ConvDictionary(layer.filters, layer.kernel_size, channels=layer.channels, strides=layer.strides,
                             dtype=layer.dtype_policy)
    full.build()
    full.kernel.assign(layer.unit_kernel())
    return full


def tangent_parts(layer, gradient):
    """Gradients of maps and courses that follow from the one of the full kernel by the chain rule."""
    maps, courses = (np.asarray(part) for part in layer.unit_parts())
    flat = np.asarray(gradient).reshape(-1, *gradient.shape[-2:])
    by_map = np.einsum("kic,kc->ic", flat, courses.reshape(-1, layer.filters))
    by_course = np.einsum("kic,ic->kc", flat, maps).reshape(courses.shape)
    axes = tuple(range(courses.ndim - 1))
    return by_map - maps * np.sum(maps * by_map, axis=0), by_course - courses * np.sum(courses * by_course, axis=axes)


@pytest.mark.parametrize("block_size", ["auto", 1])
@pytest.mark.parametrize("options", CASES, ids=str)
def test_synthesis_adjoint_and_eigenvalue_are_those_of_the_full_filters(rng, options, block_size):
    layer = built(**options, block_size=block_size)
    positions = (7, 6)[:layer.rank]
    space = tuple((m - 1) * s + k for m, s, k in zip(positions, layer.strides, layer.kernel_size, strict=True))
    matrix, _ = dictionary_matrix(np.asarray(layer.kernel, float), space, layer.strides)
    code = rng.standard_normal((2, *positions, layer.filters)).astype("float32")
    signal = rng.standard_normal((2, *space, layer.channels)).astype("float32")
    np.testing.assert_allclose(np.reshape(layer(code), (2, -1)), code.reshape(2, -1) @ matrix.T, atol=1e-5)
    np.testing.assert_allclose(np.reshape(layer.adjoint(signal), (2, -1)), signal.reshape(2, -1) @ matrix, atol=1e-5)
    np.testing.assert_allclose(layer.largest_eigenvalue(), as_full(layer).largest_eigenvalue(), rtol=1e-5)


@pytest.mark.parametrize("equal_maps", [False, True])
@pytest.mark.parametrize("gradient", ["unrolled", "truncated", "decoder"])
def test_codes_and_gradients_equal_those_of_the_full_filters(rng, gradient, equal_maps):
    layer = built(filters=3, kernel_size=6, channels=8, dtype="float64")
    if equal_maps:  # no derivative of a QR factorisation exists here
        maps = np.array(layer.map_weights)
        maps[:, 2] = maps[:, 0]
        layer.map_weights.assign(maps)
    signal = tf.constant(3 * rng.standard_normal((2, 60, 8)))
    found = []
    for dictionary in (layer, as_full(layer)):
        cell = SparseCodingCell(dictionary, lambda_init=[0.5, 1.0, 1.5], dtype="float64")
        encoder = SparseCoding(cell, iterations=25, gradient=gradient, dtype="float64")
        encoder.build(signal.shape)
        with tf.GradientTape() as tape:
            code = encoder(signal)
            loss = tf.reduce_sum(tf.square(signal - dictionary(code))) + tf.reduce_sum(tf.sin(code))
        found.append((code, tape.gradient(loss, [v.value for v in dictionary.filter_variables])))
    (code, gradients), (full_code, (full_gradient,)) = found
    assert np.count_nonzero(code) > 20
    np.testing.assert_allclose(code, full_code, atol=1e-10)
    for own, expected in zip(gradients, tangent_parts(layer, full_gradient), strict=True):
        np.testing.assert_allclose(own, expected, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize("options", [dict(active=True, tolerance=1e-6), dict(solver="ista"), dict(unroll=True),
                                     dict(return_sequences=True), dict(remat=True)], ids=str)
def test_every_way_to_encode_gives_the_code_of_the_full_filters(rng, options):
    layer = built(filters=3, kernel_size=6, channels=8)
    signal = rng.standard_normal((2, 60, 8)).astype("float32")
    one, full = (SparseCoding(SparseCodingCell(d, code_prior="soft"), iterations=40, **options)(signal)
                 for d in (layer, as_full(layer)))
    assert np.count_nonzero(one)
    np.testing.assert_allclose(one, full, atol=2e-5)


def test_missing_samples_of_single_channels_take_the_full_filters(rng):
    layer = built(filters=3, kernel_size=6, channels=8)
    signal = rng.standard_normal((2, 60, 8)).astype("float32")
    mask = (rng.random(signal.shape) < 0.7).astype("float32")
    one, full = (SparseCoding(SparseCodingCell(d), iterations=40)(signal, mask=mask) for d in (layer, as_full(layer)))
    np.testing.assert_allclose(one, full, atol=1e-5)


def test_layers_with_parameters_of_each_iteration_take_the_full_filters(rng):
    layer = built(filters=3, kernel_size=6, channels=8)
    signal = rng.standard_normal((2, 60, 8)).astype("float32")
    one, full = (UnrolledCoding(SparseCodingCell(d), 4)(signal) for d in (layer, as_full(layer)))
    np.testing.assert_allclose(one, full, atol=1e-5)


def test_maps_and_courses_have_norm_one_and_a_sign_and_gradients_are_tangent(rng):
    layer = built(filters=3, kernel_size=9, channels=5)
    layer.map_weights.assign(-2.0 * layer.map_weights.value)
    maps, courses = layer.maps, layer.time_courses
    np.testing.assert_allclose([np.linalg.norm(maps, axis=0), np.linalg.norm(courses, axis=0)], 1, rtol=1e-6)
    assert (maps[np.abs(maps).argmax(axis=0), range(3)] > 0).all()
    np.testing.assert_allclose(courses[:, None] * maps, layer.kernel, atol=1e-7)
    layer.constrain_kernel()
    np.testing.assert_allclose(np.linalg.norm(layer.map_weights, axis=0), 1, rtol=1e-6)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(rng.standard_normal((1, 8, 3)).astype("float32"))[:, 2:] ** 2)
    for variable, gradient in zip(layer.filter_variables,
                                  tape.gradient(loss, [v.value for v in layer.filter_variables]), strict=True):
        assert np.abs(gradient).max() > 0.1
        np.testing.assert_allclose(np.sum(gradient * variable.value, axis=0), 0, atol=1e-4)


def test_one_filter_is_replaced_and_the_others_stay_to_the_bit(rng):
    layer = built(filters=3, kernel_size=9, channels=5)
    before = np.array(layer.map_weights), np.array(layer.course_weights)
    layer.set_filter(1, 7 * np.outer(np.arange(9), np.arange(5)))
    for variable, old in zip(layer.filter_variables, before, strict=True):
        np.testing.assert_array_equal(np.array(variable)[..., [0, 2]], old[..., [0, 2]])
    np.testing.assert_allclose(layer.maps[:, 1], np.arange(5) / np.linalg.norm(np.arange(5)), atol=1e-6)


def test_penalties_are_those_of_the_courses_and_constraints_hold_for_both_parts():
    layer = built(filters=2, kernel_size=9, channels=5, kernel_regularizer=kc.regularizers.Smoothness(0.5),
                  kernel_constraint="non_neg")
    assert min(layer.maps.min(), layer.time_courses.min()) >= 0
    change = np.sum(np.square(np.diff(layer.time_courses, axis=0)))
    np.testing.assert_allclose(layer.course_weights.regularizer(3.0 * layer.course_weights), 0.5 * change, rtol=1e-5)
    np.testing.assert_allclose(kc.regularizers.Smoothness(0.5)(layer.kernel), 0.5 * change, rtol=1e-5)
    layer.set_filter(0, -np.outer(np.arange(9) + 1.0, np.arange(5) + 1.0))
    assert min(layer.maps.min(), layer.time_courses.min()) >= 0


def test_a_config_gives_the_same_layer():
    layer = RankOneDictionary(filters=3, kernel_size=(5, 4), strides=2, channels=2, block_size=2)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is RankOneDictionary and again.get_config() == layer.get_config()
