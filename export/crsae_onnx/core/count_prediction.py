"""What codes of counts predict, in NumPy and float64: eta = D z + baseline, and the mean."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray

from crsae_onnx.core.spec import EncoderSpec

Array = NDArray[np.floating]
#: Likelihood -> the inverse link.
_MEANS: dict[str, Callable[[Array], Array]] = {"poisson": np.exp, "binomial": lambda eta: 1.0 / (1.0 + np.exp(-eta))}


def mean_of(likelihood: str, eta: Array) -> Array:
    """Inverse link of "poisson" or "binomial".

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.count_prediction import mean_of
        >>> float(mean_of("binomial", np.array(0.0)))
        0.5
    """
    return _MEANS[likelihood](eta)


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
