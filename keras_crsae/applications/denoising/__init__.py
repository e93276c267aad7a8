"""Denoise images, and train the models that do it."""

from typing import TYPE_CHECKING

from keras_crsae._lazy import lazy_names

if TYPE_CHECKING:
    from keras_crsae.applications.denoising.draw_progress import DrawProgress
    from keras_crsae.applications.denoising.low_pass import split_low_pass
    from keras_crsae.applications.denoising.pipeline import denoise
    from keras_crsae.applications.denoising.pixels import estimate_sigma
    from keras_crsae.applications.denoising.report_page import write_report
    from keras_crsae.applications.denoising.settings import DenoiserTraining
    from keras_crsae.applications.denoising.training import train_denoiser

__all__ = ["DenoiserTraining", "DrawProgress", "denoise", "estimate_sigma", "split_low_pass", "train_denoiser",
           "write_report"]
__getattr__, __dir__ = lazy_names(__name__, {
    "DrawProgress": "keras_crsae.applications.denoising.draw_progress",
    "denoise": "keras_crsae.applications.denoising.pipeline",
    "estimate_sigma": "keras_crsae.applications.denoising.pixels",
    "split_low_pass": "keras_crsae.applications.denoising.low_pass",
    "write_report": "keras_crsae.applications.denoising.report_page",
    "DenoiserTraining": "keras_crsae.applications.denoising.settings",
    "train_denoiser": "keras_crsae.applications.denoising.training",
})
