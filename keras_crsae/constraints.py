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
class ConstrainedFilters(keras.constraints.Constraint):
    """A Keras constraint on the values of filters together with one on their norms.

    For "non_neg" and ``UnitNormFilters`` it is the projection on the non-negative filters of norm 1, relu(d) over its
    norm, and the largest value alone where none is positive. So no filter is lost.

    Args:
        values: Keras constraint, or its name, such as "non_neg".
        norms: constraint that follows; None: none.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_crsae.constraints import ConstrainedFilters, UnitNormFilters
        >>> project = ConstrainedFilters("non_neg", UnitNormFilters())
        >>> np.asarray(project(keras.ops.reshape([3.0, -1.0, 4.0], (3, 1, 1)))).ravel().tolist()
        [0.6000000238418579, 0.0, 0.800000011920929]
        >>> np.asarray(project(keras.ops.reshape([-3.0, -1.0, -4.0], (3, 1, 1)))).ravel().tolist()
        [0.0, 1.0, 0.0]
    """

    def __init__(self, values: Any, norms: Any = None) -> None:
        self.values, self.norms = keras.constraints.get(values), keras.constraints.get(norms)

    def __call__(self, kernel: Tensor) -> Tensor:
        kernel = ops.convert_to_tensor(kernel)
        flat = ops.reshape(kernel, (-1, kernel.shape[-1]))
        largest = ops.one_hot(ops.argmax(flat, axis=0), flat.shape[0], axis=0, dtype=kernel.dtype)
        kept = self.values(kernel)
        lost = ops.all(ops.equal(kept, 0.0), axis=tuple(range(len(kernel.shape) - 1)), keepdims=True)
        kept = ops.where(lost, ops.reshape(largest, kernel.shape), kept)
        return kept if self.norms is None else self.norms(kept)

    def get_config(self) -> dict[str, Any]:
        return {"values": keras.constraints.serialize(self.values), "norms": keras.constraints.serialize(self.norms)}


@keras.saving.register_keras_serializable(package="keras_crsae")
class AboveBound(keras.constraints.Constraint):
    """max(x, bound), elementwise; keeps ``log(lambda)`` finite.

    Args:
        bound: smallest value.
        zeros: how many values at the end are held at 0: lambda of dense filters.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.constraints import AboveBound
        >>> np.asarray(AboveBound(0.5)(np.array([0.0, 2.0]))).tolist()
        [0.5, 2.0]
    """

    def __init__(self, bound: float = 1e-6, zeros: int = 0) -> None:
        self.bound, self.zeros = bound, zeros

    def __call__(self, value: Tensor) -> Tensor:
        above = ops.maximum(value, self.bound)
        if not self.zeros:
            return above
        count = above.shape[0] - self.zeros
        return ops.concatenate([above[:count], ops.zeros_like(above[count:])])

    def get_config(self) -> dict[str, Any]:
        return {"bound": self.bound, "zeros": self.zeros}


def filter_norms(kernel: Tensor) -> Tensor:
    """Norm of each filter, shape (1, ..., 1, filters); never zero."""
    axes = tuple(range(len(kernel.shape) - 1))
    return ops.sqrt(ops.maximum(ops.sum(ops.square(kernel), axis=axes, keepdims=True), 1e-24))
