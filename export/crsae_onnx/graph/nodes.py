"""A list of ONNX nodes under construction: names, constants, shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from crsae_onnx.core.spec import OPSET

if TYPE_CHECKING:
    import onnx


class Nodes:
    """A list of nodes under construction; calling it appends one and returns the name of its output.

    Args:
        prefix: of all names that are given here.
        outer: Nodes of the graph around this one, which then keeps the constants of both; None: this one.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.graph.nodes import Nodes
        >>> nodes = Nodes()
        >>> nodes("Add", "x", nodes.constant(1.0, np.float32)), len(nodes.constants)
        ('Add_0', 1)
    """

    def __init__(self, prefix: str = "", outer: Nodes | None = None) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.shapes: list[onnx.ValueInfoProto] = []
        self.prefix, self.outer = prefix, outer
        self._names: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def __call__(self, op: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Append a node of one output, called ``name`` or by its operator and number."""
        return self._append(op, inputs, [name or f"{self.prefix}{op}_{len(self.nodes)}"], attributes)[0]

    def several(self, op: str, *inputs: str, count: int, **attributes: Any) -> list[str]:
        """Append a node of ``count`` outputs; returns their names."""
        number = len(self.nodes)
        return self._append(op, inputs, [f"{self.prefix}{op}_{number}_{i}" for i in range(count)], attributes)

    def _append(self, op: str, inputs: tuple[str, ...], outputs: list[str], attributes: dict[str, Any]) -> list[str]:
        from onnx import helper

        self.nodes.append(helper.make_node(op, list(inputs), outputs, name=f"{self.prefix}{op}_{len(self.nodes)}",
                                           **attributes))
        return outputs

    def shaped(self, name: str, channels: int, blocks: str) -> str:
        """``name``, noted as a float array (batch, channels, *blocks); ``blocks`` is a prefix of two axis names."""
        from onnx import TensorProto, helper

        self.shapes.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, self.shape(channels, blocks)))
        return name

    def shape(self, channels: int, blocks: str) -> list[str | int]:
        """Shape of an array of the iterations, with named axes; equal names promise equal sizes within a file."""
        outer = self.prefix.removesuffix("body/")
        return [f"{outer}batch", channels, f"{outer}{blocks}_0", f"{outer}{blocks}_1"]

    def constant(self, value: ArrayLike, dtype: DTypeLike = np.int64) -> str:
        """Name of an initialiser with this value; equal ones are stored once."""
        from onnx import numpy_helper

        if self.outer is not None:
            return self.outer.constant(value, dtype)
        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._names:
            self._names[key] = f"{self.prefix}constant_{len(self.constants)}"
            self.constants.append(numpy_helper.from_array(array, self._names[key]))
        return self._names[key]

    def used_constants(self) -> list[onnx.TensorProto]:
        """Initialisers that some node reads."""
        read = set().union(*(_inputs(node) for node in self.nodes))
        return [c for c in self.constants if c.name in read]


def fold_constants(nodes: Nodes, outputs: Sequence[str]) -> None:
    """Replace nodes that depend on constants alone by what they compute, but for those that give ``outputs``.

    Converters that ask for constant weights do not all compute them by themselves.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.graph.nodes import Nodes, fold_constants
        >>> nodes = Nodes()
        >>> doubled = nodes("Mul", nodes.constant(2.0, np.float32), nodes.constant(3.0, np.float32))
        >>> result = nodes("Add", "x", doubled, name="y")
        >>> fold_constants(nodes, ["y"])
        >>> [node.op_type for node in nodes.nodes], len(nodes.used_constants())
        (['Add'], 1)
    """
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator

    values = {c.name: numpy_helper.to_array(c) for c in nodes.constants}
    left: list[onnx.NodeProto] = []
    for node in nodes.nodes:
        if not set(node.input) <= set(values) or any(a.HasField("g") for a in node.attribute) \
                or set(node.output) & set(outputs):
            left.append(node)
            continue
        results = ReferenceEvaluator(node, opsets={"": OPSET}).run(None, {name: values[name] for name in node.input})
        for name, result in zip(node.output, results, strict=True):
            values[name] = np.asarray(result)
            nodes.constants.append(numpy_helper.from_array(values[name], name))
    nodes.nodes = left


def _inputs(node: onnx.NodeProto) -> set[str]:
    """Names that a node reads, those of its loop body too."""
    return set(node.input).union(*(_inputs(inner) for a in node.attribute for inner in a.g.node))
