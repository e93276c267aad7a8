"""A list of ONNX nodes under construction: names, constants, shapes."""

import numpy as np


class Nodes:
    """A list of nodes under construction; calling it adds one and gives its output's name.

    Args:
        prefix: of all names made here.
        outer: Nodes of the graph around this one, which then keeps the constants of both; None: this one's own.
    """

    def __init__(self, prefix="", outer=None):
        self.nodes, self.constants, self.shapes, self.prefix, self._known = [], [], [], prefix, {}
        self.outer = outer

    def __call__(self, op, *inputs, count=1, name=None, **attributes):
        from onnx import helper

        number = len(self.nodes)
        outputs = [name] if name else [f"{self.prefix}{op}_{number}" + (f"_{i}" if count > 1 else "")
                                       for i in range(count)]
        self.nodes.append(helper.make_node(op, list(inputs), outputs, name=f"{self.prefix}{op}_{number}", **attributes))
        return outputs if count > 1 else outputs[0]

    def shaped(self, name, channels, blocks):
        """``name``, noted as a float array (batch, channels, *blocks); ``blocks`` is a prefix of two axis names."""
        from onnx import TensorProto, helper

        self.shapes.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, self.shape(channels, blocks)))
        return name

    def shape(self, channels, blocks):
        """Shape of an array of the iterations, with named axes; equal names promise equal sizes within a file."""
        outer = self.prefix.removesuffix("body/")
        return [f"{outer}batch", channels, f"{outer}{blocks}_0", f"{outer}{blocks}_1"]

    def constant(self, value, dtype=np.int64):
        """Name of an initialiser with this value; equal ones are stored once."""
        from onnx import numpy_helper

        if self.outer is not None:
            return self.outer.constant(value, dtype)
        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = f"{self.prefix}constant_{len(self.constants)}"
            self.constants.append(numpy_helper.from_array(array, self._known[key]))
        return self._known[key]

    def used_constants(self):
        """Initialisers that some node reads."""
        read = set().union(*(_read(node) for node in self.nodes))
        return [c for c in self.constants if c.name in read]


def _read(node):
    """Names that a node reads, those of its loop body too."""
    return set(node.input).union(*(_read(inner) for a in node.attribute for inner in a.g.node))
