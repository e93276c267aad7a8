"""``keras-crsae``: the command line."""

from keras_crsae.cli.commands import main

__all__ = ["main"]
