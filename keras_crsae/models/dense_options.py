"""What ``dense_filters`` asks of a model: its options, first filters, values from data, the parts of a code."""

from __future__ import annotations

from typing import Any

import numpy as np
from crsae_onnx.core.validation import as_int, as_positive
from keras import ops

from keras_crsae import initializers
from keras_crsae.layers import ConvDictionary, SparseCoding
from keras_crsae.layers.dense_filters import NOISE_RIDGE, DensePart
from keras_crsae.models import adaptation
from keras_crsae.models.adaptation import Adapted
from keras_crsae.problem.code_priors import CodePrior
from keras_crsae.solvers import base as solvers

PARTS = ("sparse", "dense")
_EXAMPLES = 64  # that a fit of the dense filters looks at a time


def as_dense_options(dense_filters: Any, dense_penalty: Any, model: type[Any], active: Any, solver: Any,
                     **others: Any) -> tuple[int, float | None]:
    """``dense_filters`` and ``dense_penalty`` after their checks.

    Args:
        dense_filters, dense_penalty, active, solver: see ``CRsAE``.
        model: the class of models.
        **others: options that do not go with dense filters, None where they are not in use.

    Raises:
        ValueError: an option out of range, or one that does not go with dense filters.
    """
    count = as_int(dense_filters, "dense_filters", minimum=0)
    if not count and dense_penalty is not None:
        raise ValueError("`dense_penalty` is for dense filters, and there are none. Received: "
                         f"dense_filters={dense_filters!r}, dense_penalty={dense_penalty!r}")
    if not count:
        return 0, None
    if not model.takes_dense_filters:
        raise ValueError(f"{model.__name__} has no dense filters. Use dense_filters=0, or CRsAE or Denoiser.")
    solver = solvers.get(solver)
    used = [name for name, value in others.items() if value is not None]
    used += ["active=True"] if active or solver.active else []
    used += [f"solver={type(solver).__name__}"] if solver.adaptive else []
    if used:
        raise ValueError(f"`dense_filters` does not go with {', '.join(used)}: a dense filter's code has no zeros, and "
                         "its prox needs one step size. Omit it, or use dense_filters=0.")
    return count, None if dense_penalty is None else as_positive(dense_penalty, "dense_penalty")


def begin_dense_filters(dictionary: ConvDictionary, dense_filters: int) -> None:
    """Let the dense filters of a built dictionary begin as the slowest atoms of a cosine transform."""
    if dense_filters:
        first = initializers.dct_filters(dictionary.kernel_size, dictionary.channels or 1, dense_filters)
        kernel = ops.convert_to_numpy(dictionary.kernel).copy()
        norms = np.sqrt(np.sum(np.square(first), axis=tuple(range(first.ndim - 1))))
        kernel[..., kernel.shape[-1] - dense_filters:] = first / norms
        dictionary.set_kernel(kernel)


def part_of(part: str | None, filters: int, dense_filters: int) -> slice:
    """Filters of the part "sparse" or "dense", or all (None).

    Raises:
        ValueError: another name, or the dense part of a model that has none.
    """
    if part is None:
        return slice(0, filters)
    if part not in PARTS:
        raise ValueError(f"`part` must be one of {PARTS}, or None for both. Received: part={part!r}")
    if part == "dense" and not dense_filters:
        raise ValueError("The model has no dense filters, so no dense part. Use part=None, or a model with "
                         "dense_filters.")
    return slice(0, filters - dense_filters) if part == "sparse" else slice(filters - dense_filters, filters)


def dense_residual(encoder: SparseCoding, data: np.ndarray, mask: np.ndarray | None, share: float = 1.0) -> np.ndarray:
    """What the dense filters alone, with a share of their penalty, leave of data; 0 where a sample is missing."""
    cell = encoder.cell
    dense = DensePart(cell.dictionary, cell.dense_filters, share * cell.dense_weight)
    parts: list[np.ndarray] = []
    for start in range(0, len(data), _EXAMPLES):
        few = slice(start, start + _EXAMPLES)
        signal = ops.convert_to_tensor(data[few].astype(np.float32))
        observed = None if mask is None else ops.convert_to_tensor(np.broadcast_to(mask, data.shape)[few], "float32")
        left = dense.residual(*encoder.pad_to_strides(signal, observed))
        parts.append(ops.convert_to_numpy(left)[(slice(None), *(slice(0, n) for n in data.shape[1:-1]))])
    return np.concatenate(parts)


def first_sparse_filters(init: str, encoder: SparseCoding, data: np.ndarray, mask: np.ndarray | None,
                         seed: int | None) -> np.ndarray:
    """First filters (*kernel_size, channels, all filters): sparse ones from what the dense ones leave of the data.

    The dense ones stay as they are; of "dct" the sparse ones are the atoms that follow as many as are dense.
    """
    cell, dictionary = encoder.cell, encoder.cell.dictionary
    sparse = dictionary.filters - cell.dense_filters
    if init == "dct":
        first = adaptation.first_filters(init, data, dictionary.kernel_size, dictionary.filters)
        first = first[..., cell.dense_filters:]
    else:
        left = dense_residual(encoder, data, mask)
        first = adaptation.first_filters(init, left, dictionary.kernel_size, sparse, seed)
    return np.concatenate([first, ops.convert_to_numpy(dictionary.kernel)[..., sparse:]], axis=-1)


def resolve(encoder: SparseCoding, data: np.ndarray, sigma: float | str, donoho: bool, mask: np.ndarray | None,
            prior: CodePrior) -> Adapted:
    """As ``adaptation.resolve``, of what the dense filters leave of the data, for the sparse filters.

    The fit takes away noise too: a noise level of signals is scaled to make up for it. That of images is taken from
    their finest details, which slow filters leave alone.
    """
    cell, dictionary = encoder.cell, encoder.cell.dictionary
    filters = ops.convert_to_numpy(dictionary.kernel)[..., :dictionary.filters - cell.dense_filters]
    left = dense_residual(encoder, data, mask)
    if sigma == "estimate":
        source = dense_residual(encoder, data, mask, NOISE_RIDGE) if dictionary.rank == 1 else data
        level = adaptation.resolve(source, filters, dictionary.strides, "estimate", False, mask, prior).sigma
        positions = np.prod(dictionary.code_space(data.shape[1:-1]))
        dense = DensePart(dictionary, cell.dense_filters, NOISE_RIDGE * cell.dense_weight)
        taken = float(dense.freedom()) * positions / np.prod(data.shape[1:])
        sigma = level / float(np.sqrt(max(1.0 - taken, 1e-6))) if dictionary.rank == 1 else level
    return adaptation.resolve(left, filters, dictionary.strides, sigma, donoho, mask, prior)
