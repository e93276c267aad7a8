"""Trained models that come with the package: their names, their files, loading."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_crsae.data.zoo_files import CARD as CARD
from keras_crsae.data.zoo_files import CONFIG as CONFIG
from keras_crsae.data.zoo_files import ENCODER as ENCODER
from keras_crsae.data.zoo_files import METADATA as METADATA
from keras_crsae.data.zoo_files import MODEL as MODEL
from keras_crsae.data.zoo_files import folder, metadata, names, path_of

if TYPE_CHECKING:
    from keras_crsae.models.crsae import CRsAE

__all__ = ["folder", "load_model_from_zoo", "metadata", "names", "path_of"]


def __dir__() -> list[str]:
    return list(__all__)


def load_model_from_zoo(name: str) -> CRsAE:
    """A trained model of the zoo, ready to use or to train further.

    Args:
        name: one of ``names()``.

    Returns:
        ``CRsAE`` (or its subclass ``Denoiser``).

    Raises:
        FileError: no such model.

    Example:
        >>> import keras_crsae as kc
        >>> kc.load_model_from_zoo("denoise-gray-25").kernel_size
        (8, 8)
    """
    from keras_crsae.models.serialization import load_crsae  # names and files of the zoo need no Keras

    return load_crsae(path_of(name))
