"""Convolutional dictionary learning inside Keras: the constrained recurrent sparse autoencoder (CRsAE)."""

import importlib
from typing import TYPE_CHECKING

from keras_crsae._lazy import after_import, after_next_name, lazy_names

if TYPE_CHECKING:
    from keras_crsae import (
        applications,
        callbacks,
        data,
        layers,
        metrics,
        models,
        plots,
        problem,
        regularizers,
        solvers,
        zoo,
    )
    from keras_crsae._version import __version__ as __version__
    from keras_crsae.constraints import UnitNormFilters
    from keras_crsae.layers import ConvDictionary, FreeNormDictionary, SparseCoding, SparseCodingCell
    from keras_crsae.models import CRsAE, Denoiser, SparseCodingClassifier
    from keras_crsae.problem import GammaPrior, lambda_max
    from keras_crsae.zoo import load_model_from_zoo

__all__ = ["CRsAE", "ConvDictionary", "Denoiser", "FreeNormDictionary", "GammaPrior", "SparseCoding",
           "SparseCodingCell", "SparseCodingClassifier", "UnitNormFilters", "applications", "callbacks", "data",
           "lambda_max", "layers", "load_model_from_zoo", "metrics", "models", "plots", "problem", "regularizers",
           "solvers", "zoo"]
_SOURCES = {
    **{name: f"keras_crsae.{name}" for name in __all__ if name.islower() and "_" not in name},
    **{name: "keras_crsae.layers" for name in ("ConvDictionary", "FreeNormDictionary", "SparseCoding",
                                               "SparseCodingCell")},
    **{name: "keras_crsae.models" for name in ("CRsAE", "Denoiser", "SparseCodingClassifier")},
    **{name: "keras_crsae.problem" for name in ("GammaPrior", "lambda_max")},
    "UnitNormFilters": "keras_crsae.constraints",
    "load_model_from_zoo": "keras_crsae.zoo", "__version__": "keras_crsae._version",
}
__getattr__, __dir__ = lazy_names(__name__, _SOURCES)


def _register_classes() -> None:
    """Import what saved models hold: Keras finds the class of a saved model among those that are registered."""
    try:
        for name in ("layers", "models.baselines", "models.cdlnet", "models.denoiser", "models.classifier",
                     "regularizers"):
            importlib.import_module(f"keras_crsae.{name}")
    except ImportError:  # a module that these need is the one that imports Keras, and is not complete yet
        after_next_name(_register_classes)


# ``keras.saving.load_model`` then works after ``import keras_crsae`` alone, whichever of the two is imported first.
after_import("keras", _register_classes)
