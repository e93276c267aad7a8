"""An ONNX Loop of the iterations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from crsae_onnx.graph.nodes import Nodes


class State(NamedTuple):
    """What one pass hands to the next."""

    name: str  #: inside the Loop, without prefix
    value: str  #: of the tensor that it begins with
    shape: list[str | int]  #: see ``Nodes.shape``


#: ``(nodes, number of the pass, states) -> (states after it, states to compare them with)``, all of them names.
Pass = Callable[[Nodes, str, list[str]], tuple[list[str], list[str]]]
#: ``(nodes, states after a pass, states to compare them with, name)``: writes a bool of that name, whether to go on.
GoesOn = Callable[[Nodes, list[str], list[str], str], None]


def loop(top: Nodes, passes: int, states: Sequence[State], one_pass: Pass, goes_on: GoesOn | None = None) -> list[str]:
    """Append a Loop to ``top``; returns the names of the states after it.

    Args:
        top: Nodes around it, whose tensors the passes may read.
        passes: how many, at most.
        states: what they begin with.
        one_pass: writes a pass into the Loop's body.
        goes_on: None (all passes are run), or writes what is asked after each.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.graph.loops import State, loop
        >>> from crsae_onnx.graph.nodes import Nodes
        >>> top = Nodes()
        >>> def double(nodes, number, states):
        ...     return [nodes("Add", states[0], states[0])], states
        >>> loop(top, 3, [State("x", top.constant(1.0, np.float32), [])], double), top.nodes[-1].op_type
        (['Loop_0_0'], 'Loop')
    """
    from onnx import TensorProto, helper

    nodes, prefix = Nodes(f"{top.prefix}body/"), top.prefix
    after, compared = one_pass(nodes, f"{prefix}pass", [f"{prefix}{state.name}" for state in states])
    if goes_on is None:
        nodes("Identity", f"{prefix}go", name=f"{prefix}go_on")
    else:
        goes_on(nodes, after, compared, f"{prefix}go_on")
    for state, value in zip(states, after, strict=True):
        nodes("Identity", value, name=f"{prefix}{state.name}_next")
    scalars = [(("pass", TensorProto.INT64), ("go", TensorProto.BOOL)), (("go_on", TensorProto.BOOL),)]
    inputs, outputs = ([helper.make_tensor_value_info(f"{prefix}{name}", kind, []) for name, kind in some]
                       for some in scalars)
    for ending, infos in (("", inputs), ("_next", outputs)):
        infos += [helper.make_tensor_value_info(f"{prefix}{s.name}{ending}", TensorProto.FLOAT, s.shape)
                  for s in states]
    body = helper.make_graph(nodes.nodes, nodes.prefix + "iterations", inputs, outputs, nodes.constants,
                             value_info=nodes.shapes)
    return top.several("Loop", top.constant(passes), top.constant(True, bool), *(s.value for s in states),
                       count=len(states), body=body)
