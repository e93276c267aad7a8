"""Exported CRsAE encoders: run them with NumPy and onnxruntime alone."""

from crsae_onnx.runtime import ModelFileError, SparseEncoder

__all__ = ["ModelFileError", "SparseEncoder"]
