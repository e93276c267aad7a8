"""Models of other packages for ``crsae-onnx convert`` and ``validate``, found by their file's suffix.

A package that can load models declares an entry point of the group ``crsae_onnx.loaders``; its name is the suffix
without the dot, its object a function from the path to a ``core.spec.Exportable``. keras-crsae declares

    [project.entry-points."crsae_onnx.loaders"]
    keras = "keras_crsae.cli.startup:load_model"

so that this package needs no Keras.
"""

from __future__ import annotations

from importlib.metadata import EntryPoints, entry_points
from pathlib import Path

from crsae_onnx.core.spec import Exportable

GROUP = "crsae_onnx.loaders"


def load_model(path: str | Path, loaders: EntryPoints | None = None) -> Exportable:
    """The model of a file.

    Args:
        path: of a file whose suffix some installed package loads, such as ".keras".
        loaders: entry points to choose from; None: those installed in the group ``crsae_onnx.loaders``.

    Raises:
        ValueError: no installed package loads such files; the loader raises what it finds wrong in the file.
        ModuleNotFoundError: the loader's packages are missing.
    """
    loaders = entry_points(group=GROUP) if loaders is None else loaders
    suffix = Path(path).suffix.lstrip(".")
    if suffix not in loaders.names:
        known = ", ".join(f".{name}" for name in sorted(loaders.names)) or "none (install keras-crsae with pip)"
        raise ValueError(f"No installed package loads models from files like {path}. Suffixes that can be loaded: "
                         f"{known}.")
    return loaders[suffix].load()(path)
