"""What an encoder of counts minimises, in NumPy and float64: two codes of one signal are compared by it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crsae_onnx.core.counts import as_size
from crsae_onnx.core.spec import EncoderSpec

Array = NDArray[np.floating]
#: Likelihood -> its log partition A(eta), and A', the inverse link.
_PARTITIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "poisson": (np.exp, np.exp),
    "binomial": (lambda eta: np.logaddexp(0.0, eta), lambda eta: 1.0 / (1.0 + np.exp(-eta)))}


def mean_of(likelihood: str, eta: Array) -> Array:
    """Inverse link of "poisson" or "binomial".

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.count_objective import mean_of
        >>> float(mean_of("binomial", np.array(0.0)))
        0.5
    """
    return _PARTITIONS[likelihood][1](eta)


def linear_of(spec: EncoderSpec, code: Array, space: tuple[int, ...], kernel: Array | None = None) -> Array:
    """eta = D z + baseline, (batch, *space, channels), float64.

    Args:
        spec: of the model.
        code: (batch, *positions, filters).
        space: of the signal; what a stride padded is cut off.
        kernel: in place of the decoder's.
    """
    kernel = np.asarray(spec.decoder_kernel if kernel is None else kernel, np.float64)
    positions, sizes = code.shape[1:-1], spec.kernel_size
    padded = [(m - 1) * s + k for m, s, k in zip(positions, spec.strides, sizes, strict=True)]
    eta = np.zeros((len(code), *padded, spec.channels))
    for tap in product(*map(range, sizes)):
        at = tuple(slice(t, t + (m - 1) * s + 1, s) for t, m, s in zip(tap, positions, spec.strides, strict=True))
        eta[(slice(None), *at)] += code @ kernel[tap].T
    return eta[(slice(None), *(slice(0, n) for n in space))] + (0.0 if spec.baseline is None else spec.baseline)


def objective_of(spec: EncoderSpec, counts: Array, code: Array, size: Any = None, mask: Any = None) -> Array:
    """sum_i weight_i [A(eta_i) - y_i eta_i] + sum_c lambda_c ||z_c||_1 / largest size, one a signal.

    Args:
        spec: of the model.
        counts: (batch, *space, channels).
        code: (batch, *positions, filters).
        size: None (the model's), or that of these counts, see ``core.counts.as_size``.
        mask: None, or 0/1 of the counts' shape.
    """
    name = str(spec.size_name)
    sizes = as_size(spec.size if size is None else size, counts.shape, name, per_signal=size is not None)
    sizes = np.broadcast_to(sizes, counts.shape) * (1.0 if mask is None else mask)
    axes = tuple(range(1, counts.ndim))
    largest = np.maximum(sizes.max(axis=axes), 1e-30)
    eta = linear_of(spec, code, counts.shape[1:-1], spec.kernel)
    partition = _PARTITIONS[str(spec.likelihood)][0](eta)
    y = np.where(sizes > 0, counts / np.where(sizes > 0, sizes, 1.0), 0.0)
    data = np.where(sizes > 0, sizes * (partition - y * eta), 0.0).sum(axis=axes)
    return (data + (np.abs(code) * spec.lambda_reg).sum(axis=axes)) / largest
