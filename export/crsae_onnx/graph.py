"""The exported graph, node by node.

It is written with ``onnx.helper``, not traced: a traced loop body keeps shape arithmetic around every convolution,
and onnxruntime runs the body below twice as fast. The dictionary is folded into blocks
(``keras_crsae.functional.polyphase``), so that it is a stride-1 convolution of many channels, channels first, and
one iteration is

    r = y - D w        Conv, Add
    x' = relu(w + step D^T r - threshold)        Conv, Add, Relu: one fused kernel of onnxruntime
    w' = x' + m (x' - x)        Sub, Mul, Add

The threshold is the convolution's bias. Positions past the end of the code (the tail of the last block) are closed
by one channel more in ``y``: it is 1 in the last block, and its weights are hugely negative at the tail's positions.
A ``sigma`` of the call's own enters the same way, as a channel that holds it.
"""

import math
from typing import NamedTuple

import numpy as np

from crsae_onnx.contract import INPUT, MASK, OPSET, SIGMA, axes

#: Iterations in the body of the Loop: as ``SparseCoding``, so that ``tolerance`` is looked at after the same ones.
LOOP_BODY = 10
#: Added to a closed position, far beyond any signal and far from overflow.
_CLOSED = -1e30
#: Of the code's squared norm, so that a silent code has changed by 0.
_TINY = 1e-30


class Encoder(NamedTuple):
    """What the graph is made from, in NumPy."""

    kernel: np.ndarray          #: folded (*taps, prod(block * strides) * channels, prod(block) * filters)
    decoder_kernel: np.ndarray  #: the same for the decoder
    kernel_size: tuple
    strides: tuple
    block: tuple                #: code positions an axis that one block holds
    channels: int
    filters: int
    step_size: float
    scale: np.ndarray           #: (filters,), the threshold is scale * sigma
    sigma: float
    shrinkage: str
    iterations: int
    tolerance: float | None


class _Nodes:
    """A list of nodes under construction; calling it adds one and gives its output's name."""

    def __init__(self, prefix=""):
        self.nodes, self.constants, self.prefix, self._known = [], [], prefix, {}

    def __call__(self, op, *inputs, count=1, name=None, **attributes):
        from onnx import helper

        number = len(self.nodes)
        outputs = [name] if name else [f"{self.prefix}{op}_{number}" + (f"_{i}" if count > 1 else "")
                                       for i in range(count)]
        self.nodes.append(helper.make_node(op, list(inputs), outputs, name=f"{self.prefix}{op}_{number}", **attributes))
        return outputs if count > 1 else outputs[0]

    def constant(self, value, dtype=np.int64):
        """Name of an initialiser with this value; equal ones are stored once."""
        from onnx import numpy_helper

        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = f"{self.prefix}constant_{len(self.constants)}"
            self.constants.append(numpy_helper.from_array(array, self._known[key]))
        return self._known[key]


def build(encoder, outputs, inputs):
    """ModelProto of an ``Encoder``.

    Args:
        encoder: Encoder.
        outputs: some of "code", "reconstruction".
        inputs: "signal" and, where wanted, "mask" and "sigma".
    """
    import onnx
    from onnx import helper

    graph = _Graph(encoder, inputs)
    code = graph.iterate()
    if "code" in outputs:
        graph.unfold(code, encoder.block, encoder.filters, graph.positions, "code")
    if "reconstruction" in outputs:
        made = graph.synthesis(graph.top, code, graph.synthesis_weight(encoder.decoder_kernel))
        period = [b * s for b, s in zip(encoder.block, encoder.strides, strict=True)]
        graph.unfold(made, period, encoder.channels, graph.space, "reconstruction")
    rank = len(encoder.strides)

    def tensor(name):
        fixed = {"channels": encoder.channels, "filters": encoder.filters}
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [fixed.get(a, a) for a in axes(name, rank)])

    body = helper.make_graph(graph.top.nodes, "crsae", [tensor(n) for n in inputs], [tensor(n) for n in outputs],
                             graph.top.constants)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(body, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets),
                             producer_name="keras-crsae")


def momentum(iterations):
    """(t_k - 1) / t_{k+1} for k = 0 ... iterations - 1, float32 (Beck and Teboulle 2009)."""
    made, t = [], 1.0
    for _ in range(iterations):
        following = (1.0 + math.sqrt(1.0 + 4.0 * t * t)) / 2.0
        made.append((t - 1.0) / following)
        t = following
    return np.array(made, np.float32)


class _Graph:
    """Builds the top graph; the Loop's body is a ``_Nodes`` of its own that reads the top's tensors."""

    def __init__(self, encoder, inputs):
        self.encoder, self.rank, self.top = encoder, len(encoder.strides), _Nodes()
        self.taps = encoder.kernel.shape[:self.rank]
        self.soft = encoder.shrinkage == "soft"
        top, constant = self.top, self.top.constant
        shape = top("Shape", INPUT)
        self.batch = top("Slice", shape, constant([0]), constant([1]))
        self.space = top("Slice", shape, constant([1]), constant([self.rank + 1]))
        size, stride, block = (constant(v) for v in (encoder.kernel_size, encoder.strides, encoder.block))
        one, taps = constant([1]), constant(self.taps)
        # All counts are positive: ONNX division truncates, as floor does there.
        past = top("Sub", top("Add", self.space, stride), top("Add", size, one))
        self.positions = top("Add", top("Div", past, stride), one)
        self.blocks = top("Div", top("Sub", top("Add", self.positions, block), one), block)
        self.signal_blocks = top("Sub", top("Add", self.blocks, taps), one)
        self.tail = [a for a in range(self.rank) if encoder.block[a] > 1] if not self.soft else []
        extras = self._extras(SIGMA in inputs and not self.soft)
        self.signal = self._with(self._fold(INPUT, shape), extras)
        self.mask = self._mask(MASK in inputs, shape, len(extras))
        self.negative_synthesis = self._more_rows(top("Neg", self.synthesis_weight(encoder.kernel)), len(extras))
        self._adjoint(SIGMA in inputs)

    def weight(self, array):
        return self.top.constant(array, np.float32)

    def synthesis_weight(self, kernel):
        """Folded kernel (*taps, channels, filters) as Conv's (channels, filters, *taps); taps run backwards.

        Each kernel is stored once; what is derived from it onnxruntime computes when it loads the file.
        """
        axes = list(range(self.rank))
        ends = self.top.constant([-1] * self.rank), self.top.constant([np.iinfo(np.int64).min] * self.rank)
        backwards = self.top("Slice", self.weight(kernel), *ends, self.top.constant(axes),
                             self.top.constant([-1] * self.rank))
        return self.top("Transpose", backwards, perm=[self.rank, self.rank + 1, *axes])

    def _more_rows(self, weight, count):
        """Zeros for the outputs that the code does not reach."""
        if not count:
            return weight
        return self.top("Pad", weight, self.top.constant([0] * (self.rank + 2) + [count] + [0] * (self.rank + 1)))

    def _concat(self, *parts):
        return self.top("Concat", *parts, axis=0)

    def _fold(self, name, shape):
        """(batch, *space, channels) -> (batch, period * channels, *blocks), zeros on the right."""
        top, constant, rank, encoder = self.top, self.top.constant, self.rank, self.encoder
        period = [b * s for b, s in zip(encoder.block, encoder.strides, strict=True)]
        wanted = top("Mul", self.signal_blocks, constant(period))
        missing = top("Sub", wanted, self.space)
        array = top("Pad", name, self._concat(constant([0] * (rank + 3)), missing, constant([0])))
        batch = top("Slice", shape, constant([0]), constant([1]))
        split = [batch]
        for axis, p in enumerate(period):
            split += [self._entry(self.signal_blocks, axis), constant([p])]
        array = top("Reshape", array, self._concat(*split, constant([encoder.channels])))
        order = [0, *range(2, 2 * rank + 1, 2), 2 * rank + 1, *range(1, 2 * rank, 2)]
        array = top("Transpose", array, perm=order)
        channels = math.prod(period) * encoder.channels
        return top("Reshape", array, self._concat(batch, constant([channels]), self.signal_blocks))

    def unfold(self, array, period, channels, space, name):
        """(batch, period * channels, *blocks) -> (batch, *space, channels), an output of the graph."""
        top, constant, rank = self.top, self.top.constant, self.rank
        blocks = top("Slice", top("Shape", array), constant([2]), constant([rank + 2]))
        array = top("Reshape", array, self._concat(self.batch, constant([*period, channels]), blocks))
        order = [0] + [a for i in range(rank) for a in (rank + 2 + i, 1 + i)] + [rank + 1]
        array = top("Transpose", array, perm=order)
        array = top("Reshape", array, self._concat(self.batch, top("Mul", blocks, constant(period)),
                                                   constant([channels])))
        top("Slice", array, constant([0] * rank), space, constant(list(range(1, rank + 1))), name=name)

    def _entry(self, vector, axis):
        return self.top("Slice", vector, self.top.constant([axis]), self.top.constant([axis + 1]))

    def _extras(self, sigma):
        """Channels beside the signal's: the last block of each axis that has a tail, and sigma."""
        top, constant, made = self.top, self.top.constant, []
        shape = self._concat(self.batch, constant([1]), self.signal_blocks)
        for axis in self.tail:
            count = top("Squeeze", self._entry(self.signal_blocks, axis))
            index = top("Range", constant(0), count, constant(1))
            last = top("Equal", index, top("Sub", self._entry(self.blocks, axis), constant([1])))
            layout = [1] * (self.rank + 2)
            layout[2 + axis] = -1
            made.append(top("Expand", top("Reshape", top("Cast", last, to=1), constant(layout)), shape))
        if sigma:
            made.append(top("Expand", self._sigma(), shape))
        return made

    def _sigma(self):
        return self.top("Reshape", SIGMA, self.top.constant([-1] + [1] * (self.rank + 1)))

    def _with(self, array, extras):
        return self.top("Concat", array, *extras, axis=1) if extras else array

    def _mask(self, given, shape, extras):
        """0/1 of the folded signal's shape, or None where every sample that a code reaches is observed."""
        top, constant = self.top, self.top.constant
        if not given and all(s == 1 for s in self.encoder.strides):
            return None
        name = MASK
        if not given:
            shape = self._concat(constant([1]), self.space, constant([self.encoder.channels]))
            name = top("Expand", constant(1.0, np.float32), shape)
        folded = self._fold(name, shape)
        if not extras:
            return folded
        first = top("Slice", top("Shape", folded), constant([0]), constant([1]))
        ones = top("Expand", constant(1.0, np.float32), self._concat(first, constant([extras]), self.signal_blocks))
        return self._with(folded, [ones])

    def _adjoint(self, sigma):
        """Weight and bias of the second convolution; for "soft" the threshold tensor instead of a bias."""
        encoder, top, constant = self.encoder, self.top, self.top.constant
        kernel = top("Transpose", self.weight(encoder.kernel), perm=[self.rank + 1, self.rank, *range(self.rank)])
        scale = np.tile(encoder.scale, math.prod(encoder.block)).astype(np.float32)
        phase = np.indices((*encoder.block, encoder.filters)).reshape(self.rank + 1, -1)
        first_tap = [(0, 0), (0, 0)] + [(0, t - 1) for t in self.taps]
        column = (-1,) + (1,) * (self.rank + 1)
        closed = {axis: self._closed(axis, phase[axis], column) for axis in
                  (range(self.rank) if self.soft else self.tail)}
        self.bias = self.weight(-encoder.sigma * scale) if not (sigma or self.soft) else None
        parts = [top("Mul", kernel, constant(encoder.step_size, np.float32))]  # (filters, channels, *taps)
        if self.soft:
            self.threshold = self._threshold_tensor(sigma, scale, closed)
        else:
            low, high = zip(*first_tap, strict=True)
            parts += [top("Pad", c, constant([*low, *high])) for c in closed.values()]
            if sigma:
                parts.append(self.weight(np.pad(-scale.reshape(column), first_tap)))
        self.adjoint_weight = top("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]

    def _closed(self, axis, phase, column):
        """(filters, 1, ...): ``_CLOSED`` at the positions of the last block that lie past the code's end."""
        top, constant = self.top, self.top.constant
        before = top("Mul", top("Sub", self._entry(self.blocks, axis), constant([1])),
                     constant([self.encoder.block[axis]]))
        left = top("Sub", self._entry(self.positions, axis), before)
        inside = top("Less", constant(phase.reshape(column)), left)
        return top("Where", inside, constant(0.0, np.float32), constant(_CLOSED, np.float32))

    def _threshold_tensor(self, sigma, scale, closed):
        """(1 or batch, filters, *blocks): the threshold, huge in the tail."""
        top, constant, encoder = self.top, self.top.constant, self.encoder
        layout = (1, -1) + (1,) * self.rank
        made = top("Mul", self._sigma(), self.weight(scale.reshape(layout))) if sigma \
            else self.weight(encoder.sigma * scale.reshape(layout))
        for axis, amount in closed.items():
            if encoder.block[axis] == 1:
                continue
            index = top("Range", constant(0), top("Squeeze", self._entry(self.blocks, axis)), constant(1))
            last = top("Cast", top("Equal", index, top("Sub", self._entry(self.blocks, axis), constant([1]))), to=1)
            spread = [1] * (self.rank + 2)
            spread[2 + axis] = -1
            amount = top("Mul", top("Reshape", amount, constant(layout)), top("Reshape", last, constant(spread)))
            made = top("Sub", made, amount)
        return made

    # The iterations

    def synthesis(self, nodes, code, weight):
        pads = [t - 1 for t in self.taps]
        return nodes("Conv", code, weight, kernel_shape=list(self.taps), pads=pads + pads)

    def _step(self, nodes, x, w, factor):
        """One FISTA iteration; returns the new (x, w)."""
        residual = nodes("Add", self.synthesis(nodes, w, self.negative_synthesis), self.signal)
        if self.mask is not None:
            residual = nodes("Mul", residual, self.mask)
        moved = [residual, self.adjoint_weight] + ([self.bias] if self.bias else [])
        moved = nodes("Add", nodes("Conv", *moved, kernel_shape=list(self.taps)), w)
        if self.soft:
            # u - clip(u, -b, b); Clip takes no limits of more than one number.
            held = nodes("Max", nodes("Min", moved, self.threshold), self.negative_threshold)
            new = nodes("Sub", moved, held)
        else:
            new = nodes("Relu", moved)
        return new, nodes("Add", new, nodes("Mul", nodes("Sub", new, x), factor))

    def iterate(self):
        """Name of the folded code after all iterations."""
        top, constant, encoder = self.top, self.top.constant, self.encoder
        if self.soft:
            self.negative_threshold = top("Neg", self.threshold)
        factors = momentum(encoder.iterations)
        passes, rest = divmod(encoder.iterations, LOOP_BODY)
        count = encoder.kernel.shape[-1]
        x = w = top("Expand", constant(0.0, np.float32), self._concat(self.batch, constant([count]), self.blocks))
        for factor in factors[:rest]:
            x, w = self._step(top, x, w, constant(factor, np.float32))
        if not passes:
            return x
        table = self.weight(factors[rest:].reshape(passes, LOOP_BODY))
        return top("Loop", constant(passes), constant(True, bool), x, w, count=2, body=self._body(table, count))[0]

    def _body(self, table, count):
        from onnx import TensorProto, helper

        nodes = _Nodes("body/")
        row = nodes("Gather", table, "pass")
        factors = nodes("Split", row, count=LOOP_BODY, axis=0, num_outputs=LOOP_BODY)
        x, w, last = "x", "w", None
        for factor in factors:
            last = x
            x, w = self._step(nodes, x, w, factor)
        if self.encoder.tolerance is None:
            nodes("Identity", "go", name="go_on")
        else:
            self._go_on(nodes, x, last)
        nodes("Identity", x, name="x_next")
        nodes("Identity", w, name="w_next")
        state = ["batch", count] + [f"{a}_blocks" for a in ("first", "second")[:self.rank]]

        def tensor(name, kind=TensorProto.FLOAT, shape=state):
            return helper.make_tensor_value_info(name, kind, shape)

        return helper.make_graph(
            nodes.nodes, "iterations",
            [tensor("pass", TensorProto.INT64, []), tensor("go", TensorProto.BOOL, []), tensor("x"), tensor("w")],
            [tensor("go_on", TensorProto.BOOL, []), tensor("x_next"), tensor("w_next")], nodes.constants)

    def _go_on(self, nodes, x, last):
        """True while some code of the batch changed by the tolerance or more in the last iteration."""
        every = nodes.constant(list(range(1, self.rank + 2)))
        moved = nodes("ReduceSumSquare", nodes("Sub", x, last), every, keepdims=0)
        size = nodes("ReduceSumSquare", x, every, keepdims=0)
        share = nodes("Div", moved, nodes("Max", size, nodes.constant(_TINY, np.float32)))
        change = nodes("Sqrt", nodes("ReduceMax", share, keepdims=0))
        nodes("GreaterOrEqual", change, nodes.constant(self.encoder.tolerance, np.float32), name="go_on")
