"""``keras-crsae``: the command line."""

from typing import TYPE_CHECKING

from keras_crsae._lazy import lazy_names

if TYPE_CHECKING:
    from keras_crsae.cli.commands import main

__all__ = ["main"]
__getattr__, __dir__ = lazy_names(__name__, {"main": "keras_crsae.cli.commands"})
