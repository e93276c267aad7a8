"""Which extra of keras-crsae brings a package: the one table behind every message about a missing one."""

from __future__ import annotations

import importlib
from types import ModuleType

#: Top-level module -> (name of its package, extra of keras-crsae that brings it).
EXTRAS = {
    "keras": ("Keras", "train"), "tensorflow": ("TensorFlow", "train"), "scipy": ("SciPy", "train"),
    "onnx": ("onnx", "export"), "onnxruntime": ("onnxruntime", "runtime-cpu"),
    "imageio": ("imageio", "images"), "PIL": ("Pillow", "images"), "pillow": ("Pillow", "images"),
    "tifffile": ("tifffile", "images"), "skimage": ("scikit-image", "images"), "matplotlib": ("matplotlib", "plots"),
    "spikeinterface": ("SpikeInterface", "spikes"), "sklearn": ("scikit-learn", "spikes"), "neo": ("neo", "spikes"),
    "threadpoolctl": ("threadpoolctl", "spikes"),
}


def install_hint(module: str) -> str | None:
    """How to install what brings a module; None for one that no extra brings.

    Args:
        module: name of the module, dotted or not.

    Example:
        >>> from keras_crsae._extras import install_hint
        >>> install_hint("matplotlib.figure")
        "matplotlib is missing. Install it with: pip install 'keras-crsae[plots]'"
    """
    known = EXTRAS.get(module.partition(".")[0])
    return None if known is None else f"{known[0]} is missing. Install it with: pip install 'keras-crsae[{known[1]}]'"


def missing_package(error: ModuleNotFoundError, purpose: str) -> ModuleNotFoundError:
    """The error to raise for a package that is not installed: what needs it, and the extra that brings it.

    Args:
        error: what the import raised.
        purpose: what needs the package, the subject of a sentence.

    Returns:
        A new error with the same ``name``; ``error`` itself where no extra brings the module.
    """
    hint = install_hint(error.name or "")
    return error if hint is None else ModuleNotFoundError(f"{purpose} cannot be used: {hint}", name=error.name)


def import_optional(module: str, purpose: str) -> ModuleType:
    """Import a module that an extra brings.

    Args:
        module: its dotted name.
        purpose: what needs it, the subject of a sentence.

    Raises:
        ModuleNotFoundError: it is missing; the message names the extra.

    Example:
        >>> from keras_crsae._extras import import_optional
        >>> import_optional("matplotlib.figure", "A plot").__name__
        'matplotlib.figure'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing_package(error, purpose) from error
