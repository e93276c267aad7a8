"""The exported graph, node by node.

It is written with ``onnx.helper``, not traced: a traced loop body keeps shape arithmetic around every convolution,
and the body below has none. The dictionary is folded into blocks (``graph.folding``), so that it
is a stride-1 convolution of many channels, channels first, and one iteration is

    r = y - D w                             Conv, Add
    x' = relu(w + step D^T r - threshold)   Conv, Add, Relu
    w' = x' + m (x' - x)                    Sub, Mul, Add

onnxruntime makes each of the first two rows one kernel (its ConvAddActivationFusion), which it does only where the
arrays have four axes, the convolution has a bias, and both summands name their axes alike: so signals are images of
one row here, no convolution lacks a bias, and shapes are noted beside the nodes.

The threshold is the convolution's bias. Positions past the end of the code (the tail of the last block) are closed
by one channel more in ``y``: it is 1 in the last block, and its weights are hugely negative at the tail's positions.
The input ``sigma`` enters the same way, as a channel that holds it.

In float16 the two convolutions alone are half: their inputs are cast to it, their results back. The signal is divided
by its largest value (and the threshold with it), so that nothing overflows; codes, residuals and all sums over
iterations stay float32, or the small steps of late iterations would be lost. -1e30 is no half number: the threshold is
subtracted there, not a bias.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crsae_onnx.core.spec import INPUT, MASK, SIGMA
from crsae_onnx.graph.blocks import Blocks
from crsae_onnx.graph.folding import FoldedEncoder, FoldedLayer
from crsae_onnx.graph.nodes import Nodes

if TYPE_CHECKING:
    import onnx

#: Code priors that the iteration is written for -> whether their codes have both signs; and the likelihoods.
CODE_PRIORS = {"soft": True, "nonnegative_soft": False}
LIKELIHOODS = ("gaussian",)
#: Least squared norm of a code, so that a silent code has changed by 0.
_TINY = 1e-30
_FLOAT, _HALF = 1, 10  # onnx.TensorProto


@dataclass(frozen=True)
class Weights:
    """Names of what an iteration computes with."""

    negative_synthesis: str
    adjoint: str
    bias: str  #: of the convolution with ``adjoint``
    step_size: str
    threshold: str  #: and its negative, where it is not the bias; else ""
    negative_threshold: str


class Graph(Blocks):
    """Builds an encoder into ``nodes``; the Loop's body is another ``Nodes`` that reads their tensors.

    Args:
        encoder: ``as_images`` of a FoldedEncoder.
        inputs: names of the file's inputs: whether there is a mask and a sigma.
        flat: whether signals are one-dimensional.
        nodes: Nodes.
        signal, sigma: names of the signal and of the noise level in them.
    """

    def __init__(self, encoder: FoldedEncoder, inputs: Sequence[str], flat: bool, nodes: Nodes, signal: str = INPUT,
                 sigma: str = SIGMA) -> None:
        self.level, self.signed, self.half = sigma, CODE_PRIORS[encoder.code_prior], encoder.half
        # Whether the threshold is the second convolution's bias; else it is a tensor.
        self.biased = not (self.signed or self.half or any(layer.offset is not None for layer in encoder.layers))
        super().__init__(encoder, flat, nodes)
        top, signal = nodes, self.image(signal)
        self.scale = ""  # name of the magnitude that float16 is scaled by
        if self.half:
            self.scale = self._largest(signal, MASK in inputs)
            signal = top("Div", signal, self.scale)
        self.measure(signal)
        extras = self._extras(SIGMA in inputs) if self.biased else []
        self.rows = math.prod(self.period) * encoder.channels + len(extras)
        self.signal = top.shaped(self._with(self.fold(signal, self.batch), extras), self.rows, "signal_blocks")
        self.mask = self._mask(MASK in inputs, len(extras))
        self.layers = [self._weights(layer, SIGMA in inputs, len(extras)) for layer in encoder.layers]

    def _largest(self, signal: str, masked: bool) -> str:
        """(batch, 1, 1, 1): the largest magnitude of the observed samples, which float16 is scaled by."""
        top, constant = self.top, self.top.constant
        observed = top("Mul", signal, self.image(MASK)) if masked else signal
        most = top("ReduceMax", top("Abs", observed), constant([1, 2, 3]), keepdims=1)
        return top("Max", most, constant(_TINY, np.float32))

    def unscale(self, array: str) -> str:
        """An array back in the signal's unit."""
        return self.top("Mul", array, self.scale) if self.half else array

    def weight(self, array: NDArray, half: bool = False) -> str:
        """Name of an initialiser in the precision of the file's convolutions, or in float32."""
        return self.top.constant(array, np.float16 if half else np.float32)

    def synthesis_weight(self, kernel: NDArray) -> str:
        """Folded kernel (*taps, channels, filters) as Conv's (channels, filters, *taps); taps run backwards.

        Each kernel is stored once; what is derived from it onnxruntime computes when it loads the file.
        """
        top, constant = self.top, self.top.constant
        back, end = constant([-1, -1]), constant([np.iinfo(np.int64).min] * 2)
        backwards = top("Slice", self.weight(kernel, self.half), back, end, constant([0, 1]), back)
        return top("Transpose", backwards, perm=[2, 3, 0, 1])

    def _more_rows(self, weight: str, count: int) -> str:
        """Zeros for the outputs that the code does not reach."""
        if not count:
            return weight
        return self.top("Pad", weight, self.top.constant([0, 0, 0, 0, count, 0, 0, 0]))

    def _extras(self, sigma: bool) -> list[str]:
        """Channels beside the signal's: the last block of each axis that has a tail, and sigma."""
        top = self.top
        shape = self.concat(self.batch, top.constant([1]), self.signal_blocks)
        extras = [self.last_block(axis, self.signal_blocks) for axis in self.tail]
        extras += [self._sigma()] if sigma else []
        return [top("Expand", extra, shape) for extra in extras]

    def _sigma(self) -> str:
        return self.top("Reshape", self.level, self.top.constant([-1, 1, 1, 1]))

    def _with(self, array: str, extras: Sequence[str]) -> str:
        return self.top("Concat", array, *extras, axis=1) if extras else array

    def _mask(self, given: bool, extras: int) -> str | None:
        """0/1 of the folded signal's shape, or None where every sample that a code reaches is observed."""
        top, constant, encoder = self.top, self.top.constant, self.encoder
        if not given and encoder.strides == (1, 1):
            return None
        batch = self.batch if given else constant([1])
        one = constant(1.0, np.float32)
        mask = self.image(MASK) if given else \
            top("Expand", one, self.concat(batch, self.space, constant([encoder.channels])))
        more = [top("Expand", one, self.concat(batch, constant([extras]), self.signal_blocks))] if extras else []
        return self._with(self.fold(mask, batch), more)

    def _weights(self, layer: FoldedLayer, sigma: bool, extras: int) -> Weights:
        """Weights of both convolutions; the threshold as the second one's bias, or as a tensor."""
        encoder, top, constant = self.encoder, self.top, self.top.constant
        synthesis = self.synthesis_weight(layer.kernel)
        synthesis = self._more_rows(synthesis if self.half else top("Neg", synthesis), extras)
        kernel = layer.kernel if layer.adjoint_kernel is None else layer.adjoint_kernel
        kernel = top("Transpose", self.weight(kernel, self.half), perm=[3, 2, 0, 1])  # (filters, channels, *taps)
        step_size = constant(layer.step_size, np.float32)
        parts = [kernel if self.half else top("Mul", kernel, step_size)]
        scale = np.tile(layer.scale, math.prod(encoder.block)).astype(np.float32)
        bias = self.weight(-encoder.sigma * scale * (self.biased and not sigma), self.half)
        amounts = self._amounts
        if not self.biased:
            threshold = self._threshold(layer, scale.reshape(1, -1, 1, 1), sigma)
            return Weights(synthesis, parts[0], bias, step_size, threshold, top("Neg", threshold))
        first_tap = [(0, 0), (0, 0)] + [(0, t - 1) for t in self.taps]
        low, high = zip(*first_tap, strict=True)
        parts += [top("Pad", amount, constant([*low, *high])) for amount in amounts.values()]
        if sigma:
            parts.append(self.weight(np.pad(-scale.reshape(-1, 1, 1, 1), first_tap)))
        adjoint = top("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
        return Weights(synthesis, adjoint, bias, step_size, "", "")

    def _threshold(self, layer: FoldedLayer, scale: NDArray[np.float32], sigma: bool) -> str:
        """The threshold of an iteration, broadcastable to the folded code; infinite at closed positions."""
        top = self.top
        threshold = top("Mul", self._sigma(), self.weight(scale)) if sigma else \
            self.weight(self.encoder.sigma * scale)
        if layer.offset is not None:
            offset = np.tile(layer.offset, math.prod(self.encoder.block)).reshape(scale.shape)
            threshold = top("Relu", top("Add", threshold, self.weight(offset)))
        threshold = top("Div", threshold, self.scale) if self.half else threshold
        for axis in self.tail:
            threshold = top("Sub", threshold, self._closed(axis))
        return threshold

    @cached_property
    def _amounts(self) -> dict[int, str]:
        return {axis: self.closed(axis) for axis in self.tail}

    @lru_cache  # noqa: B019  a graph lives as long as its conversion
    def _closed(self, axis: int) -> str:
        """``CLOSED`` at the closed positions of the last block of an axis, else 0; broadcastable to the folded code."""
        top = self.top
        amount = top("Reshape", self._amounts[axis], top.constant([1, -1, 1, 1]))
        return top("Mul", amount, self.last_block(axis, self.blocks))

    # The iterations

    def synthesis(self, nodes: Nodes, code: str, weight: str, rows: int) -> str:
        """``D`` on a folded code, (batch, rows, *signal_blocks)."""
        pads = [t - 1 for t in self.taps]
        signal = self._convolve(nodes, code, weight, self.weight(np.zeros(rows), self.half), pads=pads + pads)
        return nodes.shaped(signal, rows, "signal_blocks")

    def _convolve(self, nodes: Nodes, array: str, weight: str, bias: str, **options: Any) -> str:
        """A convolution of float32 arrays, inside in the file's precision."""
        if self.half:
            array = nodes("Cast", array, to=_HALF)
        result = nodes("Conv", array, weight, bias, kernel_shape=list(self.taps), **options)
        return nodes("Cast", result, to=_FLOAT) if self.half else result

    def _step(self, nodes: Nodes, x: str | None, w: str | None, factor: str | None,
              weights: Weights) -> tuple[str, str]:
        """One iteration; returns the new (x, w). ``x`` and ``w`` None: the code 0; ``factor`` None: no momentum."""
        residual = self.signal
        if w is not None:
            synthesis = self.synthesis(nodes, w, weights.negative_synthesis, self.rows)
            residual = nodes("Sub", self.signal, synthesis) if self.half else nodes("Add", synthesis, self.signal)
        if self.mask is not None:
            residual = nodes("Mul", residual, self.mask)
        moved = self._convolve(nodes, residual, weights.adjoint, weights.bias)
        if self.half:
            moved = nodes("Mul", moved, weights.step_size)
        moved = nodes.shaped(moved, self.columns, "blocks")
        moved = moved if w is None else nodes("Add", moved, w)
        if self.signed:
            # u - clip(u, -b, b); ONNX Clip takes one number as limit.
            clipped = nodes("Max", nodes("Min", moved, weights.threshold), weights.negative_threshold)
            new = nodes("Sub", moved, clipped)
        else:
            new = nodes("Relu", moved if self.biased else nodes("Sub", moved, weights.threshold))
        if factor is None:
            return new, nodes.shaped(new, self.columns, "blocks")
        change = new if x is None else nodes("Sub", new, x)
        return new, nodes.shaped(nodes("Add", new, nodes("Mul", change, factor)), self.columns, "blocks")

    def code(self, folded: str, name: str) -> None:
        """The folded code as an output (batch, *positions, filters)."""
        self.unfold(self.unscale(folded), self.encoder.block, self.encoder.filters, self.positions, name)

    def reconstruction(self, folded: str, name: str) -> None:
        """The decoder on the folded code, an output of the signal's shape."""
        encoder = self.encoder
        signal = self.synthesis(self.top, folded, self.synthesis_weight(encoder.decoder_kernel),
                                math.prod(self.period) * encoder.channels)
        self.unfold(self.unscale(signal), self.period, encoder.channels, self.space, name)

    def iterate(self) -> str:
        """Name of the folded code after all iterations."""
        top, constant, encoder = self.top, self.top.constant, self.encoder
        factors = encoder.momentum
        if not encoder.loop:
            return self._written_out(factors)
        passes, rest = divmod(len(factors), encoder.check_every)
        x = top("Expand", constant(0.0, np.float32), self.concat(self.batch, constant([self.columns]), self.blocks))
        x = w = top.shaped(x, self.columns, "blocks")
        for factor in factors[:rest]:
            x, w = self._step(top, x, w, constant(factor, np.float32), self.layers[0])
        if not passes:
            return x
        table = self.weight(factors[rest:].reshape(passes, encoder.check_every))
        return top.several("Loop", constant(passes), constant(True, bool), x, w, count=2, body=self._body(table))[0]

    def _written_out(self, factors: NDArray[np.float32]) -> str:
        """``iterate`` without a Loop, what the first and the last iteration do not need left out."""
        x = w = None
        layers = self.layers * (len(factors) if len(self.layers) == 1 else 1)
        for k, (factor, weights) in enumerate(zip(factors, layers, strict=True), start=1):
            moves = factor and k < len(factors)
            x, w = self._step(self.top, x, w, self.top.constant(factor, np.float32) if moves else None, weights)
        return x or ""

    def _body(self, table: str) -> onnx.GraphProto:
        from onnx import TensorProto, helper

        nodes = Nodes(f"{self.top.prefix}body/")
        names = {name: f"{self.top.prefix}{name}" for name in ("pass", "go", "x", "w", "go_on", "x_next", "w_next")}
        row = nodes("Gather", table, names["pass"])
        count = self.encoder.check_every
        factors = nodes.several("Split", row, count=count, axis=0, num_outputs=count)
        x = last = names["x"]
        w = names["w"]
        for factor in factors:
            last = x
            x, w = self._step(nodes, x, w, factor, self.layers[0])
        if self.encoder.tolerance is None:
            nodes("Identity", names["go"], name=names["go_on"])
        else:
            self._go_on(nodes, x, last, self.encoder.tolerance, names["go_on"])
        nodes("Identity", x, name=names["x_next"])
        nodes("Identity", w, name=names["w_next"])

        def tensor(name: str, kind: int = TensorProto.FLOAT, shape: list | None = None) -> onnx.ValueInfoProto:
            shape = nodes.shape(self.columns, "blocks") if shape is None else shape
            return helper.make_tensor_value_info(names[name], kind, shape)

        return helper.make_graph(
            nodes.nodes, nodes.prefix + "iterations",
            [tensor("pass", TensorProto.INT64, []), tensor("go", TensorProto.BOOL, []), tensor("x"), tensor("w")],
            [tensor("go_on", TensorProto.BOOL, []), tensor("x_next"), tensor("w_next")], nodes.constants,
            value_info=nodes.shapes)

    def _go_on(self, nodes: Nodes, x: str, last: str, tolerance: float, name: str) -> None:
        """True while some code of the batch changed by the tolerance or more in the last iteration."""
        every = nodes.constant([1, 2, 3])
        moved = nodes("ReduceSumSquare", nodes("Sub", x, last), every, keepdims=0)
        size = nodes("ReduceSumSquare", x, every, keepdims=0)
        relative = nodes("Div", moved, nodes("Max", size, nodes.constant(_TINY, np.float32)))
        change = nodes("Sqrt", nodes("ReduceMax", relative, keepdims=0))
        nodes("GreaterOrEqual", change, nodes.constant(tolerance, np.float32), name=name)
