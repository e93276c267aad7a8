"""Signals and codes in blocks, as nodes: what ``graph.folding`` does to kernels, done to arrays of the graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from crsae_onnx.graph.folding import FoldedEncoder
from crsae_onnx.graph.nodes import Nodes

#: Added to a closed position, far beyond any signal and far from overflow.
CLOSED = -1e30


def as_images(encoder: FoldedEncoder) -> FoldedEncoder:
    """A signal as an image of one row."""
    if len(encoder.strides) == 2:
        return encoder
    layers = tuple(replace(layer, kernel=layer.kernel[None], adjoint_kernel=None if layer.adjoint_kernel is None
                           else layer.adjoint_kernel[None]) for layer in encoder.layers)
    return replace(encoder, layers=layers, decoder_kernel=encoder.decoder_kernel[None],
                   kernel_size=(1, *encoder.kernel_size), strides=(1, *encoder.strides), block=(1, *encoder.block))


class Blocks:
    """Sizes of a signal's blocks, and the nodes that fold and unfold arrays.

    Args:
        encoder: ``as_images`` of a FoldedEncoder.
        flat: whether signals are one-dimensional.
        nodes: Nodes.
    """

    def __init__(self, encoder: FoldedEncoder, flat: bool, nodes: Nodes) -> None:
        self.encoder, self.flat, self.top = encoder, flat, nodes
        self.taps, self.columns = encoder.decoder_kernel.shape[:2], encoder.decoder_kernel.shape[-1]
        self.period = [b * s for b, s in zip(encoder.block, encoder.strides, strict=True)]
        self.tail = [axis for axis in (0, 1) if encoder.block[axis] > 1]  #: axes whose last block may not be full

    def image(self, name: str) -> str:
        """An array of the file's inputs as an image."""
        return self.top("Unsqueeze", name, self.top.constant([1])) if self.flat else name

    def measure(self, signal: str) -> None:
        """Compute the sizes that all else needs from the shape of a signal, an image."""
        encoder, top, constant = self.encoder, self.top, self.top.constant
        shape = top("Shape", signal)
        self.batch = top("Slice", shape, constant([0]), constant([1]))
        self.space = top("Slice", shape, constant([1]), constant([3]))
        size, stride, block = (constant(v) for v in (encoder.kernel_size, encoder.strides, encoder.block))
        one, taps = constant([1]), constant(self.taps)
        # All counts are positive: ONNX division truncates, as floor does there.
        past = top("Sub", top("Add", self.space, stride), top("Add", size, one))
        self.positions = top("Add", top("Div", past, stride), one)
        self.blocks = top("Div", top("Sub", top("Add", self.positions, block), one), block)
        self.signal_blocks = top("Sub", top("Add", self.blocks, taps), one)

    def concat(self, *parts: str) -> str:
        """Vectors, one behind the other."""
        return self.top("Concat", *parts, axis=0)

    def fold(self, array: str, batch: str) -> str:
        """(batch, *space, channels) -> (batch, period * channels, *blocks), zeros on the right."""
        top, constant, channels = self.top, self.top.constant, self.encoder.channels
        missing = top("Sub", top("Mul", self.signal_blocks, constant(self.period)), self.space)
        array = top("Pad", array, self.concat(constant([0] * 5), missing, constant([0])))
        folded = self.concat(batch, constant([math.prod(self.period) * channels]), self.signal_blocks)
        if self.flat:
            # Three axes: onnxruntime transposes six several times slower.
            rows = self.concat(batch, constant([-1, self.period[1] * channels]))
            return top("Reshape", top("Transpose", top("Reshape", array, rows), perm=[0, 2, 1]), folded)
        split = [part for axis, p in enumerate(self.period)
                 for part in (self.entry(self.signal_blocks, axis), constant([p]))]
        array = top("Reshape", array, self.concat(batch, *split, constant([channels])))
        array = top("Transpose", array, perm=[0, 2, 4, 5, 1, 3])
        return top("Reshape", array, folded)

    def unfold(self, array: str, period: Sequence[int], channels: int, space: str, name: str) -> None:
        """(batch, period * channels, *blocks) -> (batch, *space, channels), an output of the graph."""
        top, constant = self.top, self.top.constant
        if self.flat:
            array = top("Transpose", top("Squeeze", array, constant([2])), perm=[0, 2, 1])
            array = top("Reshape", array, self.concat(self.batch, constant([-1, channels])))
            top("Slice", array, constant([0]), self.entry(space, 1), constant([1]), name=name)
            return
        blocks = top("Slice", top("Shape", array), constant([2]), constant([4]))
        array = top("Reshape", array, self.concat(self.batch, constant([*period, channels]), blocks))
        array = top("Transpose", array, perm=[0, 4, 1, 5, 2, 3])
        array = top("Reshape", array, self.concat(self.batch, top("Mul", blocks, constant(period)),
                                                   constant([channels])))
        top("Slice", array, constant([0, 0]), space, constant([1, 2]), name=name)

    def entry(self, vector: str, axis: int) -> str:
        """One entry of a vector, of shape (1,)."""
        return self.top("Slice", vector, self.top.constant([axis]), self.top.constant([axis + 1]))

    def last_block(self, axis: int, count: str) -> str:
        """1 in the last block of codes along ``axis``, else 0; ``count`` blocks, shape (1, 1, count, 1) or its like."""
        top, constant = self.top, self.top.constant
        index = top("Range", constant(0), top("Squeeze", self.entry(count, axis)), constant(1))
        last = top("Equal", index, top("Sub", self.entry(self.blocks, axis), constant([1])))
        return top("Reshape", top("Cast", last, to=1), constant([1, 1, -1, 1] if axis == 0 else [1, 1, 1, -1]))

    def closed(self, axis: int) -> str:
        """(filters, 1, 1, 1): ``CLOSED`` at the positions of the last block that lie past the code's end."""
        top, constant, encoder = self.top, self.top.constant, self.encoder
        phase = np.indices((*encoder.block, encoder.filters))[axis].reshape(-1, 1, 1, 1)
        before = top("Mul", top("Sub", self.entry(self.blocks, axis), constant([1])), constant([encoder.block[axis]]))
        inside = top("Less", constant(phase), top("Sub", self.entry(self.positions, axis), before))
        return top("Where", inside, constant(0.0, np.float32), constant(CLOSED, np.float32))
