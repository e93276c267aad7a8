"""A list of nodes under construction."""

import numpy as np
import onnxruntime as ort
from crsae_onnx.graph.nodes import Nodes, fold_constants
from onnx import TensorProto, helper, numpy_helper


def run(nodes, outputs, **feed):
    """Outputs of the nodes in onnxruntime."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in feed.items()]
    results = [helper.make_empty_tensor_value_info(name) for name in outputs]
    for value in results:
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    graph = helper.make_graph(nodes.nodes, "g", inputs, results, nodes.used_constants())
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(outputs, feed)


def test_nodes_compute_what_their_names_say():
    nodes, x = Nodes(), np.arange(6, dtype=np.float32).reshape(2, 3)
    doubled = nodes("Mul", "x", nodes.constant(2.0, np.float32))
    first, second = nodes.several("Split", doubled, count=2, axis=0, num_outputs=2)
    nodes("Sub", second, first, name="difference")
    np.testing.assert_array_equal(run(nodes, ["difference"], x=x)[0], 2 * (x[1:] - x[:1]))


def test_names_are_distinct_by_number_and_prefix():
    nodes = Nodes("inner/")
    assert nodes("Neg", "x") == "inner/Neg_0" and nodes("Neg", "x") == "inner/Neg_1"
    assert nodes.several("Split", "x", count=2) == ["inner/Split_2_0", "inner/Split_2_1"]
    assert len({node.name for node in nodes.nodes}) == 3


def test_equal_constants_are_stored_once_and_by_the_outer_graph():
    outer = Nodes()
    inner = Nodes("loop/", outer=outer)
    names = [outer.constant([1, 2]), inner.constant([1, 2]), outer.constant([1, 2], np.float32),
             outer.constant([[1, 2]])]
    assert names[0] == names[1] and len(set(names)) == 3  # another type or shape is another constant
    assert len(outer.constants) == 3 and not inner.constants
    np.testing.assert_array_equal(numpy_helper.to_array(outer.constants[0]), [1, 2])


def test_constants_that_no_node_reads_are_omitted_but_those_of_loop_bodies_stay():
    outer = Nodes()
    inner = Nodes("loop/", outer=outer)
    outer.constant(1.0, np.float32)
    inner("Add", "x", inner.constant(2.0, np.float32))
    body = helper.make_graph(inner.nodes, "body", [], [])
    outer("Loop", "count", "go", body=body)
    assert [float(numpy_helper.to_array(c)) for c in outer.used_constants()] == [2.0]


def test_shapes_have_named_axes_of_the_graph_around():
    nodes = Nodes("shift/body/")
    assert nodes.shape(7, "blocks") == ["shift/batch", 7, "shift/blocks_0", "shift/blocks_1"]
    assert nodes.shaped("x", 7, "blocks") == "x" and nodes.shapes[0].name == "x"


def test_nodes_of_constants_alone_become_constants_and_outputs_stay():
    nodes, x = Nodes(), np.arange(3, dtype=np.float32)
    scalar = nodes("Add", nodes.constant(1.0, np.float32), nodes.constant(2.0, np.float32))
    parts = nodes.several("Split", nodes.constant([1.0, 2.0], np.float32), count=2, axis=0, num_outputs=2)
    nodes("Mul", "x", nodes("Mul", scalar, parts[1]), name="y")
    nodes("Neg", scalar, name="three")
    expected = run(nodes, ["y", "three"], x=x)
    fold_constants(nodes, ["y", "three"])
    assert [node.op_type for node in nodes.nodes] == ["Mul", "Neg"]
    for made, value in zip(run(nodes, ["y", "three"], x=x), expected, strict=True):
        np.testing.assert_array_equal(made, value)
    np.testing.assert_array_equal(expected[0], 6 * x)
