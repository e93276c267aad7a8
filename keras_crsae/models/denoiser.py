"""A ``CRsAE`` of images that learns on the mean over random shifts of the stride's grid."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
from crsae_onnx.core.spec import EncoderSpec
from crsae_onnx.core.spec_parts import DenoiserSpec

from keras_crsae.layers import ConvDictionary, FreeNormDictionary, SparseCoding, SparseCodingCell, UnrolledCoding
from keras_crsae.models.crsae import CRsAE
from keras_crsae.models.cycle_spinning import CycleSpinning, as_low_pass, as_training_shifts


@keras.saving.register_keras_serializable(package="keras_crsae")
class Denoiser(CRsAE):
    """``CRsAE`` of images that learns on the mean over random shifts, as ``denoise`` uses it.

    Inference on one grid (``model(y)``, ``encode``, the exported file) is that of ``CRsAE``;
    ``applications.denoising.denoise`` averages shifts.

    Args:
        filters, kernel_size, strides: see ``CRsAE``; so are all other options. ``rank`` is 2.
        training_shifts: shifts averaged in one training step; all of them where there are fewer.
        free_norms: whether the filters of an untied decoder have norms of their own, so that each has a gain (a
            reconstruction from shrunk codes wants more than 1). Kept on the sphere, they cost .3 dB.
        free_thresholds: whether each iteration has thresholds of its own, which learn with the filters: factors of
            lambda sigma^2 / L, 1 at first. For gradient="unrolled".
        low_pass: width of the Gaussian blur that was taken from the training images (see
            ``applications.denoising.split_low_pass``), so that ``denoise`` does the same; 0: their mean alone.
        sigma_power: the penalty weight of images in [0, 1] grows as sigma ** (1 + sigma_power) with their noise level,
            and is the same as without at sigma = 0.1. Strong noise needs a higher one, in units of sigma, than weak
            noise; 0: the same, for one noise level.
        training_settings: None, or the ``DenoiserTraining`` that trained the model, as a dict; it is saved with it.

    Raises:
        ValueError: an option out of range.

    Example:
        >>> import numpy as np
        >>> import keras_crsae as kc
        >>> model = kc.Denoiser(16, 8, strides=4, iterations=10, tied=False, sigma=1.0, lambda_init=1.5)
        >>> model(np.zeros((1, 32, 32, 1), "float32")).shape == (1, 32, 32, 1)
        True
    """

    DEFAULT_CODE_PRIOR = "soft"
    takes_counts = takes_kernel_rank = False

    def __init__(self, filters: int, kernel_size: Any, strides: Any = 1, training_shifts: int | None = 4,
                 free_norms: bool = True, free_thresholds: bool = False, low_pass: float = 0.0,
                 sigma_power: float = 0.0, shrinkage: str | None = None, rank: int = 2,
                 training_settings: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(filters, kernel_size, strides=strides, rank=rank, shrinkage=shrinkage, **options)
        if self.rank != 2:
            raise ValueError(f"Denoiser is for images: `rank` is 2. Received: rank={rank!r}")
        self.training_shifts = as_training_shifts(training_shifts, self._options["strides"])
        self.low_pass = as_low_pass(low_pass)
        if self.training_shifts is not None:
            self._trainer.forward = CycleSpinning(self, self.training_shifts)
        if not -1.0 < sigma_power < 1.0:
            raise ValueError(f"`sigma_power` must lie between -1 and 1. Received: {sigma_power!r}")
        self.free_norms, self.sigma_power = bool(free_norms), float(sigma_power)
        self.free_thresholds = bool(free_thresholds)
        if self.free_thresholds:  # what it refuses is refused before data arrives
            self._new_encoder(SparseCodingCell(ConvDictionary(**self._options), **self._cell_options))
        self.training_settings = training_settings

    def _new_encoder(self, cell: SparseCodingCell) -> SparseCoding:
        if not self.free_thresholds:
            return super()._new_encoder(cell)
        return UnrolledCoding(cell, free_thresholds=True, name="encoder", dtype=self.dtype_policy,
                              **{**self._coding_options, "unroll": True})

    @property
    def dictionary_variables(self) -> list[keras.Variable]:
        """Variables of the first stage: the filters that the gradient reaches, and free thresholds."""
        own = self.encoder.free_variables if isinstance(self.encoder, UnrolledCoding) else []
        return [*super().dictionary_variables, *own]

    def _untied_decoder(self, options: dict[str, Any]) -> ConvDictionary:
        return FreeNormDictionary(**options, name="decoder") if self.free_norms else super()._untied_decoder(options)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "training_shifts": self.training_shifts, "low_pass": self.low_pass,
                "free_norms": self.free_norms, "sigma_power": self.sigma_power, "free_thresholds": self.free_thresholds,
                "training_settings": None if self.training_settings is None else dict(self.training_settings)}

    @classmethod
    def stands_for(cls, model: Any) -> bool:
        """Whether ``from_preset`` may return ``model``: any of images, as ``denoise`` takes them (``CDLNet``, too)."""
        return getattr(model, "rank", None) == 2

    def export_spec(self) -> EncoderSpec:
        """As ``CRsAE.export_spec``, with how images are prepared."""
        return replace(super().export_spec(), denoiser=DenoiserSpec(self.low_pass, self.sigma_power))
