"""A Loop of the iterations, in onnxruntime."""

import numpy as np
import pytest
from crsae_onnx.graph.loops import State, loop
from crsae_onnx.graph.nodes import Nodes

from .test_nodes import run


@pytest.mark.parametrize("limit, passes", [(None, 5), (100.0, 4)])
def test_states_go_from_pass_to_pass_until_there_is_no_reason_to_go_on(limit, passes):
    top = Nodes()

    def one_pass(nodes, number, states):
        total, count = states
        return [nodes("Add", total, total), nodes("Add", count, nodes.constant(1.0, np.float32))], states

    def goes_on(nodes, after, before, name):
        assert before[0] == "total"
        nodes("Less", nodes("ReduceMax", after[0], keepdims=0), nodes.constant(limit, np.float32), name=name)

    start = [State("total", "x", [2]), State("count", top.constant([0.0], np.float32), [1])]
    total, count = loop(top, 5, start, one_pass, None if limit is None else goes_on)
    x = np.float32([3.0, 7.0])
    made = run(top, [total, count], x=x)
    np.testing.assert_array_equal(made[0], x * 2**passes)
    assert made[1] == passes
