"""Packages that an extra brings: one table behind every message about a missing one (standard library)."""

from __future__ import annotations

import importlib
from types import ModuleType

#: Top-level module -> (name of its package, extra of keras-crsae that brings it).
EXTRAS = {
    "keras": ("Keras", "train"), "tensorflow": ("TensorFlow", "train"), "scipy": ("SciPy", "train"),
    "jax": ("JAX", "jax"), "torch": ("PyTorch", "torch"),
    "onnx": ("onnx", "export"), "onnxruntime": ("onnxruntime", "runtime-cpu"),
    "imagecodecs": ("imagecodecs", "images"), "PIL": ("Pillow", "images"), "pillow": ("Pillow", "images"),
    "tifffile": ("tifffile", "images"), "skimage": ("scikit-image", "images"), "matplotlib": ("matplotlib", "plots"),
    "spikeinterface": ("SpikeInterface", "spikes"), "sklearn": ("scikit-learn", "spikes"), "neo": ("neo", "spikes"),
    "threadpoolctl": ("threadpoolctl", "spikes"), "numba": ("numba", "spikes"), "pandas": ("pandas", "analyzer"),
    "pynwb": ("pynwb", "nwb"), "mne": ("MNE", "mne"),
    "dask": ("dask", "cluster"), "distributed": ("distributed", "cluster"), "zarr": ("zarr", "cluster"),
    "h5py": ("h5py", "cluster"), "bentoml": ("bentoml", "serve"), "starlette": ("starlette", "serve"),
}


class MissingPackageError(ModuleNotFoundError):
    """A package is not installed; the message names what needs it, and the extra that brings it."""


def install_hint(module: str, extra: str | None = None) -> str | None:
    """How to install what brings a module; None for one that no extra brings.

    Args:
        module: name of the module, dotted or not.
        extra: the one to name; None: as ``EXTRAS`` says.

    Example:
        >>> from crsae_onnx.core.optional import install_hint
        >>> install_hint("matplotlib.figure")
        "matplotlib is missing. Install it with: pip install 'keras-crsae[plots]'"
    """
    known = EXTRAS.get(module.partition(".")[0])
    if known is None:
        return None
    return f"{known[0]} is missing. Install it with: pip install 'keras-crsae[{extra or known[1]}]'"


def missing_package(error: ModuleNotFoundError, purpose: str, extra: str | None = None) -> ModuleNotFoundError:
    """The error to raise for a package that is not installed.

    Args:
        error: what the import raised.
        purpose: what needs the package, the subject of a sentence.
        extra: the one to name, where several bring the package; None: as ``EXTRAS`` says.

    Returns:
        A ``MissingPackageError`` with the same ``name``; ``error`` itself where no extra brings the module.

    Example:
        >>> from crsae_onnx.core.optional import missing_package
        >>> str(missing_package(ModuleNotFoundError("no", name="neo"), "A recording"))
        "A recording cannot be used: neo is missing. Install it with: pip install 'keras-crsae[spikes]'"
    """
    hint = install_hint(error.name or "", extra)
    return error if hint is None else MissingPackageError(f"{purpose} cannot be used: {hint}", name=error.name)


def import_optional(module: str, purpose: str) -> ModuleType:
    """Import a module that an extra brings.

    Args:
        module: its dotted name.
        purpose: what needs it, the subject of a sentence.

    Raises:
        MissingPackageError: it, or a package that it imports, is missing; the message names the extra.

    Example:
        >>> from crsae_onnx.core.optional import import_optional
        >>> import_optional("json.decoder", "It").__name__
        'json.decoder'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing_package(error, purpose) from error
