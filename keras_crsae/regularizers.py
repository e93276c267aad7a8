"""Penalties on filters, as Keras regularisers: for a dictionary's kernel, or the kernel of any Keras layer."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_crsae.constraints import filter_norms
from keras_crsae.typing import Tensor


@keras.saving.register_keras_serializable(package="keras_crsae")
class Smoothness(keras.regularizers.Regularizer):
    """weight * sum_c sum_i ||h_{c, i+1} - h_{c, i}||^2: neighbouring values of a filter are to be alike.

    A filter of single-trial counts needs it. Without it the best fit is one tap that explains each count by itself.

    Args:
        weight: non-negative. Beside the mean loss a sample and filters of norm 1, 1e-3 to 1e-2 is usual.
        axes: axes along which neighbours are compared; None: all but the last two, that is the space of a kernel
            (*kernel_size, channels, filters), as convolutions have it too.

    Raises:
        ValueError: a negative weight; when called, no axis to compare along, or one that the kernel does not have.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_crsae.regularizers import Smoothness
        >>> kernel = keras.ops.reshape(np.array([0.0, 1.0, 3.0], "float32"), (3, 1, 1))
        >>> float(Smoothness(0.5)(kernel))             # (1^2 + 2^2) / 2
        2.5
        >>> layer = keras.layers.Conv1D(4, 9, kernel_regularizer=Smoothness(1e-3))
    """

    def __init__(self, weight: float = 1e-3, axes: int | tuple[int, ...] | None = None) -> None:
        if isinstance(weight, str) or not 0 <= float(weight) < float("inf"):
            raise ValueError(f"`weight` must be a non-negative number. Received: weight={weight!r}")
        self.weight = float(weight)
        self.axes = axes if axes is None else (axes,) if isinstance(axes, int) else tuple(int(a) for a in axes)

    def __call__(self, x: Tensor) -> Tensor:
        """The penalty of a kernel, a scalar."""
        x = ops.convert_to_tensor(x)
        rank = len(x.shape)
        axes = tuple(range(rank - 2)) if self.axes is None else self.axes
        if not axes or any(not -rank <= axis < rank for axis in axes):
            raise ValueError("Smoothness compares neighbours along axes of space, (*kernel_size, channels, filters). "
                             f"Received: a kernel of shape {tuple(x.shape)} and axes={self.axes}. Give axes=, such as "
                             "axes=0 for the kernel of a Dense layer.")
        total = 0.0
        for axis in axes:
            before = (slice(None),) * (axis % rank)
            total = total + ops.sum(ops.square(x[(*before, slice(1, None))] - x[(*before, slice(None, -1))]))
        return self.weight * total

    def get_config(self) -> dict[str, Any]:
        return {"weight": self.weight, "axes": self.axes}


@keras.saving.register_keras_serializable(package="keras_crsae")
class Coherence(keras.regularizers.Regularizer):
    """weight * ||D^T D - I||_F^2: filters are to be orthogonal to each other, and to their own shifts.

    The columns of D are the filters at all positions that matter: at the same one (``lags=0``, all that there is where
    filters are as long as the signal), and shifted against each other by up to ``lags``. Codes of incoherent filters
    move less when the signal is disturbed; certificates of them are larger (arXiv 2010.12088).

    Args:
        weight: non-negative.
        lags: largest shift on each axis of space: an int, one an axis, or None, all that overlap.

    Raises:
        ValueError: a negative weight or lag.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.regularizers import Coherence
        >>> pair = np.array([[1.0, 0.6], [0.0, 0.8]], "float32").reshape(2, 1, 2)  # <d_1, d_2> = 0.6, counted twice
        >>> round(float(Coherence(1.0)(pair)), 4)
        0.72
        >>> round(float(Coherence(1.0, lags=None)(pair)), 4)  # shifts by 1: 0.8^2 twice and 0.48^2 twice
        2.4608
    """

    def __init__(self, weight: float = 1e-2, lags: int | tuple[int, ...] | None = 0) -> None:
        if isinstance(weight, str) or not 0 <= float(weight) < float("inf"):
            raise ValueError(f"`weight` must be a non-negative number. Received: weight={weight!r}")
        self.weight = float(weight)
        self.lags = lags if lags is None else int(lags) if isinstance(lags, int) else tuple(int(n) for n in lags)
        if self.lags is not None and min(self.lags if isinstance(self.lags, tuple) else (self.lags,)) < 0:
            raise ValueError(f"`lags` must be None or non-negative ints. Received: lags={lags!r}")

    def __call__(self, x: Tensor) -> Tensor:
        """The penalty of a kernel (*kernel_size, channels, filters), or of a matrix (values, filters), a scalar."""
        x = ops.convert_to_tensor(x)
        if len(x.shape) == 2:
            x = x[None]
        sizes, filters = tuple(x.shape[:-2]), x.shape[-1]
        lags = self.lags if isinstance(self.lags, tuple) else (self.lags,) * len(sizes)
        if len(lags) != len(sizes):
            raise ValueError(f"`lags` must be one int, or one for each of the {len(sizes)} axes of the filters. "
                             f"Received: lags={self.lags} and a kernel of shape {tuple(x.shape)}")
        widths = [k - 1 if n is None else min(n, k - 1) for n, k in zip(lags, sizes, strict=True)]
        if not any(widths):
            matrix = ops.reshape(x, (-1, filters))
            return self.weight * ops.sum(ops.square(ops.matmul(ops.transpose(matrix), matrix) - ops.eye(
                filters, dtype=x.dtype)))
        signals = ops.transpose(x, (len(sizes) + 1, *range(len(sizes) + 1)))
        signals = ops.pad(signals, [(0, 0), *((n, n) for n in widths), (0, 0)])
        products = ops.conv(signals, x, padding="valid", data_format="channels_last")
        same = ops.sum(ops.square(products)) - ops.sum(ops.square(_diagonal(products, widths)))
        return self.weight * (same + ops.sum(ops.square(_diagonal(products, widths) - 1.0)))

    def get_config(self) -> dict[str, Any]:
        return {"weight": self.weight, "lags": self.lags}


def _diagonal(products: Tensor, widths: list[int]) -> Tensor:
    """Squared norms of filters, (filters,), in their products at all lags (filters, *lags, filters)."""
    return ops.diagonal(products[(slice(None), *widths)])


@keras.saving.register_keras_serializable(package="keras_crsae")
class OfUnitFilters(keras.regularizers.Regularizer):
    """regularizer(d / ||d||): a penalty of the filters' shapes, whose gradient is tangent to the unit sphere.

    What a dictionary of filters of norm 1 makes of its ``kernel_regularizer``. The plain penalty would pull each filter
    towards zero, and the constraint after the step would push it back; an optimiser such as Adam learns worse so.

    Args:
        regularizer: Keras regulariser, or a function of a kernel.

    Example:
        >>> import keras
        >>> from keras_crsae.regularizers import OfUnitFilters
        >>> float(OfUnitFilters(keras.regularizers.L2(3.0))(7.0 * keras.ops.ones((4, 1, 1))))
        3.0
    """

    def __init__(self, regularizer: Any) -> None:
        self.regularizer = keras.regularizers.get(regularizer)

    def __call__(self, x: Tensor) -> Tensor:
        x = ops.convert_to_tensor(x)
        return self.regularizer(x / filter_norms(x))

    def get_config(self) -> dict[str, Any]:
        return {"regularizer": keras.regularizers.serialize(self.regularizer)}


@keras.saving.register_keras_serializable(package="keras_crsae")
class OfCourses(keras.regularizers.Regularizer):
    """regularizer of courses (*kernel_size, filters) as kernels of one channel, (*kernel_size, 1, filters).

    What a dictionary of rank-one filters makes of its ``kernel_regularizer``.

    Args:
        regularizer: Keras regulariser, or a function of a kernel.

    Example:
        >>> import keras
        >>> from keras_crsae.regularizers import OfCourses, Smoothness
        >>> float(OfCourses(Smoothness(0.5))(keras.ops.convert_to_tensor([[0.0], [1.0], [3.0]])))
        2.5
    """

    def __init__(self, regularizer: Any) -> None:
        self.regularizer = keras.regularizers.get(regularizer)

    def __call__(self, x: Tensor) -> Tensor:
        return self.regularizer(ops.expand_dims(ops.convert_to_tensor(x), -2))

    def get_config(self) -> dict[str, Any]:
        return {"regularizer": keras.regularizers.serialize(self.regularizer)}
