"""Files of the trained models that come with the package: their paths and their metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crsae_onnx.core.errors import FileError

from keras_crsae.data.paths import ENCODER_FILE, MODEL_FILE

#: Files of a model's folder: card, settings and measures, weights for Keras, encoder for onnxruntime.
CARD, CONFIG, METADATA, MODEL, ENCODER = "README.md", "config.json", "metadata.json", MODEL_FILE, ENCODER_FILE
_PACKAGE = Path(__file__).parent.parent


def folder() -> Path:
    """Folder of the models: ``zoo_models`` inside the installed package, or ``models/`` of a source tree."""
    inside = _PACKAGE / "zoo_models"
    return inside if inside.is_dir() else _PACKAGE.parent / "models"


def names() -> list[str]:
    """Names of the models, sorted.

    Example:
        >>> from keras_crsae import zoo
        >>> "denoise-gray-25" in zoo.names()
        True
    """
    return sorted(path.parent.name for path in folder().glob(f"*/{METADATA}"))


def path_of(name: str, file: str = MODEL) -> Path:
    """Path of one file of a model.

    Args:
        name: one of ``names()``.
        file: "model.keras", "encoder.onnx", "config.json", "metadata.json" or "README.md".

    Raises:
        FileError: no such model, or no such file in its folder.

    Example:
        >>> from keras_crsae import zoo
        >>> zoo.path_of("denoise-gray-25", "encoder.onnx").name
        'encoder.onnx'
    """
    if name not in names():
        raise FileError(f"There is no zoo model {str(name)!r}. There are: {', '.join(names()) or 'none'}. Your own "
                        "file is named with its suffix, .keras.")
    path = folder() / name / file
    if not path.is_file():
        raise FileError(f"{path} is missing: the installation is damaged. Reinstall keras-crsae.")
    return path


def metadata(name: str) -> dict[str, Any]:
    """Training and quality of a model, as its card states them.

    Args:
        name: one of ``names()``.

    Raises:
        FileError: see ``path_of``.

    Example:
        >>> from keras_crsae import zoo
        >>> zoo.metadata("denoise-gray-25")["task"]
        'denoise'
    """
    return json.loads(path_of(name, METADATA).read_text())
