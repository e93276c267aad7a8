"""The folded operators equal the plain ones, for any sizes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_crsae.operators import polyphase
from keras_crsae.operators.convolution import adjoint, synthesis


def plain_and_folded(size, strides, block, channels, filters, positions):
    """D z and D^T y (float64), plain and by blocks."""
    rng = np.random.default_rng(0)
    kernel = ops.convert_to_tensor(rng.standard_normal((*size, channels, filters)))
    code = ops.convert_to_tensor(rng.standard_normal((2, *positions, filters)))
    folded = polyphase.fold_kernel(kernel, strides, block)
    made = synthesis(code, kernel, strides)
    by_blocks = polyphase.block_synthesis(code, folded, strides, block)
    by_blocks = by_blocks[(slice(None), *(slice(0, n) for n in made.shape[1:-1]))]
    back = adjoint(made, kernel, strides), polyphase.block_adjoint(made, folded, strides, block, positions)
    return (made, by_blocks), back


@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 9), stride=st.integers(1, 9), block=st.integers(1, 6), channels=st.integers(1, 3),
       filters=st.integers(1, 3), positions=st.integers(1, 20))
def test_blocks_of_samples_give_the_plain_values(size, stride, block, channels, filters, positions):
    for plain, folded in plain_and_folded((size,), (min(stride, size),), (block,), channels, filters, (positions,)):
        np.testing.assert_allclose(folded, plain, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(size=st.tuples(st.integers(1, 5), st.integers(1, 5)), stride=st.tuples(st.integers(1, 5), st.integers(1, 5)),
       block=st.tuples(st.integers(1, 3), st.integers(1, 3)), channels=st.integers(1, 2),
       positions=st.tuples(st.integers(1, 6), st.integers(1, 6)))
def test_blocks_of_pixels_give_the_plain_values(size, stride, block, channels, positions):
    strides = tuple(min(s, k) for s, k in zip(stride, size, strict=True))
    for plain, folded in plain_and_folded(size, strides, block, channels, 2, positions):
        np.testing.assert_allclose(folded, plain, atol=1e-12)


def test_unfold_undoes_fold(rng):
    for period in ((4,), (2, 3)):
        array = rng.standard_normal((2, *(5 * p for p in period), 3))
        np.testing.assert_array_equal(polyphase.unfold(polyphase.fold(array, period), period), array)


@pytest.mark.parametrize("size, strides, channels, block", [
    ((45,), (1,), 1, 16), ((45,), (1,), 4, 4), ((7, 7), (1, 1), 1, 2), ((7, 7), (5, 5), 1, 1), ((1,), (1,), 64, 1)])
def test_the_cost_model_picks_what_was_measured_fastest(size, strides, channels, block):
    assert polyphase.choose_block(size, strides, channels) == (block,) * len(size)


@pytest.mark.parametrize("wrong", [0, -1, 2.5, "big"])
def test_a_bad_block_size_is_refused(wrong):
    with pytest.raises(ValueError, match="block_size"):
        polyphase.resolve_block(wrong, (9,), (1,), 1)
