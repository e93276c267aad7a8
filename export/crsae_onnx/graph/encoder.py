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
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crsae_onnx.core.spec import INPUT, MASK, SIGMA
from crsae_onnx.graph.folding import FoldedEncoder
from crsae_onnx.graph.nodes import Nodes

if TYPE_CHECKING:
    import onnx

#: Code priors that the iteration is written for -> whether their codes have both signs; and the likelihoods.
CODE_PRIORS = {"soft": True, "nonnegative_soft": False}
LIKELIHOODS = ("gaussian",)
#: Added to a closed position, far beyond any signal and far from overflow.
_CLOSED = -1e30
#: Least squared norm of a code, so that a silent code has changed by 0.
_TINY = 1e-30
_FLOAT, _HALF = 1, 10  # onnx.TensorProto


def as_images(encoder: FoldedEncoder) -> FoldedEncoder:
    """A signal as an image of one row."""
    if len(encoder.strides) == 2:
        return encoder
    return replace(encoder, kernel=encoder.kernel[None], decoder_kernel=encoder.decoder_kernel[None],
                   adjoint_kernel=None if encoder.adjoint_kernel is None else encoder.adjoint_kernel[None],
                   kernel_size=(1, *encoder.kernel_size), strides=(1, *encoder.strides), block=(1, *encoder.block))


class Graph:
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
        self.encoder, self.flat, self.top, self.level = encoder, flat, nodes, sigma
        self.taps, self.columns = encoder.kernel.shape[:2], encoder.kernel.shape[-1]
        self.period = [b * s for b, s in zip(encoder.block, encoder.strides, strict=True)]
        self.signed, self.half = CODE_PRIORS[encoder.code_prior], encoder.half
        self.biased = not (self.signed or self.half)  # the threshold is the second convolution's bias
        top, constant = self.top, self.top.constant
        signal = self._image(signal)
        self.scale = ""  # name of the magnitude that float16 is scaled by
        if self.half:
            self.scale = self._largest(signal, MASK in inputs)
            signal = top("Div", signal, self.scale)
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
        self.tail = [axis for axis in (0, 1) if encoder.block[axis] > 1]
        extras = self._extras(SIGMA in inputs) if self.biased else []
        self.rows = math.prod(self.period) * encoder.channels + len(extras)
        self.signal = top.shaped(self._with(self._fold(signal, self.batch), extras), self.rows, "signal_blocks")
        self.mask = self._mask(MASK in inputs, len(extras))
        weight = self.synthesis_weight(encoder.kernel)
        self.negative_synthesis = self._more_rows(weight if self.half else top("Neg", weight), len(extras))
        self._adjoint(SIGMA in inputs)

    def _image(self, name: str) -> str:
        return self.top("Unsqueeze", name, self.top.constant([1])) if self.flat else name

    def _largest(self, signal: str, masked: bool) -> str:
        """(batch, 1, 1, 1): the largest magnitude of the observed samples, which float16 is scaled by."""
        top, constant = self.top, self.top.constant
        observed = top("Mul", signal, self._image(MASK)) if masked else signal
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

    def _concat(self, *parts: str) -> str:
        return self.top("Concat", *parts, axis=0)

    def _fold(self, array: str, batch: str) -> str:
        """(batch, *space, channels) -> (batch, period * channels, *blocks), zeros on the right."""
        top, constant, channels = self.top, self.top.constant, self.encoder.channels
        missing = top("Sub", top("Mul", self.signal_blocks, constant(self.period)), self.space)
        array = top("Pad", array, self._concat(constant([0] * 5), missing, constant([0])))
        folded = self._concat(batch, constant([math.prod(self.period) * channels]), self.signal_blocks)
        if self.flat:
            # Three axes: onnxruntime transposes six several times slower.
            rows = self._concat(batch, constant([-1, self.period[1] * channels]))
            return top("Reshape", top("Transpose", top("Reshape", array, rows), perm=[0, 2, 1]), folded)
        split = [part for axis, p in enumerate(self.period)
                 for part in (self._entry(self.signal_blocks, axis), constant([p]))]
        array = top("Reshape", array, self._concat(batch, *split, constant([channels])))
        array = top("Transpose", array, perm=[0, 2, 4, 5, 1, 3])
        return top("Reshape", array, folded)

    def unfold(self, array: str, period: Sequence[int], channels: int, space: str, name: str) -> None:
        """(batch, period * channels, *blocks) -> (batch, *space, channels), an output of the graph."""
        top, constant = self.top, self.top.constant
        if self.flat:
            array = top("Transpose", top("Squeeze", array, constant([2])), perm=[0, 2, 1])
            array = top("Reshape", array, self._concat(self.batch, constant([-1, channels])))
            top("Slice", array, constant([0]), self._entry(space, 1), constant([1]), name=name)
            return
        blocks = top("Slice", top("Shape", array), constant([2]), constant([4]))
        array = top("Reshape", array, self._concat(self.batch, constant([*period, channels]), blocks))
        array = top("Transpose", array, perm=[0, 4, 1, 5, 2, 3])
        array = top("Reshape", array, self._concat(self.batch, top("Mul", blocks, constant(period)),
                                                   constant([channels])))
        top("Slice", array, constant([0, 0]), space, constant([1, 2]), name=name)

    def _entry(self, vector: str, axis: int) -> str:
        return self.top("Slice", vector, self.top.constant([axis]), self.top.constant([axis + 1]))

    def _last_block(self, axis: int, count: str) -> str:
        """1 in the last block of codes along ``axis``, else 0; ``count`` blocks, shape (1, 1, count, 1) or its like."""
        top, constant = self.top, self.top.constant
        index = top("Range", constant(0), top("Squeeze", self._entry(count, axis)), constant(1))
        last = top("Equal", index, top("Sub", self._entry(self.blocks, axis), constant([1])))
        return top("Reshape", top("Cast", last, to=1), constant([1, 1, -1, 1] if axis == 0 else [1, 1, 1, -1]))

    def _extras(self, sigma: bool) -> list[str]:
        """Channels beside the signal's: the last block of each axis that has a tail, and sigma."""
        top = self.top
        shape = self._concat(self.batch, top.constant([1]), self.signal_blocks)
        extras = [self._last_block(axis, self.signal_blocks) for axis in self.tail]
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
        mask = self._image(MASK) if given else \
            top("Expand", one, self._concat(batch, self.space, constant([encoder.channels])))
        more = [top("Expand", one, self._concat(batch, constant([extras]), self.signal_blocks))] if extras else []
        return self._with(self._fold(mask, batch), more)

    def _adjoint(self, sigma: bool) -> None:
        """Weight and bias of the second convolution; where it has no bias, the threshold tensor instead."""
        encoder, top, constant = self.encoder, self.top, self.top.constant
        kernel = encoder.kernel if encoder.adjoint_kernel is None else encoder.adjoint_kernel
        kernel = top("Transpose", self.weight(kernel, self.half), perm=[3, 2, 0, 1])  # (filters, channels, *taps)
        self.step_size = constant(encoder.step_size, np.float32)
        parts = [kernel if self.half else top("Mul", kernel, self.step_size)]
        scale = np.tile(encoder.scale, math.prod(encoder.block)).astype(np.float32)
        self.bias = self.weight(-encoder.sigma * scale * (self.biased and not sigma), self.half)
        closed = {axis: self._closed(axis) for axis in self.tail}
        first_tap = [(0, 0), (0, 0)] + [(0, t - 1) for t in self.taps]
        if not self.biased:
            scale = scale.reshape(1, -1, 1, 1)
            threshold = top("Mul", self._sigma(), self.weight(scale)) if sigma else self.weight(encoder.sigma * scale)
            threshold = top("Div", threshold, self.scale) if self.half else threshold
            for axis, amount in closed.items():
                amount = top("Mul", top("Reshape", amount, constant([1, -1, 1, 1])),
                             self._last_block(axis, self.blocks))
                threshold = top("Sub", threshold, amount)
            self.threshold, self.negative_threshold = threshold, top("Neg", threshold)
        else:
            low, high = zip(*first_tap, strict=True)
            parts += [top("Pad", amount, constant([*low, *high])) for amount in closed.values()]
            if sigma:
                parts.append(self.weight(np.pad(-scale.reshape(-1, 1, 1, 1), first_tap)))
        self.adjoint_weight = top("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]

    def _closed(self, axis: int) -> str:
        """(filters, 1, 1, 1): ``_CLOSED`` at the positions of the last block that lie past the code's end."""
        top, constant, encoder = self.top, self.top.constant, self.encoder
        phase = np.indices((*encoder.block, encoder.filters))[axis].reshape(-1, 1, 1, 1)
        before = top("Mul", top("Sub", self._entry(self.blocks, axis), constant([1])), constant([encoder.block[axis]]))
        inside = top("Less", constant(phase), top("Sub", self._entry(self.positions, axis), before))
        return top("Where", inside, constant(0.0, np.float32), constant(_CLOSED, np.float32))

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

    def _step(self, nodes: Nodes, x: str, w: str, factor: str) -> tuple[str, str]:
        """One iteration; returns the new (x, w)."""
        synthesis = self.synthesis(nodes, w, self.negative_synthesis, self.rows)
        residual = nodes("Sub", self.signal, synthesis) if self.half else nodes("Add", synthesis, self.signal)
        if self.mask is not None:
            residual = nodes("Mul", residual, self.mask)
        moved = self._convolve(nodes, residual, self.adjoint_weight, self.bias)
        if self.half:
            moved = nodes("Mul", moved, self.step_size)
        moved = nodes("Add", nodes.shaped(moved, self.columns, "blocks"), w)
        if self.signed:
            # u - clip(u, -b, b); ONNX Clip takes one number as limit.
            clipped = nodes("Max", nodes("Min", moved, self.threshold), self.negative_threshold)
            new = nodes("Sub", moved, clipped)
        else:
            new = nodes("Relu", moved if self.biased else nodes("Sub", moved, self.threshold))
        w = nodes("Add", new, nodes("Mul", nodes("Sub", new, x), factor))
        return new, nodes.shaped(w, self.columns, "blocks")

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
        passes, rest = divmod(len(factors), encoder.check_every)
        x = top("Expand", constant(0.0, np.float32), self._concat(self.batch, constant([self.columns]), self.blocks))
        x = w = top.shaped(x, self.columns, "blocks")
        for factor in factors[:rest]:
            x, w = self._step(top, x, w, constant(factor, np.float32))
        if not passes:
            return x
        table = self.weight(factors[rest:].reshape(passes, encoder.check_every))
        return top.several("Loop", constant(passes), constant(True, bool), x, w, count=2, body=self._body(table))[0]

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
            x, w = self._step(nodes, x, w, factor)
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
