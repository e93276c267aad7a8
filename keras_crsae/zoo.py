"""Trained models that come with the package: their names, their files, loading."""

import json
from pathlib import Path

from crsae_onnx.core.errors import FileError

__all__ = ["folder", "load_model_from_zoo", "metadata", "names", "path_of"]


def __dir__() -> list[str]:
    return list(__all__)


#: Files of a model's folder.
CARD, CONFIG, METADATA, MODEL, ENCODER = "README.md", "config.json", "metadata.json", "model.keras", "encoder.onnx"


def folder():
    """Folder of the models: ``zoo_models`` inside the installed package, or ``models/`` of a source tree."""
    inside = Path(__file__).parent / "zoo_models"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "models"


def names():
    """Names of the models, sorted.

    Example:
        >>> "denoise-gray-25" in names()
        True
    """
    return sorted(path.parent.name for path in folder().glob(f"*/{METADATA}"))


def path_of(name, file=MODEL):
    """Path of one file of a model.

    Args:
        name: one of ``names()``.
        file: "model.keras", "encoder.onnx", "config.json", "metadata.json" or "README.md".

    Raises:
        FileError: no such model, or no such file in its folder.

    Example:
        >>> path_of("denoise-gray-25", "encoder.onnx").name
        'encoder.onnx'
    """
    if name not in names():
        raise FileError(f"There is no zoo model {str(name)!r}. There are: {', '.join(names()) or 'none'}. A file "
                        "of your own is named with its suffix, .keras.")
    path = folder() / name / file
    if not path.is_file():
        raise FileError(f"{path} is missing: the installation is damaged. Reinstall keras-crsae.")
    return path


def metadata(name):
    """What is known of a model's training and quality, a dict.

    Raises:
        FileError: see ``path_of``.

    Example:
        >>> metadata("denoise-gray-25")["task"]
        'denoise'
    """
    return json.loads(path_of(name, METADATA).read_text())


def load_model_from_zoo(name):
    """A trained model of the zoo, ready to use or to train further.

    Args:
        name: one of ``names()``.

    Returns:
        ``CRsAE`` (or its subclass ``Denoiser``).

    Raises:
        FileError: no such model.

    Example:
        >>> model = load_model_from_zoo("denoise-gray-25")
        >>> from keras_crsae.applications.denoising import denoise
        >>> clean = denoise(noisy, model, sigma=25 / 255)
    """
    from keras_crsae.models.serialization import load_crsae

    return load_crsae(path_of(name))
