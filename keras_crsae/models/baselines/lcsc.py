"""LCSC: learned convolutional sparse coding (Sreter and Giryes, arXiv 1711.00328)."""

from __future__ import annotations

from typing import Any

import keras

from keras_crsae.layers import ConvDictionary, SparseCoding, SparseCodingCell
from keras_crsae.models.baselines.base import Baseline, MakeDictionary, refuse_options
from keras_crsae.operators.lipschitz import largest_eigenvalue
from keras_crsae.typing import Tensor


@keras.saving.register_keras_serializable(package="keras_crsae")
class LCSC(Baseline):
    """Learned convolutional sparse coding: three free kernels and free thresholds, all by the reconstruction.

    The code is ``z <- shrink(z + W^T (y - D z), b)``, ``iterations`` times from zero, without momentum; the output is
    ``d z``. W (``analysis``), D (``dictionary``) and d (``decoder``) learn apart, and so does b: ``lambda_reg`` times
    sigma^2 is the threshold itself. It begins as ISTA does: W = D / L, b = lambda sigma^2 / L.

    Args:
        filters, kernel_size, strides, rank, iterations: see ``CRsAE``.
        lambda_learning: "backprop", or None (fixed thresholds).
        training_shifts: shifts averaged in a training step (images); None: the plain loss.
        **options: of ``CRsAE``: shrinkage, sigma, lambda_init, lambda_shared, kernel_initializer, seed.

    Raises:
        ValueError: an option that LCSC does not have.

    Example:
        >>> import keras
        >>> from keras_crsae.models import LCSC
        >>> model = LCSC(64, 8, strides=4, rank=2, iterations=15, training_shifts=4)
        >>> model.compile(keras.optimizers.Adam(1e-3), keras.optimizers.Adam(1e-3))
    """

    def __init__(self, filters: int, kernel_size: Any, strides: Any = 1, rank: int | None = None, iterations: int = 15,
                 shrinkage: str | None = None, lambda_learning: str | None = "backprop",
                 training_shifts: int | None = None, low_pass: float = 0.0, **options: Any) -> None:
        if lambda_learning not in ("backprop", None):
            raise ValueError("LCSC learns its thresholds by the reconstruction: `lambda_learning` is 'backprop' or "
                             f"None (fixed). Received: {lambda_learning!r}")
        fixed = {"tied": False, "step_size": 1.0, "gradient": "unrolled", "active": False, "remat": False,
                 "tolerance": None, "sigma_learning": False, "solver": "ista"}
        refuse_options("LCSC", options, fixed)
        # Few iterations: as one graph without a loop a training step took a fifth less.
        super().__init__(filters, kernel_size, strides=strides, rank=rank, iterations=iterations,
                         shrinkage=shrinkage, lambda_learning=lambda_learning, training_shifts=training_shifts,
                         low_pass=low_pass, **{"unroll": True, **options, **fixed})

    def make_encoder(self, cell: SparseCodingCell, make_dictionary: MakeDictionary) -> SparseCoding:
        self.analysis = make_dictionary("analysis")
        return SparseCoding(cell, analysis=self.analysis, name="encoder", dtype=self.dtype_policy,
                            **self._coding_options)

    def first_scale(self) -> Tensor:
        return 1.0 / largest_eigenvalue(self.dictionary.unit_kernel(), self.dictionary.strides)

    def scale_filters(self) -> None:
        self.analysis.kernel.assign(self.first_scale() * self.dictionary.kernel.value)

    @property
    def dictionaries(self) -> tuple[ConvDictionary, ...]:
        """The three dictionaries: analysis, synthesis, output."""
        return (self.analysis, self.dictionary, self.decoder)

    @property
    def dictionary_variables(self) -> list[keras.Variable]:
        return [self.analysis.kernel, self.dictionary.kernel, self.decoder.kernel]
