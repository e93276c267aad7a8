"""Keras models: CRsAE, Denoiser, and the ones that the paper compares with."""

from keras_crsae.models.adaptation import lambda_max
from keras_crsae.models.baselines import LCSC, TLAE
from keras_crsae.models.crsae import CRsAE
from keras_crsae.models.denoiser import Denoiser

__all__ = ["CRsAE", "Denoiser", "LCSC", "TLAE", "lambda_max"]
