"""Denoise images, and train the models that do it."""

from keras_crsae.applications.denoising.pipeline import LOW_PASS, average_over_shifts, denoise, split
from keras_crsae.applications.denoising.training import train_denoiser

__all__ = ["LOW_PASS", "average_over_shifts", "denoise", "split", "train_denoiser"]
