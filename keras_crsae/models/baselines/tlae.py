"""TLAE: a tied one-layer autoencoder."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_crsae.constraints import filter_norms
from keras_crsae.layers import SparseCoding, SparseCodingCell
from keras_crsae.models.baselines.base import Baseline, MakeDictionary, refuse_options
from keras_crsae.operators.lipschitz import largest_eigenvalue
from keras_crsae.typing import Tensor


@keras.saving.register_keras_serializable(package="keras_crsae")
class TLAE(Baseline):
    """Tied one-layer autoencoder: ``z = shrink(D^T y, b)``, output ``D z``.

    One step, no 1 / L; filters inside the unit ball, b = lambda_reg sigma^2. The paper's code trains it on
    ``||D^T y - z||^2``, which a dictionary of zeros minimises; here, as for the others, the reconstruction is the loss.
    It begins with filters of norm 1 / sqrt(L), whose ``D D^T`` is nearest to the identity.

    Args:
        filters, kernel_size, strides, rank: see ``CRsAE``.
        lambda_learning: None (fixed thresholds, as in the paper) or "backprop".
        training_shifts: shifts averaged in a training step (images); None: the plain loss.
        **options: of ``CRsAE``: shrinkage, sigma, lambda_init, lambda_shared, kernel_initializer, seed.

    Raises:
        ValueError: an option that TLAE does not have.

    Example:
        >>> from keras_crsae.models import TLAE
        >>> model = TLAE(64, 8, strides=4, rank=2, training_shifts=4)
    """

    inside_unit_ball = True

    def __init__(self, filters: int, kernel_size: Any, strides: Any = 1, rank: int | None = None,
                 shrinkage: str | None = None, lambda_learning: str | None = None, training_shifts: int | None = None,
                 low_pass: float = 0.0, **options: Any) -> None:
        if lambda_learning not in ("backprop", None):
            raise ValueError("TLAE's thresholds are fixed, or learned by the reconstruction: `lambda_learning` is "
                             f"None or 'backprop'. Received: {lambda_learning!r}")
        fixed = {"tied": True, "step_size": 1.0, "iterations": 1, "gradient": "unrolled", "active": False,
                 "remat": False, "tolerance": None, "sigma_learning": False}
        refuse_options("TLAE", options, fixed)
        super().__init__(filters, kernel_size, strides=strides, rank=rank, shrinkage=shrinkage,
                         lambda_learning=lambda_learning, training_shifts=training_shifts, low_pass=low_pass,
                         **{**options, **fixed})

    def make_encoder(self, cell: SparseCodingCell, make_dictionary: MakeDictionary) -> SparseCoding:
        return SparseCoding(cell, name="encoder", dtype=self.dtype_policy, **self._coding_options)

    def first_scale(self) -> Tensor:
        # The filters have been scaled already: their largest eigenvalue is 1, and their norm is the factor.
        return ops.mean(filter_norms(self.dictionary.kernel.value))

    def scale_filters(self) -> None:
        eigenvalue = largest_eigenvalue(self.dictionary.unit_kernel(), self.dictionary.strides)
        self.dictionary.kernel.assign(self.dictionary.kernel.value / ops.sqrt(eigenvalue))
