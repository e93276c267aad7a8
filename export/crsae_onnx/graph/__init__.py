"""The ONNX graph, written node by node."""
