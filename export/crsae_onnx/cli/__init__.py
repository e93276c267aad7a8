"""``crsae-onnx``: the command line."""

from crsae_onnx.cli.entry import main

__all__ = ["main"]
