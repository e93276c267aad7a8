"""Exported CRsAE encoders: run them with NumPy and onnxruntime alone."""

from crsae_onnx.runtime import ModelFileError, SparseEncoder
from crsae_onnx.spikes import SpikeReader, Spikes, SpikeStream
from crsae_onnx.windows import SignalError, SparseCode

__all__ = ["ModelFileError", "SignalError", "SparseCode", "SparseEncoder", "SpikeReader", "SpikeStream", "Spikes"]
