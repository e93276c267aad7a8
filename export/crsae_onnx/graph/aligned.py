"""The iterations of an encoder, written out in the form that onnxruntime's CPU computes fastest.

Its blocked convolutions (NCHWc, Georganas et al., Anatomy of high-performance deep learning convolutions on SIMD
architectures, 2018) were measured at half the time of the plain ones. They ask for weights and biases that are constant
numbers and for whole vectors of channels (``folding.aligned_block``), and between two of them for operators that know
the blocked layout: sums of equal shapes, products of equal shapes, Relu, and BatchNormalization, which is a
multiplication by a constant. A Loop's momentum is no constant, so the iterations are written out here.

With x the code and w = (1 + m) x' - m x, what is computed is X = x / c and V = w / c', so that one sum makes V:

    V = g X' - b X                          BatchNormalization, Add: one pass
    R = y / c' - D V                        Conv, Add
    X'' = relu(V + step D^T R - bias / c')  Conv, Add, Relu

g is 1, or a power of two once c has grown large. b is m c / (1 + m) / c', rounded to float32; the next c' is then taken
from 1 / c' = g / c' - b / c, in double precision: a code that rests stays exactly where it is, or the rounding of b
would pull at it in every iteration. All c are divided by the last, so that the last X is the code itself.

Codes at closed positions, past the end of the code in its last block, are multiplied by 0 in V. There X'' is any
number, which nothing else reads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from crsae_onnx.core.spec import INPUT
from crsae_onnx.graph.blocks import Blocks
from crsae_onnx.graph.encoder import Graph
from crsae_onnx.graph.folding import FoldedEncoder
from crsae_onnx.graph.nodes import Nodes

#: Growth of a scale after which codes are multiplied by it.
GROWTH = 2.0**20
#: Of BatchNormalization; CUDA's asks for no less. With the variance below it makes exactly 1 in float32.
EPSILON = 1e-5
VARIANCE = np.float32(1.0) - np.float32(EPSILON)


@dataclass(frozen=True)
class Turn:
    """Numbers of one iteration.

    Args:
        scale: c', by which w and the new code are divided.
        growth: g, of the sum that makes w of the new code and the last.
        pull: b of that sum.
    """

    scale: float
    growth: float = 1.0
    pull: float = 0.0


def turns(momentum: NDArray[np.float32]) -> list[Turn]:
    """The numbers of all iterations, by their momentum; see the module.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.graph.aligned import turns
        >>> [round(turn.scale, 3) for turn in turns(np.array([0.0, 0.5, 0.5, 0.0]))]
        [0.444, 0.444, 0.667, 1.0]
    """
    scales, made = [1.0], []
    for k, factor in enumerate(momentum[:-1].tolist()):
        growth = GROWTH if (1.0 + factor) * scales[-1] > GROWTH else 1.0
        scale = (1.0 + factor) * scales[-1] / growth
        pull = float(np.float32(factor * scales[-2] / scale)) if k else 0.0
        if pull:
            scale = 1.0 / (growth / scales[-1] - pull / scales[-2])
        elif k:
            scale = scales[-1] / growth
        made.append((scales[-1], growth, pull))
        scales.append(scale)
    made.append((scales[-1], 1.0, 0.0))
    return [Turn(scale / scales[-1], growth, pull) for scale, growth, pull in made]


class AlignedGraph(Graph):
    """Builds an encoder of non-negative codes into ``nodes``, see the module.

    Args:
        encoder: ``as_images`` of a FoldedEncoder that is ``aligned``.
        flat: whether signals are one-dimensional.
        nodes: Nodes.
        signal: name of the signal in them.
    """

    def __init__(self, encoder: FoldedEncoder, flat: bool, nodes: Nodes, signal: str = INPUT) -> None:
        Blocks.__init__(self, encoder, flat, nodes)
        self.half, self.scale, self.mask = False, "", None
        image = self.image(signal)
        self.measure(image)
        self.rows = math.prod(self.period) * encoder.channels
        self.signal = self._blocked(self.fold(image, self.batch), self.rows, "signal_blocks")

    def iterate(self) -> str:
        """Name of the folded code after all iterations."""
        layer, nodes = self.encoder.layers[0], self.top
        adjoint = layer.kernel if layer.adjoint_kernel is None else layer.adjoint_kernel
        weights = (self.weight(-layer.kernel[::-1, ::-1].transpose(2, 3, 0, 1)),
                   self.weight(adjoint.transpose(3, 2, 0, 1) * np.float32(layer.step_size)))
        bias = -self.encoder.level * np.tile(layer.scale, math.prod(self.encoder.block))
        last = new = w = ""
        before = Turn(1.0)
        for turn in turns(self.encoder.momentum):
            if new:
                w = self._extrapolated(new, last, before)
            residual = self._times(self.signal, 1.0 / turn.scale, self.rows, "signal_blocks")
            if w:
                synthesis = self.synthesis(nodes, w, weights[0], self.rows)
                residual = nodes.shaped(nodes("Add", synthesis, residual), self.rows, "signal_blocks")
            moved = nodes("Conv", residual, weights[1], self.weight(bias / turn.scale), kernel_shape=list(self.taps))
            moved = nodes.shaped(moved, self.columns, "blocks")
            moved = nodes.shaped(nodes("Add", moved, w), self.columns, "blocks") if w else moved
            last, new, before = new, nodes.shaped(nodes("Relu", moved), self.columns, "blocks"), turn
        return new

    def reconstruction(self, folded: str, name: str) -> None:
        """The decoder on the folded code, an output of the signal's shape."""
        super().reconstruction(self._opened(folded), name)

    def _opened(self, folded: str) -> str:
        """A folded code with 0 at closed positions."""
        if not self._is_open:
            return folded
        return self.top.shaped(self.top("Mul", folded, self._is_open), self.columns, "blocks")

    def _extrapolated(self, new: str, last: str, turn: Turn) -> str:
        """V of the new code and the last one, 0 at closed positions."""
        w = self._times(new, turn.growth, self.columns, "blocks")
        if last and turn.pull:
            pulled = self._times(last, -turn.pull, self.columns, "blocks")
            w = self.top.shaped(self.top("Add", pulled, w), self.columns, "blocks")
        return self._opened(w)

    @cached_property
    def _is_open(self) -> str:
        """(batch, columns, *blocks): 0 at closed positions, else 1; "" where no block has any."""
        top, is_open = self.top, ""
        for axis in self.tail:
            here = top("Cast", top("Equal", self.closed_positions(axis), top.constant(0.0, np.float32)), to=1)
            is_open = top("Mul", is_open, here) if is_open else here
        if not is_open:
            return ""
        # Of the code's very shape: products of others leave the blocked layout.
        shape = self.concat(self.batch, top.constant([self.columns]), self.blocks)
        return self._blocked(top("Expand", is_open, shape), self.columns, "blocks")

    def _blocked(self, array: str, channels: int, blocks: str) -> str:
        """The array itself, through a convolution, by which onnxruntime takes it into its blocked layout once."""
        array = self.top.shaped(array, channels, blocks)
        one, zero = self.weight(np.ones((channels, 1, 1, 1))), self.weight(np.zeros(channels))
        array = self.top("Conv", array, one, zero, group=channels, kernel_shape=[1, 1])
        return self.top.shaped(array, channels, blocks)

    def _times(self, array: str, factor: float, channels: int, blocks: str) -> str:
        """The array times a constant."""
        if factor == 1.0:
            return array
        zero = self.weight(np.zeros(channels))
        array = self.top("BatchNormalization", array, self.weight(np.full(channels, factor)), zero, zero,
                         self.weight(np.full(channels, VARIANCE)), epsilon=EPSILON)
        return self.top.shaped(array, channels, blocks)
