"""Folded into blocks, a problem has the same steps as the plain one."""

import numpy as np
import pytest
from keras import ops

import keras_crsae as kc
from keras_crsae.layers.folded_problem import Tensors, fold_problem
from keras_crsae.problem import Gaussian, code_priors

CASES = {"signal": (dict(filters=2, kernel_size=5), (23,), (4,)),
         "signal, whole blocks": (dict(filters=2, kernel_size=5, channels=2), (24,), (4,)),
         "signal, strided": (dict(filters=3, kernel_size=6, strides=3), (30,), (2,)),
         "image": (dict(filters=2, kernel_size=3, rank=2), (9, 8), (2, 2)),
         "image, space to depth": (dict(filters=3, kernel_size=6, rank=2, strides=3), (15, 12), (1, 1))}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("prior", ["soft", "nonnegative_soft"])
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("own_adjoint", [False, True], ids=["one kernel", "an adjoint kernel"])
def test_blocks_take_the_plain_steps(rng, case, prior, in_place, own_adjoint):
    options, space, block = CASES[case]
    dictionary = kc.ConvDictionary(**options)
    dictionary.build()
    kernel = ops.convert_to_tensor(rng.standard_normal(dictionary.kernel.shape))
    adjoint = ops.convert_to_tensor(0.5 * rng.standard_normal(kernel.shape)) if own_adjoint else None
    signal = ops.convert_to_tensor(rng.standard_normal((2, *space, dictionary.channels)))
    mask = ops.cast(rng.random(signal.shape) < 0.8, "float64")
    threshold = ops.convert_to_tensor(rng.uniform(0.05, 0.2, (2, *(1,) * len(space), dictionary.filters)))
    codes = []
    for size in (None, block):
        tensors = Tensors(signal, mask, kernel, adjoint, threshold, ops.convert_to_tensor(0.1, "float64"))
        problem = fold_problem(tensors, Gaussian(), code_priors.get(prior), dictionary, size, in_place)
        descend = problem.descent()
        code = descend(descend(None))
        assert code.shape == problem.code_shape
        codes.append(problem.unfold(code))
    assert codes[0].shape == (2, *dictionary.code_space(space), dictionary.filters) and np.any(codes[0])
    np.testing.assert_allclose(codes[1], codes[0], atol=1e-12)


def test_without_gradient_holds_kernels_and_threshold_alone(rng):
    import tensorflow as tf

    values = [tf.constant(rng.standard_normal(3)) for _ in range(5)]
    tensors = Tensors(values[0], None, values[1], values[2], values[3], values[4])
    with tf.GradientTape() as tape:
        tape.watch(values)
        held = tensors.without_gradient()
        total = sum(tf.reduce_sum(t) for t in held if t is not None)
    assert [g is None for g in tape.gradient(total, values)] == [False, True, True, True, False]
