"""Folding in NumPy equals the folding of tensors, and loses nothing of the dictionary."""

import numpy as np
import pytest
from crsae_onnx.core.spec import EncoderSpec
from crsae_onnx.graph.folding import fold_encoder, fold_kernel, smallest_block, taps
from keras import ops

from keras_crsae.operators import polyphase

CASES = [((45,), (1,), (16,)), ((9,), (4,), (3,)), ((7,), (1,), (1,)), ((5, 3), (2, 1), (4, 2)),
         ((8, 8), (4, 4), (2, 2)), ((7, 7), (5, 5), (1, 1))]


@pytest.mark.parametrize("kernel_size, strides, block", CASES)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_folded_kernel_is_that_of_the_operators(kernel_size, strides, block, channels, rng):
    kernel = rng.standard_normal((*kernel_size, channels, 2)).astype("float32")
    expected = ops.convert_to_numpy(polyphase.fold_kernel(ops.convert_to_tensor(kernel), strides, block))
    np.testing.assert_array_equal(fold_kernel(kernel, strides, block), expected)
    assert [taps(k, s, b) for k, s, b in zip(kernel_size, strides, block, strict=True)] == \
        [polyphase.taps(k, s, b) for k, s, b in zip(kernel_size, strides, block, strict=True)]


def test_the_smallest_block_has_as_many_taps_and_no_smaller_one_has():
    for kernel_size, stride, block in [(45, 1, 16), (9, 4, 8), (8, 4, 1), (3, 1, 32)]:
        best = smallest_block(kernel_size, stride, block)
        assert best <= block and taps(kernel_size, stride, best) == taps(kernel_size, stride, block)
        assert best == 1 or taps(kernel_size, stride, best - 1) != taps(kernel_size, stride, block)


def test_a_folded_encoder_keeps_the_plain_sizes_and_the_threshold(rng):
    kernel = rng.standard_normal((9, 1, 3)).astype("float32")
    spec = EncoderSpec(kernel, -kernel, (1,), step_size=0.2, lambda_reg=[1.0, 2.0, 3.0], sigma=0.5,
                       momentum=np.zeros(4), block=(4,), tolerance=1e-2, adjoint_kernel=2 * kernel)
    folded = fold_encoder(spec)
    assert (folded.kernel_size, folded.strides, folded.channels, folded.filters) == ((9,), (1,), 1, 3)
    (layer,) = folded.layers
    assert layer.kernel.shape == layer.adjoint_kernel.shape == (3, *folded.block, 3 * folded.block[0])
    np.testing.assert_allclose(layer.scale * folded.level, spec.threshold)
    np.testing.assert_array_equal(folded.decoder_kernel, -layer.kernel)
    assert folded.tolerance == 1e-2 and fold_encoder(spec, 1e-3).tolerance == 1e-3 and not folded.half
