"""Constraints on the dictionary and on lambda."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_crsae.typing import Tensor


@keras.saving.register_keras_serializable(package="keras_crsae")
class UnitNormFilters(keras.constraints.Constraint):
    """d_c / ||d_c||: every filter on the unit sphere, the norm over kernel and channels, one filter at a time.

    Called on a kernel (*kernel_size, channels, filters); returns one of its shape.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_crsae import UnitNormFilters
        >>> np.asarray(UnitNormFilters()(2.0 * keras.ops.ones((4, 1, 1)))).ravel().tolist()
        [0.5, 0.5, 0.5, 0.5]
    """

    def __call__(self, kernel: Tensor) -> Tensor:
        return kernel / filter_norms(kernel)


@keras.saving.register_keras_serializable(package="keras_crsae")
class InsideUnitBall(keras.constraints.Constraint):
    """d_c / max(||d_c||, 1): every filter's norm, over kernel and channels, at most 1.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_crsae.constraints import InsideUnitBall
        >>> np.asarray(InsideUnitBall()(keras.ops.ones((4, 1, 1)))).ravel().tolist()
        [0.5, 0.5, 0.5, 0.5]
    """

    def __call__(self, kernel: Tensor) -> Tensor:
        return kernel / ops.maximum(filter_norms(kernel), 1.0)


@keras.saving.register_keras_serializable(package="keras_crsae")
class AboveBound(keras.constraints.Constraint):
    """max(x, bound), elementwise; keeps ``log(lambda)`` finite.

    Args:
        bound: smallest value.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.constraints import AboveBound
        >>> np.asarray(AboveBound(0.5)(np.array([0.0, 2.0]))).tolist()
        [0.5, 2.0]
    """

    def __init__(self, bound: float = 1e-6) -> None:
        self.bound = bound

    def __call__(self, value: Tensor) -> Tensor:
        return ops.maximum(value, self.bound)

    def get_config(self) -> dict[str, Any]:
        return {"bound": self.bound}


def filter_norms(kernel: Tensor) -> Tensor:
    """Norm of each filter, shape (1, ..., 1, filters); never zero."""
    axes = tuple(range(len(kernel.shape) - 1))
    return ops.sqrt(ops.maximum(ops.sum(ops.square(kernel), axis=axes, keepdims=True), 1e-24))
