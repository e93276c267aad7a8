"""Constraints on the dictionary and on lambda."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_crsae")
class UnitNormFilters(keras.constraints.Constraint):
    """Every filter on the unit sphere: norm over kernel and channels, one filter at a time.

    Called on a kernel (*kernel_size, channels, filters); returns one of its shape.

    Example:
        >>> np.asarray(UnitNormFilters()(2.0 * keras.ops.ones((4, 1, 1)))).ravel().tolist()
        [0.5, 0.5, 0.5, 0.5]
    """

    def __call__(self, kernel):
        return kernel / filter_norms(kernel)


@keras.saving.register_keras_serializable(package="keras_crsae")
class InsideUnitBall(keras.constraints.Constraint):
    """Every filter's norm, over kernel and channels, at most 1."""

    def __call__(self, kernel):
        return kernel / ops.maximum(filter_norms(kernel), 1.0)


@keras.saving.register_keras_serializable(package="keras_crsae")
class AboveBound(keras.constraints.Constraint):
    """Elementwise lower bound; keeps ``log(lambda)`` finite."""

    def __init__(self, bound=1e-6):
        self.bound = bound

    def __call__(self, value):
        return ops.maximum(value, self.bound)

    def get_config(self):
        return {"bound": self.bound}


def filter_norms(kernel):
    """Norm of each filter, shape (1, ..., 1, filters); never zero."""
    axes = tuple(range(len(kernel.shape) - 1))
    return ops.sqrt(ops.maximum(ops.sum(ops.square(kernel), axis=axes, keepdims=True), 1e-24))
