"""Signals and codes in blocks, as nodes."""

import numpy as np
import pytest
from crsae_onnx.core.spec import EncoderSpec
from crsae_onnx.graph.blocks import Blocks, as_images
from crsae_onnx.graph.folding import fold_encoder
from crsae_onnx.graph.nodes import Nodes

from .test_nodes import run


def encoder(rng, kernel_size, strides, block, channels=2):
    kernel = rng.standard_normal((*kernel_size, channels, 3))
    return fold_encoder(EncoderSpec(kernel, kernel, strides, 1.0, [1.0], 1.0, np.zeros(9), block=block))


def test_signals_are_images_of_one_row(rng):
    folded = encoder(rng, (7,), (1,), (4,))
    row = as_images(folded)
    assert (row.kernel_size, row.strides, row.block[0]) == ((1, 7), (1, 1), 1) and row.layers[0].kernel.shape[0] == 1
    assert as_images(row) is row


@pytest.mark.parametrize("kernel_size, strides, block, shape", [
    ((7,), (1,), (4,), (2, 30, 2)), ((7,), (3,), (2,), (1, 7, 2)), ((5, 3), (2, 1), (3, 2), (2, 9, 14, 2))])
def test_what_is_folded_and_unfolded_is_what_it_was(kernel_size, strides, block, shape, rng):
    folded, nodes = encoder(rng, kernel_size, strides, block), Nodes()
    blocks = Blocks(as_images(folded), len(strides) == 1, nodes)
    image = blocks.image("signal")
    blocks.measure(image)
    blocks.unfold(blocks.fold(image, blocks.batch), blocks.period, 2, blocks.space, "result")
    signal = rng.standard_normal(shape).astype(np.float32)
    np.testing.assert_array_equal(run(nodes, ["result"], signal=signal)[0], signal)
