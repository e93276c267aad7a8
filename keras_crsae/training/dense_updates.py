"""The M-step's ceiling of lambda and noise level where some filters are dense: what these explain is no event."""

from __future__ import annotations

import math

from keras import ops

from keras_crsae.layers import SparseCodingCell
from keras_crsae.layers.dense_filters import NOISE_RIDGE, DensePart
from keras_crsae.training import em_updates
from keras_crsae.training.distribution import total
from keras_crsae.training.inputs import Batch
from keras_crsae.training.trainable_model import TrainableModel
from keras_crsae.typing import Shape, Tensor

#: Steps of conjugate gradients in the fit of the dense filters to a batch.
_FIT_STEPS = 20


def half_lambda_max(model: TrainableModel, batch: Batch) -> Tensor:
    """Ceiling of lambda: half of the smallest rate with which all sparse codes are zero.

    max |B^T (y - A x)| / (2 sigma^2), A x the fit of the dense filters alone; see ``em_updates.half_lambda_max``.

    Args:
        model: with dense filters.
        batch: of signals.
    """
    dense = of_cell(model.encoder.cell)
    left = dense.residual(*model.encoder.pad_to_strides(batch.signal, batch.observed), steps=_FIT_STEPS)
    return em_updates.half_largest_excess(dense.adjoint_of_sparse(left), model.code_prior) \
        / ops.square(model.sigma.value)


def noise_variance(signal: Tensor, code: Tensor, cell: SparseCodingCell, mask: Tensor | None = None,
                   present: Tensor = 1.0) -> Tensor:
    """Bias-free noise variance: ||y - D z||^2 / (observed samples - |S| - freedom of the dense filters).

    z is the code refitted, its sparse part on its support S. The freedom is the rank of the dense part, or with a
    penalty what that leaves of it (``operators.ridge.freedom``), here a tenth of the model's. The ends of a signal,
    which few code positions reach, are left out: there a penalty leaves much of what is dense.

    Args:
        signal: (batch, *space, channels), of whole strides.
        code: (batch, *positions, filters).
        cell: with dense filters.
        mask: None or 0/1 of signal's shape.
        present: 0 where a replica stands in for a part of the batch that is empty.
    """
    dense = of_cell(cell, NOISE_RIDGE)
    ridge = ops.concatenate([ops.zeros((dense.sparse_filters,), dtype=code.dtype),
                             ops.full((dense.dense_filters,), dense.ridge, dtype=code.dtype)])
    _, residual, observed, _ = em_updates.refit_on_support(signal, code, cell.dictionary, mask, ridge=ridge)
    support = ops.sum(ops.cast(ops.not_equal(code[..., :dense.sparse_filters], 0.0), code.dtype))
    inside = inner_samples(signal, cell.dictionary.kernel_size)
    seen = ops.sum(inside * ops.ones_like(signal)) if mask is None else ops.sum(inside * mask)
    taken = ops.cast(dense.freedom(), code.dtype) / (math.prod(cell.dictionary.strides) * signal.shape[-1])
    support = support * seen / ops.maximum(observed, 1.0)
    error, seen, support = total([ops.sum(inside * ops.square(residual)), present * (1.0 - taken) * seen, support])
    return error / ops.maximum(seen - support, 1.0)


def inner_samples(signal: Tensor, kernel_size: Shape) -> Tensor:
    """1 at the samples that are a kernel's length from every end, else 0; all 1 where there are none.

    Args:
        signal: (batch, *space, channels).
        kernel_size: one int an axis.

    Returns:
        (1, *space, 1), of signal's dtype.
    """
    inside = ops.ones((1,) * len(signal.shape), dtype=signal.dtype)
    for axis, (n, k) in enumerate(zip(ops.shape(signal)[1:-1], kernel_size, strict=True), start=1):
        index = ops.arange(n)
        far = ops.logical_and(index >= k - 1, index < n - k + 1)
        far = ops.cast(ops.where(ops.any(far), far, True), signal.dtype)
        inside = inside * ops.reshape(far, [-1 if a == axis else 1 for a in range(len(signal.shape))])
    return inside


def of_cell(cell: SparseCodingCell, share: float = 1.0) -> DensePart:
    """The dense filters of a cell, with a share of their penalty."""
    return DensePart(cell.dictionary, cell.dense_filters, share * cell.dense_weight)
