"""Moments of the filters are the optimiser's variables of the kernel's shape."""

import keras

import keras_crsae as kc
from keras_crsae.training.callbacks.optimizer_moments import filter_moments


def test_moments_have_the_kernels_shape_and_plain_descent_has_none():
    model = kc.CRsAE(2, 9)
    model.build((None, None, 1))
    assert filter_moments(model) == []
    model.compile(keras.optimizers.Adam())
    assert [tuple(v.shape) for v in filter_moments(model)] == [(9, 1, 2)] * 2
    model.compile(keras.optimizers.SGD())
    assert filter_moments(model) == []
