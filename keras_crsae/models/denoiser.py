"""A ``CRsAE`` of images that learns on the mean over random shifts of the stride's grid."""

import math
from dataclasses import replace

import keras
import tensorflow as tf
from crsae_onnx.core.cycle_spinning import spread_shifts
from crsae_onnx.core.spec import DenoiserSpec, EncoderSpec
from crsae_onnx.core.validation import as_positive_int
from keras import ops

from keras_crsae.layers import FreeNormDictionary
from keras_crsae.losses import weighted_error
from keras_crsae.models.crsae import CRsAE
from keras_crsae.models.cycle_spinning import cut_shifts, mean_of_shifts, random_shifts


class ShiftAveraging:
    """Mixin of a ``CRsAE``: the first stage compares the mean over random shifts of the stride's grid.

    The code of each image is computed on ``training_shifts`` random places of the grid, edges reflected, and the mean
    of the reconstructions is compared with the target (Simon and Elad, arXiv 1909.05742). Signals, of rank 1, and
    models with ``training_shifts=None`` learn as ``CRsAE`` does.
    """

    def _set_averaging(self, training_shifts, low_pass):
        """What the class's own arguments of these names say; ``low_pass`` is for ``applications.denoising``."""
        every = math.prod(self._options["strides"])
        self.training_shifts = None if training_shifts is None \
            else min(as_positive_int(training_shifts, "training_shifts"), every)
        if not low_pass >= 0:
            raise ValueError(f"`low_pass` must be 0 or a positive number of pixels. Received: {low_pass!r}")
        self.low_pass = float(low_pass)

    def _shifts(self, training):
        """Random ones in a step, told by the step's number, so that a resumed training draws the same."""
        strides = self.dictionary.strides
        if not training:
            return spread_shifts(strides, self.training_shifts)
        step = tf.cast(self.optimizer.iterations.value, tf.int32)
        return random_shifts(strides, self.training_shifts, tf.stack([step, self.seed or 0]))

    def _forward(self, signal, target, mask, weight, training):
        if self.rank == 1 or self.training_shifts is None:
            return super()._forward(signal, target, mask, weight, training)
        sizes = self.kernel_size, self.dictionary.strides
        shifts = self._shifts(training)
        seen = None if mask is None else cut_shifts(mask, shifts, *sizes)
        code = self.encoder(cut_shifts(signal, shifts, *sizes), mask=seen, training=training)
        made = tf.cast(self.decoder(code), target.dtype)
        made = mean_of_shifts(made, shifts, ops.shape(signal)[1:-1], *sizes)
        return tf.cast(code, target.dtype), weighted_error(target, made, mask, weight)

    def get_config(self):
        return {**super().get_config(), "training_shifts": self.training_shifts, "low_pass": self.low_pass}

    def export_spec(self) -> EncoderSpec:
        """As ``CRsAE.export_spec``, with how images are prepared."""
        return replace(super().export_spec(), denoiser=DenoiserSpec(self.low_pass))


@keras.saving.register_keras_serializable(package="keras_crsae")
class Denoiser(ShiftAveraging, CRsAE):
    """``CRsAE`` of images that learns on the mean over random shifts, as ``denoise`` uses it.

    Inference on one grid (``model(y)``, ``encode``, the exported file) is that of ``CRsAE``;
    ``applications.denoising.pipeline`` averages shifts.

    Args:
        filters, kernel_size, strides: see ``CRsAE``; so are all other options. ``rank`` is 2.
        training_shifts: shifts averaged in one training step; all of them where there are fewer.
        free_norms: whether the filters of an untied decoder have norms of their own, so that each has a gain (a
            reconstruction from shrunk codes wants more than 1). Kept on the sphere, they cost .3 dB.
        low_pass: width of the Gaussian blur that was taken from the training images (see
            ``applications.denoising.split``), so that ``denoise`` does the same; 0: their mean alone.
        sigma_power: the threshold of images in [0, 1] grows as sigma ** (1 + sigma_power) with their noise level, and
            is what it would be without at sigma = 0.1. Strong noise wants a threshold higher in units of sigma than
            weak noise; 0: the same, for one noise level.

    Raises:
        ValueError: an option out of range.

    Example:
        >>> model = Denoiser(64, 8, strides=4, iterations=10, tied=False, sigma=1.0, lambda_init=1.5)
    """

    DEFAULT_CODE_PRIOR = "soft"

    def __init__(self, filters, kernel_size, strides=1, training_shifts=4, free_norms=True, low_pass=0.0,
                 sigma_power=0.0, shrinkage=None, rank=2, **options):
        super().__init__(filters, kernel_size, strides=strides, rank=rank, shrinkage=shrinkage, **options)
        if self.rank != 2:
            raise ValueError(f"Denoiser is for images: `rank` is 2. Received: rank={rank!r}")
        self._set_averaging(training_shifts, low_pass)
        if not -1.0 < sigma_power < 1.0:
            raise ValueError(f"`sigma_power` must lie between -1 and 1. Received: {sigma_power!r}")
        self.free_norms, self.sigma_power = bool(free_norms), float(sigma_power)

    def _untied_decoder(self, options):
        return FreeNormDictionary(**options, name="decoder") if self.free_norms else super()._untied_decoder(options)

    def get_config(self):
        return {**super().get_config(), "free_norms": self.free_norms, "sigma_power": self.sigma_power}

    def export_spec(self) -> EncoderSpec:
        """As ``CRsAE.export_spec``, with how images are prepared."""
        return replace(super().export_spec(), denoiser=DenoiserSpec(self.low_pass, self.sigma_power))
