"""Keras models: CRsAE, Denoiser, CDLNet, SparseCodingClassifier, and the ones that the paper compares with."""

from typing import TYPE_CHECKING

from keras_crsae._lazy import lazy_names

if TYPE_CHECKING:
    from keras_crsae.models.baselines import LCSC, TLAE
    from keras_crsae.models.cdlnet import CDLNet
    from keras_crsae.models.classifier import SparseCodingClassifier
    from keras_crsae.models.crsae import CRsAE
    from keras_crsae.models.denoiser import Denoiser

__all__ = ["CDLNet", "CRsAE", "Denoiser", "LCSC", "SparseCodingClassifier", "TLAE"]
__getattr__, __dir__ = lazy_names(__name__, {
    "CDLNet": "keras_crsae.models.cdlnet", "CRsAE": "keras_crsae.models.crsae",
    "Denoiser": "keras_crsae.models.denoiser",
    "SparseCodingClassifier": "keras_crsae.models.classifier",
    "LCSC": "keras_crsae.models.baselines", "TLAE": "keras_crsae.models.baselines",
})
