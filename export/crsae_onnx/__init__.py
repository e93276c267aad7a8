"""Exported CRsAE encoders: run them with NumPy and onnxruntime alone."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crsae_onnx.core.errors import SignalError
    from crsae_onnx.core.spikes.detector import SpikeReader, Spikes, SpikeStream
    from crsae_onnx.core.spikes.live_stream import EventKind, LiveStream, SpikeEvent
    from crsae_onnx.core.windowing import SparseCode
    from crsae_onnx.file_format.container import ModelFileError
    from crsae_onnx.runtime.sparse_encoder import SparseEncoder

__all__ = ["EventKind", "LiveStream", "ModelFileError", "SignalError", "SparseCode", "SparseEncoder", "SpikeEvent",
           "SpikeReader", "SpikeStream", "Spikes"]
_SOURCES = {
    "ModelFileError": "file_format.container", "SparseEncoder": "runtime.sparse_encoder",
    "SignalError": "core.errors", "SparseCode": "core.windowing",
    **{name: "core.spikes.detector" for name in ("SpikeReader", "SpikeStream", "Spikes")},
    **{name: "core.spikes.live_stream" for name in ("EventKind", "LiveStream", "SpikeEvent")},
}


def __getattr__(name: str) -> object:
    # Imported when first used (PEP 562): ``crsae_onnx.core`` needs no onnxruntime.
    if name not in _SOURCES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_SOURCES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
