"""CDLNet: a small sparse coder of images whose filters and thresholds are free in each of a few iterations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
from crsae_onnx.core.spec import EncoderSpec
from crsae_onnx.core.spec_parts import DenoiserSpec
from crsae_onnx.core.validation import as_positive
from keras import ops

from keras_crsae.constraints import filter_norms
from keras_crsae.layers import FreeNormDictionary, SparseCoding, SparseCodingCell, UnrolledCoding
from keras_crsae.models.baselines.base import Baseline, MakeDictionary, refuse_options
from keras_crsae.operators.lipschitz import largest_eigenvalue
from keras_crsae.typing import Sizes, Tensor

BANKS = ("each", "shared")
#: First threshold of an image's code, in units of its noise, for filters of norm 1.
FIRST_THRESHOLD = 1.0


@keras.saving.register_keras_serializable(package="keras_crsae")
class CDLNet(Baseline):
    """z_{k+1} = shrink(z_k + A_k^T (y - B_k z_k), t0_k + t1_k sigma), z_0 = 0; the result is D z_K.

    CDLNet (Janjusevic, Khalilian-Didar and Wang, IEEE OJSP 2022, arXiv 2112.00913): the iterations of ``CRsAE``'s
    encoder, of which each has analysis filters A_k, synthesis filters B_k and thresholds of its own. All filters lie
    inside the unit ball, step sizes are part of them, and everything learns by the reconstruction alone. Images are in
    [0, 1], or any unit that is the same for every noise level ``sigma``. The small one, 32 filters of 7 x 7 and 20
    iterations, has 64,000 parameters and denoises in one pass, without cycle spinning.

    Args:
        filters, kernel_size, strides, iterations: see ``CRsAE``; the network has 2 * iterations banks of ``filters``.
        banks: "each" iteration has filters of its own, or all of them "shared" ones: A, B and D, as in ``LCSC``.
        free_thresholds: whether each iteration has thresholds of its own.
        threshold_offsets: whether t0 is learned (one model for a range of noise levels), in units of ``sigma``; False:
            it is 0.
        unit_ball: whether filters are kept inside the unit ball.
        sigma: noise standard deviation where a call gives none; for a range of levels, one in its middle.
        training_shifts: see ``Denoiser``; 1 shift is all of them at stride 1.
        training_settings: see ``Denoiser``.
        **options: of ``CRsAE``: shrinkage, code_prior, kernel_initializer, block_size, seed.

    Raises:
        ValueError: an option out of range, or one that CDLNet does not have.

    Example:
        >>> import numpy as np
        >>> import keras_crsae as kc
        >>> model = kc.models.CDLNet(8, 5, iterations=4, seed=0)
        >>> model.reconstruct(np.zeros((1, 32, 32, 1)), sigma=25 / 255).shape
        (1, 32, 32, 1)
        >>> kc.models.CDLNet(32, 7, iterations=20).parameters(channels=1)
        64000
    """

    #: Lambda has no prior here: the second stage of training has nothing to learn.
    has_rate_prior = False
    #: Whether images are in a unit that is the same for every noise level: the thresholds are no multiples of it.
    in_image_unit = True

    def __init__(self, filters: int = 32, kernel_size: Sizes = 7, strides: Sizes = 1, iterations: int = 20,
                 banks: str = "each", free_thresholds: bool = True, threshold_offsets: bool = True,
                 unit_ball: bool = True, sigma: float = 25 / 255, rank: int = 2, training_shifts: int | None = 1,
                 training_settings: dict[str, Any] | None = None, **options: Any) -> None:
        if banks not in BANKS:
            raise ValueError(f"`banks` must be one of {BANKS}. Received: {banks!r}")
        self.fixed_options: dict[str, Any] = {
            "tied": banks == "each", "step_size": 1.0, "gradient": "unrolled", "active": False, "remat": False,
            "tolerance": None, "unroll": True, "solver": "ista", "sigma_learning": False,
            "likelihood": "gaussian", "low_pass": 0.0, "lambda_learning": None if free_thresholds else "backprop",
            "lambda_shared": False, "lambda_init": 1.0 / as_positive(sigma, "sigma")}
        refuse_options("CDLNet", options, self.fixed_options)
        super().__init__(filters, kernel_size, strides=strides, iterations=iterations, rank=rank, sigma=sigma,
                         training_shifts=training_shifts, **{**options, **self.fixed_options})
        self.banks, self.free_thresholds = banks, bool(free_thresholds)
        self.threshold_offsets, self.inside_unit_ball = bool(threshold_offsets), bool(unit_ball)
        self.training_settings = training_settings

    def parameters(self, channels: int = 1) -> int:
        """Numbers that are trained, for images of so many channels."""
        iterations = self._coding_options["iterations"]
        banks = 2 * iterations if self.banks == "each" else 3
        thresholds = (iterations if self.free_thresholds else 1) + iterations * self.threshold_offsets
        return self.filters * (banks * int(np.prod(self.kernel_size)) * channels + thresholds)

    def make_encoder(self, cell: SparseCodingCell, make_dictionary: MakeDictionary) -> SparseCoding:
        iterations, options = self._coding_options["iterations"], self._dictionary_options(self.dictionary.channels)

        def bank(name: str, count: int) -> FreeNormDictionary:
            layer = FreeNormDictionary(**{**options, "filters": count * self.filters}, unit_ball=self.inside_unit_ball,
                                       name=name)
            layer.build()
            return layer

        analysis = bank("analysis", iterations if self.banks == "each" else 1)
        synthesis = bank("synthesis", iterations - 1) if self.banks == "each" and iterations > 1 else None
        return UnrolledCoding(cell, analysis=analysis, synthesis=synthesis, free_thresholds=self.free_thresholds,
                              threshold_offsets=self.threshold_offsets, name="encoder", dtype=self.dtype_policy,
                              **self._coding_options)

    def first_scale(self) -> Tensor:
        return ops.ones(())

    def scale_filters(self) -> None:
        """First filters of norm 1 / sqrt(L) in every bank: ISTA with a step size of 1; and their first thresholds."""
        kernel = self.dictionary.kernel.value
        unit = kernel / filter_norms(kernel)
        scale = 1.0 / ops.sqrt(largest_eigenvalue(unit, self.dictionary.strides))
        encoder: Any = self.encoder
        for layer in (self.dictionary, self.decoder, encoder.analysis, encoder.synthesis):
            if layer is not None:
                layer.kernel.assign(ops.tile(scale * unit, (1,) * (self.rank + 1) + (layer.filters // self.filters,)))
        if self.free_thresholds:
            encoder.factors.assign(FIRST_THRESHOLD * scale * ops.ones(encoder.factors.shape))
        else:
            self.lambda_reg.assign(FIRST_THRESHOLD * scale / self.sigma.value * ops.ones(self.lambda_reg.shape))

    @property
    def dictionary_variables(self) -> list[keras.Variable]:
        """Variables of the first stage: every bank, and the thresholds of each iteration."""
        encoder: Any = self.encoder
        own = [] if self.decoder is self.dictionary else [self.decoder.kernel]
        return [self.dictionary.kernel, *own, *encoder.free_variables]

    def convergence(self, signal: Any, code: Any = None, mask: Any = None, sigma: Any = None) -> Any:
        """Refused: free filters and thresholds minimise no objective."""
        raise ValueError("CDLNet minimises no objective that its codes could be compared with: its filters and "
                         "thresholds are free in each iteration. Use CRsAE for codes with a certificate.")

    def export_spec(self) -> EncoderSpec:
        """As ``CRsAE.export_spec``, with the parameters of each iteration, and how images are prepared."""
        return replace(super().export_spec(), denoiser=DenoiserSpec(0.0, in_image_unit=True))

    def get_config(self) -> dict[str, Any]:
        config = {key: value for key, value in super().get_config().items() if key not in self.fixed_options}
        return {**config, "low_pass": self.low_pass, "banks": self.banks, "free_thresholds": self.free_thresholds,
                "threshold_offsets": self.threshold_offsets, "unit_ball": self.inside_unit_ball,
                "training_settings": None if self.training_settings is None else dict(self.training_settings)}
