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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crsae_onnx.core.spec import CODE_PRIORS, INPUT, MASK, SIGMA
from crsae_onnx.graph.blocks import CLOSED, Blocks
from crsae_onnx.graph.folding import FoldedEncoder, FoldedLayer
from crsae_onnx.graph.loops import State, loop
from crsae_onnx.graph.nodes import Nodes

#: Likelihoods that the iteration is written for.
LIKELIHOODS = ("gaussian", "poisson", "binomial")
#: Least squared norm of a code, so that a silent code has changed by 0.
TINY = 1e-30
_FLOAT, _HALF = 1, 10  # onnx.TensorProto
#: Outputs that a convolution of onnxruntime computes at once with AVX-512.
_LANES = 16


@dataclass(frozen=True)
class Weights:
    """Names of what an iteration computes with."""

    synthesis: str  #: of D; of -D where the residual is a sum
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
        return top("Max", most, constant(TINY, np.float32))

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
        extras += [self.level_tensor()] if sigma else []
        return [top("Expand", extra, shape) for extra in extras]

    def level_tensor(self) -> str:
        """The level of each signal, (batch, 1, 1, 1)."""
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

    def residual_weight(self, layer: FoldedLayer, extras: int) -> str:
        """The weight of the convolution that ``residual`` takes."""
        weight = self.synthesis_weight(layer.kernel)
        return self._more_rows(weight if self.half else self.top("Neg", weight), extras)

    def _weights(self, layer: FoldedLayer, sigma: bool, extras: int) -> Weights:
        """Weights of both convolutions; the threshold as the second one's bias, or as a tensor."""
        encoder, top, constant = self.encoder, self.top, self.top.constant
        synthesis = self.residual_weight(layer, extras)
        kernel = layer.kernel if layer.adjoint_kernel is None else layer.adjoint_kernel
        kernel = top("Transpose", self.weight(kernel, self.half), perm=[3, 2, 0, 1])  # (filters, channels, *taps)
        step_size = constant(layer.step_size, np.float32)
        parts = [kernel if self.half else top("Mul", kernel, step_size)]
        scale = np.tile(layer.scale, math.prod(encoder.block)).astype(np.float32)
        bias = self.weight(-encoder.level * scale * (self.biased and not sigma), self.half)
        amounts = self._amounts
        if not self.biased:
            threshold = self.threshold(layer, scale.reshape(1, -1, 1, 1), sigma)
            return Weights(synthesis, parts[0], bias, step_size, *self._limits(threshold))
        first_tap = [(0, 0), (0, 0)] + [(0, t - 1) for t in self.taps]
        low, high = zip(*first_tap, strict=True)
        parts += [top("Pad", amount, constant([*low, *high])) for amount in amounts.values()]
        if sigma:
            parts.append(self.weight(np.pad(-scale.reshape(-1, 1, 1, 1), first_tap)))
        adjoint = top("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
        return Weights(synthesis, adjoint, bias, step_size, "", "")

    def threshold(self, layer: FoldedLayer, scale: NDArray[np.float32], sigma: bool) -> str:
        """The threshold of an iteration, broadcastable to the folded code; infinite at closed positions."""
        threshold = self.open_threshold(layer, scale, sigma)
        for axis in self.tail:
            threshold = self.top("Sub", threshold, self.closed_positions(axis))
        return threshold

    def _limits(self, threshold: str) -> tuple[str, str]:
        """What a code value is clipped to before that is subtracted from it; infinite on the side that stays 0."""
        signs, negative = self.encoder.signs, self.top("Neg", threshold)
        if signs is None:
            return threshold, negative
        closed = [np.tile(np.where(signs == side, CLOSED, 0.0), math.prod(self.encoder.block)).reshape(1, -1, 1, 1)
                  for side in (-1, 1)]
        return (self.top("Sub", threshold, self.weight(closed[0])), self.top("Add", negative, self.weight(closed[1])))

    def open_threshold(self, layer: FoldedLayer, scale: NDArray[np.float32], sigma: bool) -> str:
        """``threshold`` without regard to closed positions."""
        top = self.top
        threshold = top("Mul", self.level_tensor(), self.weight(scale)) if sigma else \
            self.weight(self.encoder.level * scale)
        if layer.offset is not None:
            offset = np.tile(layer.offset, math.prod(self.encoder.block)).reshape(scale.shape)
            threshold = top("Relu", top("Add", threshold, self.weight(offset)))
        return top("Div", threshold, self.scale) if self.half else threshold

    @cached_property
    def _amounts(self) -> dict[int, str]:
        return {axis: self.closed(axis) for axis in self.tail}

    @lru_cache  # noqa: B019  a graph lives as long as its conversion
    def closed_positions(self, axis: int) -> str:
        """``CLOSED`` at the closed positions of the last block of an axis, else 0; broadcastable to the folded code."""
        top = self.top
        amount = top("Reshape", self._amounts[axis], top.constant([1, -1, 1, 1]))
        return top("Mul", amount, self.last_block(axis, self.blocks))

    # The iterations

    def synthesis(self, nodes: Nodes, code: str, weight: str, rows: int, bias: str = "") -> str:
        """``D`` on a folded code, (batch, rows, *signal_blocks).

        Of images with few rows four neighbouring blocks come out of one convolution of stride 2: onnxruntime computes
        16 outputs in the time of fewer.
        """
        pads, top, constant = [t - 1 for t in self.taps], self.top, self.top.constant
        bias = bias or self.weight(np.zeros(rows), self.half)
        if self.flat or self.half or rows > _LANES // 4:
            signal = self.convolve(nodes, code, weight, bias, pads=pads + pads)
            return nodes.shaped(signal, rows, "signal_blocks")
        signal = self.convolve(nodes, code, self._wide(weight), top("Tile", bias, constant([4])), more=1,
                               pads=pads + [p + 1 for p in pads], strides=[2, 2])
        signal = nodes("DepthToSpace", signal, blocksize=2)
        signal = nodes("Slice", signal, constant([0, 0]), self.signal_blocks, constant([2, 3]))
        return nodes.shaped(signal, rows, "signal_blocks")

    @lru_cache  # noqa: B019  a graph lives as long as its conversion
    def _wide(self, weight: str) -> str:
        """The weight of ``synthesis`` for 2 x 2 blocks: it, moved by 0 or 1 on both axes."""
        top = self.top
        moved = [top("Pad", weight, top.constant([0, 0, i, j, 0, 0, 1 - i, 1 - j])) for i in (0, 1) for j in (0, 1)]
        return top("Concat", *moved, axis=0)

    def convolve(self, nodes: Nodes, array: str, weight: str, bias: str, more: int = 0, **options: Any) -> str:
        """A convolution of float32 arrays, inside in the file's precision; ``more`` taps an axis than ``taps``."""
        if self.half:
            array = nodes("Cast", array, to=_HALF)
        result = nodes("Conv", array, weight, bias, kernel_shape=[t + more for t in self.taps], **options)
        return nodes("Cast", result, to=_FLOAT) if self.half else result

    def _step(self, nodes: Nodes, x: str | None, w: str | None, factor: str | None,
              weights: Weights) -> tuple[str, str]:
        """One iteration; returns the new (x, w). ``x`` and ``w`` None: the code 0; ``factor`` None: no momentum."""
        residual = self.residual(nodes, w, weights)
        if self.mask is not None:
            residual = nodes("Mul", residual, self.mask)
        moved = self.convolve(nodes, residual, weights.adjoint, weights.bias)
        if self.half:
            moved = nodes("Mul", moved, weights.step_size)
        moved = nodes.shaped(moved, self.columns, "blocks")
        moved = moved if w is None else nodes("Add", moved, w)
        new = nodes("Relu", moved) if self.biased else \
            self.shrink(nodes, moved, weights.threshold, weights.negative_threshold)
        if factor is None:
            return new, nodes.shaped(new, self.columns, "blocks")
        change = new if x is None else nodes("Sub", new, x)
        return new, nodes.shaped(nodes("Add", new, nodes("Mul", change, factor)), self.columns, "blocks")

    def residual(self, nodes: Nodes, w: str | None, weights: Weights) -> str:
        """y - D w, missing samples included; of the code 0 where ``w`` is None."""
        if w is None:
            return self.signal
        synthesis = self.synthesis(nodes, w, weights.synthesis, self.rows)
        return nodes("Sub", self.signal, synthesis) if self.half else nodes("Add", synthesis, self.signal)

    def shrink(self, nodes: Nodes, moved: str, threshold: str, negative_threshold: str) -> str:
        """The prox of the code's prior."""
        if not self.signed:
            return nodes("Relu", nodes("Sub", moved, threshold))
        # u - clip(u, -b, b); ONNX Clip takes one number as limit.
        code = nodes("Sub", moved, nodes("Max", nodes("Min", moved, threshold), negative_threshold))
        return nodes("Mul", code, self._ridge_factor) if self.encoder.ridge is not None else code

    @cached_property
    def _ridge_factor(self) -> str:
        """1 / (1 + ridge * step size), of each filter of a block."""
        ridge = np.zeros(self.encoder.filters) if self.encoder.ridge is None else self.encoder.ridge
        factor = np.tile(1.0 / (1.0 + ridge * self.encoder.layers[0].step_size), math.prod(self.encoder.block))
        return self.weight(factor.reshape(1, -1, 1, 1))

    def code(self, folded: str, name: str) -> None:
        """The folded code as an output (batch, *positions, filters)."""
        self.unfold(self.unscale(folded), self.encoder.block, self.encoder.filters, self.positions, name)

    def reconstruction(self, folded: str, name: str) -> None:
        """The decoder on the folded code, an output of the signal's shape."""
        encoder = self.encoder
        signal = self.synthesis(self.top, folded, self.synthesis_weight(encoder.decoder_kernel),
                                math.prod(self.period) * encoder.channels)
        if encoder.subspace is None:
            self.unfold(self.unscale(signal), self.period, encoder.channels, self.space, name)
            return
        self.unfold(self.unscale(signal), self.period, encoder.channels, self.space, f"{name}_inner")
        self.top("MatMul", f"{name}_inner", self.weight(encoder.subspace.T), name=name)

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

        def one_pass(nodes: Nodes, number: str, states: list[str]) -> tuple[list[str], list[str]]:
            row, last = nodes("Gather", table, number), states
            for factor in nodes.several("Split", row, count=encoder.check_every, axis=0,
                                        num_outputs=encoder.check_every):
                last, states = states, list(self._step(nodes, states[0], states[1], factor, self.layers[0]))
            return states, last

        shape = Nodes(f"{top.prefix}body/").shape(self.columns, "blocks")
        goes_on = None if encoder.tolerance is None else self.changed
        return loop(top, passes, [State("x", x, shape), State("w", w, shape)], one_pass, goes_on)[0]

    def _written_out(self, factors: NDArray[np.float32]) -> str:
        """``iterate`` without a Loop, what the first and the last iteration do not need left out."""
        x = w = None
        layers = self.layers * (len(factors) if len(self.layers) == 1 else 1)
        for k, (factor, weights) in enumerate(zip(factors, layers, strict=True), start=1):
            moves = factor and k < len(factors)
            x, w = self._step(self.top, x, w, self.top.constant(factor, np.float32) if moves else None, weights)
        return x or ""

    def changed(self, nodes: Nodes, after: list[str], before: list[str], name: str) -> None:
        """True while some code of the batch changed by the tolerance or more."""
        every = nodes.constant([1, 2, 3])
        moved = nodes("ReduceSumSquare", nodes("Sub", after[0], before[0]), every, keepdims=0)
        size = nodes("ReduceSumSquare", after[0], every, keepdims=0)
        relative = nodes("Div", moved, nodes("Max", size, nodes.constant(TINY, np.float32)))
        change = nodes("Sqrt", nodes("ReduceMax", relative, keepdims=0))
        nodes("GreaterOrEqual", change, nodes.constant(self.encoder.tolerance or 0.0, np.float32), name=name)
