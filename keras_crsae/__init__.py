"""Convolutional dictionary learning inside Keras: the constrained recurrent sparse autoencoder (CRsAE)."""

from keras_crsae import metrics
from keras_crsae.constraints import UnitNormFilters
from keras_crsae.layers import ConvDictionary, SparseCoding, SparseCodingCell
from keras_crsae.model import CRsAE, lambda_max
from keras_crsae.priors import GammaPrior

__version__ = "0.1.0"
__all__ = ["CRsAE", "ConvDictionary", "GammaPrior", "SparseCoding", "SparseCodingCell", "UnitNormFilters",
           "lambda_max", "metrics"]
