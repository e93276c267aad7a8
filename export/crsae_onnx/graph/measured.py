"""The graph of an encoder of measured data: min 1/2 ||y - Phi D z||^2 + penalty, on plain arrays, channels first.

    r = y - Phi D w                                   ConvTranspose, and MatMul, Conv or Slice for Phi
    x' = prox(w + step D^T Phi^T r, threshold)        the same the other way, Conv
    w' = x' + m (x' - x)

A matrix and filters as long as the signal make one matrix Phi D, which is stored in place of both. Several matrices are
one initialiser, of which the input ``operator`` picks one for each signal, and its step size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crsae_onnx.core.measurement_spec import MeasurementSpec
from crsae_onnx.core.spec import CODE_PRIORS, INPUT, MASK, OPERATOR, OPSET, SIGMA, EncoderSpec, sizes
from crsae_onnx.graph.encoder import TINY
from crsae_onnx.graph.loops import State, loop
from crsae_onnx.graph.nodes import Nodes, fold_constants

if TYPE_CHECKING:
    import onnx


def build_measured(spec: EncoderSpec, outputs: Sequence[str], inputs: Sequence[str], tolerance: float | None,
                   looped: bool) -> onnx.ModelProto:
    """ONNX model of an encoder of measured data.

    Args:
        spec: EncoderSpec, Gaussian, with a ``measurement``.
        outputs: some of "code" and "reconstruction".
        inputs: "signal" (the data), and optionally "mask" and "sigma"; "operator" where there is a choice.
        tolerance: relative change that ends the iterations; None: all are done.
        looped: whether the iterations are a Loop.
    """
    from onnx import helper

    top, measurement = Nodes(), spec.measurement
    if measurement is None:
        raise ValueError("Expected a spec with a measurement. Received: measurement=None")
    graph = _MeasuredGraph(spec, measurement, inputs, top)
    code = graph.iterate(tolerance, looped)
    if "code" in outputs:
        graph.last(code, "code")
    if "reconstruction" in outputs:
        signal = graph.crop(top, graph.synthesise(top, code, spec.decoder_kernel))
        graph.last(signal, "reconstruction")
    if not looped:
        fold_constants(top, list(outputs))
    facts = {"rank": spec.rank, "channels": spec.channels, "filters": spec.filters, "measurement": measurement.facts()}
    made = helper.make_graph(top.nodes, "crsae", [_info(name, facts) for name in inputs],
                             [_info(name, facts) for name in outputs], top.used_constants(), value_info=top.shapes)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(made, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets),
                             producer_name="keras-crsae")


def _info(name: str, facts: dict[str, object]) -> onnx.ValueInfoProto:
    from onnx import TensorProto, helper

    kind = TensorProto.INT64 if name == OPERATOR else TensorProto.FLOAT
    return helper.make_tensor_value_info(name, kind, sizes(name, facts, unknown=None))


class _MeasuredGraph:
    """Writes the iterations; arrays are (batch, channels, *space).

    Args:
        spec, measurement, inputs: see ``build_measured``.
        nodes: of the file's graph.
    """

    def __init__(self, spec: EncoderSpec, measurement: MeasurementSpec, inputs: Sequence[str], nodes: Nodes) -> None:
        self.spec, self.measurement, self.top = spec, measurement, nodes
        self.signed = CODE_PRIORS[spec.code_prior or ""]
        top, constant = nodes, nodes.constant
        self.data = self.first(INPUT)
        self.mask = self.first(MASK) if MASK in inputs else ""
        shape = top("Shape", INPUT)
        self.batch = top("Slice", shape, constant([0]), constant([1]))
        self._measure(top("Slice", shape, constant([1]), constant([1 + spec.rank])))
        self.dense = self._columns()  #: (Phi D)^T, (filters, measurements), where the code has one position
        self.picked: list[str] = []
        step = top.constant(np.float32(spec.step_size), np.float32)
        if measurement.count is not None and measurement.step_sizes is not None:
            self._pick()
            step = top("Gather", constant(measurement.step_sizes, np.float32), OPERATOR)
        self.step_size = self._each(step)
        threshold = constant(self._of_filters(spec.lambda_reg * spec.sigma), np.float32)
        level = self._each(SIGMA) if SIGMA in inputs else constant(np.float32(spec.sigma), np.float32)
        self.threshold = top("Mul", top("Mul", threshold, level), self.step_size)
        self.negative = top("Neg", self.threshold)

    def _of_filters(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.reshape(values, (1, -1, *(1,) * self.spec.rank))

    def _each(self, name: str) -> str:
        """A number, or one a signal, as it broadcasts to a code."""
        return self.top("Reshape", name, self.top.constant([-1] + [1] * (self.spec.rank + 1)))

    # Sizes

    def _measure(self, data_space: str) -> None:
        """Names of the sizes of the signal, of D z and of the code, from those of the data."""
        top, constant, spec, measurement = self.top, self.top.constant, self.spec, self.measurement
        if measurement.kind == "matrix":
            self.space = constant(measurement.signal_space(()))
        elif measurement.kernel is not None:
            more = [k - 1 - a - b for k, (a, b) in zip(measurement.kernel.shape, measurement.padding, strict=True)]
            self.space = top("Add", data_space, constant(more))
        else:
            self.space = top("Mul", data_space, constant(measurement.factor))
        size, stride, one = constant(spec.kernel_size), constant(spec.strides), constant([1] * spec.rank)
        past = top("Sub", top("Add", self.space, stride), top("Add", size, one))
        self.positions = top("Add", top("Div", past, stride), one)
        padded = top("Add", top("Mul", top("Sub", self.positions, one), stride), size)
        self.missing = top("Sub", padded, self.space)

    # Layouts

    def first(self, name: str) -> str:
        """An input with its channels first; of vectors (batch, 1, measurements)."""
        if self.measurement.flat:
            return self.top("Reshape", name, self.top.constant([0, 1, -1]))
        rank = self.spec.rank
        return self.top("Transpose", name, perm=[0, rank + 1, *range(1, rank + 1)])

    def last(self, array: str, name: str) -> None:
        """An array with its channels last, an output."""
        rank = self.spec.rank
        self.top("Transpose", array, perm=[0, *range(2, rank + 2), 1], name=name)

    # Operators

    def _columns(self) -> NDArray[np.float32] | None:
        """Phi D as a matrix where filters are as long as the signal and the matrix is one; else None."""
        spec, matrix = self.spec, self.measurement.matrix
        space = () if matrix is None else self.measurement.signal_space(())
        if matrix is None or matrix.ndim != 2 or spec.kernel_size != tuple(space):
            return None
        atoms = self.measurement.forward(np.moveaxis(spec.kernel, -1, 0))  # filters are signals
        return np.moveaxis(atoms, -1, 1).reshape(spec.filters, -1).astype(np.float32)

    def _pick(self) -> None:
        """The matrix of each signal and its transpose."""
        top = self.top
        picked = top("Gather", top.constant(self._flattened(), np.float32), OPERATOR)
        self.picked = [picked, top("Transpose", picked, perm=[0, 2, 1])]

    def _flattened(self) -> NDArray[np.float32]:
        """The matrices, their columns in the order of an array with its channels first."""
        matrix, shape = self.measurement.matrix, self.measurement.signal_shape
        if matrix is None:
            raise ValueError(f"Expected a matrix. Received: a measurement of kind {self.measurement.kind!r}")
        if shape is None:
            return matrix
        return np.moveaxis(matrix.reshape(*matrix.shape[:-1], *shape), -1, matrix.ndim - 1).reshape(matrix.shape)

    def _matrices(self, nodes: Nodes) -> list[str]:
        """Names of A and A^T."""
        if self.picked:
            return self.picked
        matrix = self._flattened()
        return [self.top.constant(matrix, np.float32), self.top.constant(matrix.T, np.float32)]

    def synthesise(self, nodes: Nodes, code: str, kernel: NDArray[np.float32]) -> str:
        """D z on whole strides."""
        weight = np.moveaxis(kernel, (-1, -2), (0, 1))  # (filters, channels, *kernel_size)
        return nodes("ConvTranspose", code, self.top.constant(weight, np.float32), strides=list(self.spec.strides),
                     kernel_shape=list(self.spec.kernel_size))

    def crop(self, nodes: Nodes, signal: str) -> str:
        """The signal without what the stride padded."""
        rank = self.spec.rank
        axes = self.top.constant(list(range(2, rank + 2)))
        return nodes("Slice", signal, self.top.constant([0] * rank), self.space, axes)

    def forward(self, nodes: Nodes, signal: str) -> str:
        """Phi x."""
        measurement = self.measurement
        if measurement.matrix is not None:
            if measurement.flat:
                signal = nodes("Reshape", signal, self.top.constant([0, 1, -1]))
            return nodes("MatMul", signal, self._matrices(nodes)[1])
        if measurement.kernel is not None:
            return self._blur(nodes, signal, np.flip(measurement.kernel), measurement.padding)
        rank = self.spec.rank
        return nodes("Slice", signal, self.top.constant(measurement.offset), self.top.constant([2**62] * rank),
                     self.top.constant(list(range(2, rank + 2))), self.top.constant(measurement.factor))

    def adjoint(self, nodes: Nodes, data: str) -> str:
        """Phi^T y."""
        measurement, spec = self.measurement, self.spec
        if measurement.matrix is not None:
            signal = nodes("MatMul", data, self._matrices(nodes)[0])
            if not measurement.flat:
                return signal
            return nodes("Reshape", signal, self.top.constant([0, spec.channels, *measurement.signal_space(())]))
        if measurement.kernel is not None:
            padding = [(k - 1 - a, k - 1 - b) for k, (a, b) in
                       zip(measurement.kernel.shape, measurement.padding, strict=True)]
            return self._blur(nodes, data, measurement.kernel, padding)
        unit = np.zeros((spec.channels, 1, *measurement.factor), np.float32)
        unit[(slice(None), 0, *measurement.offset)] = 1
        return nodes("ConvTranspose", data, self.top.constant(unit, np.float32), group=spec.channels,
                     strides=list(measurement.factor), kernel_shape=list(measurement.factor))

    def _blur(self, nodes: Nodes, array: str, kernel: NDArray[np.float32],
              padding: Sequence[tuple[int, int]]) -> str:
        weight = np.broadcast_to(kernel, (self.spec.channels, 1, *kernel.shape))
        pads = [p[0] for p in padding] + [p[1] for p in padding]
        return nodes("Conv", array, self.top.constant(weight, np.float32), group=self.spec.channels, pads=pads,
                     kernel_shape=list(kernel.shape))

    def _correlate(self, nodes: Nodes, signal: str) -> str:
        """D^T x."""
        rank, spec = self.spec.rank, self.spec
        pads = nodes("Concat", self.top.constant([0] * (rank + 4)), self.missing, axis=0)
        weight = np.moveaxis(spec.kernel, (-1, -2), (0, 1))
        return nodes("Conv", nodes("Pad", signal, pads), self.top.constant(weight, np.float32),
                     strides=list(spec.strides), kernel_shape=list(spec.kernel_size))

    # The iterations

    def _gradient(self, nodes: Nodes, w: str | None) -> str:
        """D^T Phi^T (y - Phi D w)."""
        spec, residual = self.spec, self.data
        if self.dense is not None:
            flat = self.top.constant([0, -1])
            residual = nodes("Reshape", residual, flat)
            if w is not None:
                predicted = nodes("MatMul", nodes("Reshape", w, flat), self.top.constant(self.dense, np.float32))
                residual = nodes("Sub", residual, predicted)
            if self.mask:
                residual = nodes("Mul", residual, nodes("Reshape", self.mask, flat))
            moved = nodes("MatMul", residual, self.top.constant(self.dense.T, np.float32))
            return nodes("Reshape", moved, self.top.constant([0, spec.filters, *(1,) * spec.rank]))
        if w is not None:
            predicted = self.forward(nodes, self.crop(nodes, self.synthesise(nodes, w, spec.kernel)))
            residual = nodes("Sub", residual, predicted)
        if self.mask:
            residual = nodes("Mul", residual, self.mask)
        return self._correlate(nodes, self.adjoint(nodes, residual))

    def _step(self, nodes: Nodes, x: str | None, w: str | None, factor: str | None) -> tuple[str, str]:
        """The new (x, w); x and w None: the code 0; ``factor`` None: no momentum."""
        moved = nodes("Mul", self._gradient(nodes, w), self.step_size)
        moved = moved if w is None else nodes("Add", moved, w)
        if self.signed:
            clipped = nodes("Max", nodes("Min", moved, self.threshold), self.negative)
            new = nodes("Sub", moved, clipped)
        else:
            new = nodes("Relu", nodes("Sub", moved, self.threshold))
        if factor is None:
            return new, new
        change = new if x is None else nodes("Sub", new, x)
        return new, nodes("Add", new, nodes("Mul", change, factor))

    def iterate(self, tolerance: float | None, looped: bool) -> str:
        """Name of the code after all iterations."""
        top, constant, spec = self.top, self.top.constant, self.spec
        factors = spec.momentum
        if not looped:
            x = w = None
            for k, factor in enumerate(factors, start=1):
                moves = factor and k < len(factors)
                x, w = self._step(top, x, w, constant(factor, np.float32) if moves else None)
            return x or ""
        passes, rest = divmod(len(factors), spec.check_every)
        shape = top("Concat", self.batch, constant([spec.filters]), self.positions, axis=0)
        x = w = top("Expand", constant(0.0, np.float32), shape)
        for factor in factors[:rest]:
            x, w = self._step(top, x, w, constant(factor, np.float32))
        if not passes:
            return x
        table = constant(factors[rest:].reshape(passes, spec.check_every), np.float32)

        def one_pass(nodes: Nodes, number: str, states: list[str]) -> tuple[list[str], list[str]]:
            row, last = nodes("Gather", table, number), states
            count = spec.check_every
            split = nodes.several("Split", row, count=count, axis=0, num_outputs=count)
            for factor in split:
                last, states = states, list(self._step(nodes, states[0], states[1], factor))
            return states, last

        def changed(nodes: Nodes, after: list[str], before: list[str], name: str) -> None:
            every = self.top.constant(list(range(1, spec.rank + 2)))
            moved = nodes("ReduceSumSquare", nodes("Sub", after[0], before[0]), every, keepdims=0)
            size = nodes("ReduceSumSquare", after[0], every, keepdims=0)
            relative = nodes("Div", moved, nodes("Max", size, self.top.constant(TINY, np.float32)))
            change = nodes("Sqrt", nodes("ReduceMax", relative, keepdims=0))
            nodes("GreaterOrEqual", change, self.top.constant(tolerance or 0.0, np.float32), name=name)

        axes: list[str | int] = ["batch", spec.filters, *(f"position_{i}" for i in range(spec.rank))]
        return loop(top, passes, [State("x", x, axes), State("w", w, axes)], one_pass,
                    None if tolerance is None else changed)[0]
