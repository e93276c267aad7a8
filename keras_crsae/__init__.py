"""Convolutional dictionary learning inside Keras: the constrained recurrent sparse autoencoder (CRsAE)."""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from keras_crsae._lazy import lazy_names

if TYPE_CHECKING:
    from keras_crsae import applications, callbacks, data, layers, metrics, models, plots, problem, solvers, zoo
    from keras_crsae.constraints import UnitNormFilters
    from keras_crsae.layers import ConvDictionary, SparseCoding, SparseCodingCell
    from keras_crsae.models import CRsAE, Denoiser, lambda_max
    from keras_crsae.problem import GammaPrior
    from keras_crsae.zoo import load_model_from_zoo

try:
    __version__ = version("keras-crsae")
except PackageNotFoundError:  # run from a source tree on the path
    __version__ = "unknown"

__all__ = ["CRsAE", "ConvDictionary", "Denoiser", "GammaPrior", "SparseCoding", "SparseCodingCell", "UnitNormFilters",
           "applications", "callbacks", "data", "lambda_max", "layers", "load_model_from_zoo", "metrics", "models",
           "plots", "problem", "solvers", "zoo"]
_SOURCES = {
    **{name: f"keras_crsae.{name}" for name in __all__ if name.islower() and "_" not in name},
    **{name: "keras_crsae.layers" for name in ("ConvDictionary", "SparseCoding", "SparseCodingCell")},
    **{name: "keras_crsae.models" for name in ("CRsAE", "Denoiser", "lambda_max")},
    "GammaPrior": "keras_crsae.problem", "UnitNormFilters": "keras_crsae.constraints",
    "load_model_from_zoo": "keras_crsae.zoo",
}
__getattr__, __dir__ = lazy_names(__name__, _SOURCES)
