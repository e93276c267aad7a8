"""Values that a model takes from data before training: noise level, lambda, its ceiling, first filters (NumPy)."""

import math
from dataclasses import dataclass

import numpy as np
from crsae_onnx.core.signals import as_signal
from crsae_onnx.core.validation import as_sizes
from keras import ops

from keras_crsae import initializers
from keras_crsae.operators.convolution import adjoint, code_length

FIRST_FILTERS = ("dct", "energy", "windows")
_CEILING_EXAMPLES = 64  # examples that the first ceiling looks at; training raises it where others are stronger


def lambda_max(signal, filters, strides=1):
    """Smallest ``lambda * sigma^2`` with an all-zero code: the largest |D^T y|, in the signal's unit.

    Args:
        signal: (batch, *space, channels).
        filters: (*kernel_size, channels, filters); normalised here.
        strides: int or tuple.

    Raises:
        ValueError: shapes that do not fit, NaN or infinite values, an all-zero filter.

    Example:
        >>> lambda_max(np.ones((1, 8, 1)), np.ones((4, 1, 1)))
        2.0
    """
    filters = np.asarray(filters, np.float32)
    rank = filters.ndim - 2
    if rank not in (1, 2):
        raise ValueError("`filters` must have shape (kernel_size, channels, filters) or "
                         f"(height, width, channels, filters). Received: shape {filters.shape}")
    filters = unit_filters(filters, (None,) * filters.ndim)
    signal = as_signal(signal, rank, filters.shape[-2], filters.shape[:rank], "signal")
    return float(ops.max(ops.abs(adjoint(ops.convert_to_tensor(signal), ops.convert_to_tensor(filters),
                                         as_sizes(strides, rank, "strides")))))


def unit_filters(filters, expected):
    """``filters`` as float32 with unit norms, or a ValueError; ``expected`` is its shape, None where any will do."""
    filters = np.asarray(filters)
    if filters.dtype.kind not in "fiu":
        raise ValueError(f"`filters` must hold real numbers. Received: dtype {filters.dtype}")
    filters = filters.astype(np.float64)
    if filters.ndim != len(expected) or any(e not in (None, n) for e, n in zip(expected, filters.shape, strict=True)):
        shown = tuple("any" if e is None else e for e in expected)
        raise ValueError(f"`filters` must have shape (*kernel_size, channels, filters) = {shown}. "
                         f"Received: shape {filters.shape}")
    norms = np.sqrt(np.sum(np.square(filters), axis=tuple(range(filters.ndim - 1))))
    if not np.isfinite(norms).all() or (norms == 0).any():
        raise ValueError(f"`filters` must be finite and none of them all zero. Received: norms {norms.tolist()}")
    return (filters / norms).astype(np.float32)


def first_filters(kind, data, kernel_size, filters, seed=None):
    """First filters (*kernel_size, channels, filters) from data: "windows", "energy" or "dct"."""
    if kind not in FIRST_FILTERS:
        raise ValueError(f"`filters` must be None or one of {FIRST_FILTERS}. Received: {kind!r}")
    if kind == "dct":
        return initializers.dct_filters(kernel_size, data.shape[-1], filters)
    rng = np.random.default_rng(seed)
    return initializers.window_filters(data, kernel_size, filters, rng, energy=kind == "energy")


@dataclass(frozen=True)
class Adapted:
    """Noise standard deviation, lambda (None: as it is), and the ceiling under which lambda is held."""

    sigma: float
    lambda_reg: float | None
    lambda_ceiling: float


def resolve(data, filters, strides, sigma, donoho, mask=None):
    """Sigma, lambda and its ceiling for these data.

    Args:
        data: (batch, *space, channels), checked.
        filters: (*kernel_size, channels, filters), the present dictionary.
        strides: tuple of ints.
        sigma: a number, or "estimate" (robust, from the data).
        donoho: True gives lambda Donoho's universal value for N_e of these data.
        mask: None or 0/1 of data's shape.

    Raises:
        ValueError: the estimate is zero.
    """
    rank = len(strides)
    if sigma == "estimate":
        sigma = initializers.robust_sigma(data, rank, mask)
        if not sigma > 0:
            raise ValueError("sigma='estimate' found a noise level of zero: more than half of the data is constant. "
                             "Give sigma a positive number in the data's unit.")
    value = None
    if donoho:
        positions = math.prod(code_length(n, k, s) for n, k, s in
                              zip(data.shape[1:-1], filters.shape[:rank], strides, strict=True))
        value = initializers.donoho_lambda(filters.shape[-1], positions, sigma)
    seen = data if mask is None else data * mask
    return Adapted(sigma, value, 0.5 * lambda_max(seen[:_CEILING_EXAMPLES], filters, strides) / sigma**2)
