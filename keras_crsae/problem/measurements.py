"""Measurements: what of the signal is observed, y = Phi (D z) + noise, Phi linear.

The next measurement is one class below, or in your own code, with ``@register_measurement("name")``: ``forward``, its
adjoint and its norm.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_crsae.problem.registry import Configured, Registry
from keras_crsae.typing import Tensor


class Measurement(Configured):
    """eta = Phi D z, Phi a linear operator on signals (batch, *space, channels).

    Attributes:
        norm: bound of Phi's largest singular value; a step size shrinks by its square.
        projection: whether adjoint(forward(x)) = forward(x), as for a mask. A residual then needs no ``forward``: the
            adjoint alone keeps what is observed.
        observed: None, or 0/1 of the measured signal's shape: the samples that count in sums.

    Example:
        >>> import keras
        >>> from keras_crsae.problem import Mask
        >>> mask = Mask(keras.ops.array([1.0, 0.0]))
        >>> keras.ops.convert_to_numpy(mask.forward(keras.ops.array([3.0, 5.0]))).tolist()
        [3.0, 0.0]
    """

    norm: float = 1.0
    projection: bool = False
    observed: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Phi x."""
        raise NotImplementedError

    def adjoint(self, y: Tensor) -> Tensor:
        """Phi^T y."""
        raise NotImplementedError

    def column_norms(self, kernel: Tensor) -> Tensor:
        """Norms of Phi d_c, (filters,), for the thresholds; by default those of d_c."""
        return ops.sqrt(ops.sum(ops.square(kernel), axis=tuple(range(len(kernel.shape) - 1))))


registry = Registry("measurement", Measurement, default="identity")
get = registry.get
"""The measurement that an object, a registered name, a Keras config or None (the default) stands for."""
names = registry.names
"""Registered names of this kind, sorted."""
serialize = registry.serialize
"""What ``get_config`` of a model stores: the registered name, or the object's Keras config."""
register_measurement = registry.register
"""Class decorator ``register_measurement(name)``: names a measurement of your own, also in saved models."""


@register_measurement("identity")
class Identity(Measurement):
    """Phi x = x: everything is observed.

    Example:
        >>> from keras_crsae.problem import Identity
        >>> Identity().forward(3.0)
        3.0
    """

    projection = True

    def forward(self, x: Tensor) -> Tensor:
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        return y


@register_measurement("mask")
class Mask(Measurement):
    """Phi x = m x with m in {0, 1}: some samples are missing.

    Args:
        observed: 0/1 of the signal's shape; 0 marks a missing sample.

    Example:
        >>> import keras
        >>> from keras_crsae.problem import Mask
        >>> keras.ops.convert_to_numpy(Mask(keras.ops.array([1.0, 0.0])).adjoint(keras.ops.array([3.0, 5.0]))).tolist()
        [3.0, 0.0]
    """

    projection = True

    def __init__(self, observed: Tensor) -> None:
        self.observed: Tensor = observed

    def forward(self, x: Tensor) -> Tensor:
        return ops.cast(self.observed, x.dtype) * x

    def adjoint(self, y: Tensor) -> Tensor:
        return ops.cast(self.observed, y.dtype) * y

    def get_config(self) -> dict[str, Any]:
        return {"observed": ops.convert_to_numpy(self.observed)}


def mask_or_identity(observed: Tensor | None) -> Measurement:
    """``Mask(observed)``, or ``Identity()`` where that is None."""
    return Identity() if observed is None else Mask(observed)


def observation_mask(mask: Tensor | None, signal: Tensor) -> Tensor | None:
    """0/1 mask of ``signal``'s shape and dtype from any real mask, or None.

    Args:
        mask: None, or bool, int or float, broadcastable to ``signal``; without the channel axis, that is
            (batch, *space), it holds for every channel.
        signal: (batch, *space, channels).
    """
    if mask is None:
        return None
    observed = ops.cast(mask, signal.dtype)
    if len(observed.shape) == len(signal.shape) - 1:
        observed = ops.expand_dims(observed, -1)
    return ops.broadcast_to(observed, ops.shape(signal))
