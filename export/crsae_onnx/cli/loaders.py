"""Models of other packages for ``crsae-onnx convert`` and ``validate``, found by their file's suffix.

A package that can load models declares an entry point of the group ``crsae_onnx.loaders``; its name is the suffix
without the dot, its object a function from the path to a ``core.spec.Exportable``. keras-crsae declares

    [project.entry-points."crsae_onnx.loaders"]
    keras = "keras_crsae.cli.startup:load_model"

so that this package needs no Keras.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path

from crsae_onnx.core.spec import INPUT, OUTPUTS, Exportable
from crsae_onnx.core.spikes.detector import SpikeReader

GROUP = "crsae_onnx.loaders"
#: Files of the folder that `keras-crsae sort` writes: the model, whose signals are whitened, and how they are.
SORTER_MODEL, SORTER_READER = "model.keras", "reader.json"


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


def outputs_and_spikes(path: str | Path, outputs: Sequence[str] | None, inputs: Sequence[str] = (INPUT,),
                       min_peak: float | None = None) -> tuple[tuple[str, ...] | None, SpikeReader | float | None]:
    """``outputs`` and ``spikes`` for ``convert`` of a model's file.

    The model in a sorter's folder takes its whitening along: without it, nobody could tell what its codes are of.

    Args:
        path: of the model.
        outputs: those that were asked for; None: "code" and "spikes" of a sorter, else None, what `convert` chooses.
        inputs: of the file; with others than "signal", whitening cannot be inside the graph.
        min_peak: smallest code of a spike, or None.

    Raises:
        ValueError: the sorter's reader is damaged.

    Example:
        >>> from crsae_onnx.cli.loaders import outputs_and_spikes
        >>> outputs_and_spikes("other.keras", None)
        (None, None)
    """
    path = Path(path)
    file = path.with_name(SORTER_READER)
    if min_peak is not None or path.name != SORTER_MODEL or not file.is_file():
        return None if outputs is None else tuple(outputs), min_peak
    reader = SpikeReader.from_json(file.read_text(encoding="utf-8"))
    if outputs is None:
        outputs = ("code", "spikes") if tuple(inputs) == (INPUT,) else OUTPUTS
    return tuple(outputs), reader if {"code", "spikes"} & set(outputs) else None
