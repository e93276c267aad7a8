"""``crsae-onnx``: the command line."""

from crsae_onnx.cli.commands import main

__all__ = ["main"]
