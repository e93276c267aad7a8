"""``crsae-onnx``: the command line. ``options`` and ``option_types`` are used by ``keras-crsae``, too."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crsae_onnx.cli.entry import main

__all__ = ["main"]


def __getattr__(name: str) -> object:
    # Imported when first used (PEP 562): options alone need no onnxruntime.
    if name != "main":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module("crsae_onnx.cli.entry").main
