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
