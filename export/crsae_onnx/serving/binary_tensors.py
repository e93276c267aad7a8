"""Tensors as bytes behind a message's JSON: the binary tensor data extension of the Open Inference Protocol.

Little-endian, row-major, without padding. The header ``Inference-Header-Content-Length`` says where the JSON ends; each
tensor's parameter ``binary_data_size`` says how many bytes are its own, in the order in which the tensors are listed.
https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_binary_data.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from crsae_onnx.core.typing import Array

#: The HTTP header with the bytes of the JSON.
LENGTH_HEADER = "Inference-Header-Content-Length"
#: Name of the extension in a server's metadata.
EXTENSION = "binary_tensor_data"
#: NumPy types of the protocol's, as bytes.
TYPES = {"FP64": "<f8", "FP32": "<f4", "FP16": "<f2", "INT64": "<i8", "INT32": "<i4", "INT16": "<i2", "INT8": "<i1",
         "UINT64": "<u8", "UINT32": "<u4", "UINT16": "<u2", "UINT8": "<u1", "BOOL": "?"}


def split_body(body: bytes, header: str | int | None) -> tuple[bytes, memoryview]:
    """(JSON, bytes behind it) of a request.

    Args:
        body: of the request.
        header: value of ``Inference-Header-Content-Length``; None: all is JSON.

    Raises:
        ValueError: the header is no length within the body.

    Example:
        >>> from crsae_onnx.serving.binary_tensors import split_body
        >>> text, rest = split_body(b"{}1234", "2")
        >>> text, bytes(rest)
        (b'{}', b'1234')
    """
    view = memoryview(body)
    if header is None:
        return body, view[:0]
    try:
        length = int(header)
    except ValueError:
        length = -1
    if not 0 <= length <= len(body):
        raise ValueError(f"{LENGTH_HEADER} must be the length of the JSON in bytes, at most that of the body, "
                         f"{len(body)}. Received: {header!r:.50}")
    return bytes(view[:length]), view[length:]


class BinaryTensors:
    """The bytes behind a request's JSON, taken tensor by tensor.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.serving.binary_tensors import BinaryTensors
        >>> rest = BinaryTensors(memoryview(np.arange(3, dtype="<f4").tobytes()))
        >>> rest.take("signal", "FP32", [1, 3, 1], 12).ravel().tolist()
        [0.0, 1.0, 2.0]
        >>> rest.check_end()
    """

    def __init__(self, rest: memoryview) -> None:
        self.rest, self.at = rest, 0

    def take(self, name: str, kind: str, shape: list[int], size: Any) -> Array:
        """The next tensor of ``size`` bytes.

        Raises:
            ValueError: the size is not that of the shape and type, or so many bytes are not left.
        """
        dtype = np.dtype(TYPES[kind])
        expected = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if type(size) is not int or size != expected:
            raise ValueError(f"{name}: \"binary_data_size\" must be {expected} for the shape {shape} of {kind}. "
                             f"Received: {size!r:.50}")
        piece = self.rest[self.at:self.at + size]
        if len(piece) < size:
            raise ValueError(f"{name}: {size} bytes are announced and {len(piece)} are left behind the JSON. Send the "
                             f"tensors' bytes behind it, and its own length as the header {LENGTH_HEADER}.")
        self.at += size
        if kind == "BOOL" and np.frombuffer(piece, np.uint8).max(initial=0) > 1:
            raise ValueError(f"{name}: the bytes of a BOOL tensor must be 0 or 1.")
        return np.frombuffer(piece, dtype).reshape(shape)

    def check_end(self) -> None:
        """ValueError where bytes are left."""
        left = len(self.rest) - self.at
        if left:
            raise ValueError(f"{left} bytes behind the JSON belong to no input. Give each binary input the parameter "
                             f"\"binary_data_size\", and the JSON's length as the header {LENGTH_HEADER}.")


def binary_outputs(request: Mapping[str, Any], names: list[str]) -> set[str]:
    """Outputs that a request asks for as bytes: ``binary_data`` of an output, else ``binary_data_output`` of all.

    Raises:
        ValueError: parameters that are no objects, or no booleans.

    Example:
        >>> from crsae_onnx.serving.binary_tensors import binary_outputs
        >>> binary_outputs({"outputs": [{"name": "code", "parameters": {"binary_data": True}}]}, ["code"])
        {'code'}
    """
    default = parameter(request, "binary_data_output", bool, False)
    outputs = request.get("outputs") or ()
    chosen = {output["name"]: parameter(output, "binary_data", bool, default) for output in outputs}
    return {name for name in names if chosen.get(name, default)}


def parameter(owner: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    """A parameter of a request or of one of its tensors.

    Raises:
        ValueError: "parameters" is no object, or the parameter has another type.

    Example:
        >>> from crsae_onnx.serving.binary_tensors import parameter
        >>> parameter({"parameters": {"binary_data_size": 8}}, "binary_data_size", int, None)
        8
    """
    parameters = owner.get("parameters")
    if parameters is None:
        return default
    if not isinstance(parameters, dict):
        raise ValueError(f"\"parameters\" must be an object. Received: {parameters!r:.50}")
    value = parameters.get(name, default)
    if value is not default and type(value) is not kind:
        raise ValueError(f"The parameter {name!r} must be of type {kind.__name__}. Received: {value!r:.50}")
    return value
