"""Run exported encoders with NumPy and onnxruntime."""
