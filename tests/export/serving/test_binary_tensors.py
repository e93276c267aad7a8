"""Bytes behind a message's JSON; whole requests are in test_protocol.py."""

import numpy as np
import pytest
from crsae_onnx.serving.binary_tensors import TYPES, BinaryTensors, binary_outputs, parameter, split_body


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_is_read_little_endian(kind):
    values = np.array([[1, 0, 1]])
    data = values.astype(TYPES[kind]).tobytes()
    rest = BinaryTensors(memoryview(data + data))
    for _ in range(2):
        assert rest.take("signal", kind, [1, 3], len(data)).tolist() == values.tolist()
    rest.check_end()


@pytest.mark.parametrize("header", ["", "x", "-1", "9", "1e1"])
def test_lengths_outside_of_the_body_are_refused(header):
    with pytest.raises(ValueError, match="Inference-Header-Content-Length"):
        split_body(b"{}", header)


def test_an_output_s_own_parameter_comes_before_the_request_s():
    request = {"outputs": [{"name": "a", "parameters": {"binary_data": False}}, {"name": "b"}],
               "parameters": {"binary_data_output": True}}
    assert binary_outputs(request, ["a", "b"]) == {"b"} and binary_outputs({}, ["a", "b"]) == set()


def test_parameters_of_another_type_are_refused():
    with pytest.raises(ValueError, match="type int"):
        parameter({"parameters": {"binary_data_size": 1.0}}, "binary_data_size", int, None)
