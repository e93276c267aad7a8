"""Measurements: what of the signal is observed, y = Phi (D z) + noise, Phi linear.

``Identity`` and ``Mask`` stand here, others in ``matrix`` and ``sampling``. The next measurement is one class, here or
in your own code, with ``@register_measurement("name")``: ``forward``, its adjoint and its norm. An object of any other
class that has the three is taken too (``own_measurement.OwnMeasurement``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from keras_crsae.problem.registry import Configured, Registry
from keras_crsae.problem.stored_arrays import restored, stored
from keras_crsae.typing import Shape, Tensor


class Measurement(Configured):
    """eta = Phi D z, Phi a linear operator on signals (batch, *space, channels).

    Attributes:
        norm: bound of Phi's largest singular value; a step size shrinks by its square.
        projection: whether adjoint(forward(x)) = forward(x), as for a mask. A residual then needs no ``forward``: the
            adjoint alone keeps what is observed.
        observed: None, or 0/1 of the measured signal's shape: the samples that count in sums.
        is_mask: whether data are the signal itself, of which samples may be missing: the encoder then takes a mask.
        data_are_signals: whether data are signals or images, so that noise can be read off them, and first filters.
        flat: whether data are vectors: (batch, measurements, 1), of images (batch, measurements, 1, 1); an array
            (batch, measurements) is taken for one.
        count: None, or how many operators there are, of which each signal or batch names one by its ``operator``.

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
    is_mask: bool = False
    data_are_signals: bool = False
    flat: bool = False
    count: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Phi x."""
        raise NotImplementedError

    def adjoint(self, y: Tensor) -> Tensor:
        """Phi^T y."""
        raise NotImplementedError

    def signal_space(self, space: Any) -> tuple[Any, ...]:
        """Sizes of the signal, one an axis of space, from those of the data; None, unknown, may stay None."""
        return tuple(space)

    def data_space(self, space: Any) -> tuple[Any, ...]:
        """Sizes of the data from those of the signal."""
        return tuple(space)

    def signal_channels(self, channels: int | None) -> int | None:
        """Channels of the signal from those of the data."""
        return channels

    def data_channels(self, channels: int | None) -> int | None:
        """Channels of the data from those of the signal."""
        return channels

    def check(self, rank: int) -> None:
        """ValueError where it does not measure signals with so many axes of space."""

    def of_batch(self, operator: Tensor | None = None, dtype: str | None = None) -> Measurement:
        """The operators of one batch; itself where it has no choice.

        Args:
            operator: None, or the number of the operator, () for all signals or (batch,).
            dtype: of the batch.
        """
        return self

    def zero_filled(self, data: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """The signal with zeros where nothing was measured, and its mask; None: data say more than samples of it."""
        return None

    def column_norms(self, kernel: Tensor) -> Tensor:
        """Norms of Phi d_c, (filters,), for the thresholds; by default ``norm`` times those of d_c."""
        return self.norm * ops.sqrt(ops.sum(ops.square(kernel), axis=tuple(range(len(kernel.shape) - 1))))

    def largest_eigenvalue(self, kernel: Tensor, strides: Shape, whole: Callable[[], Tensor]) -> Tensor:
        """Upper bound of the largest eigenvalue of (Phi D)^T Phi D; by default norm^2 times that of D^T D.

        Args:
            kernel: (*kernel_size, channels, filters), of D.
            strides: one int an axis.
            whole: gives the largest eigenvalue of D^T D.
        """
        return self.norm**2 * whole()


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
    is_mask = True
    data_are_signals = True

    def forward(self, x: Tensor) -> Tensor:
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        return y


@register_measurement("mask")
class Mask(Measurement):
    """Phi x = m x with m in {0, 1}: some samples are missing.

    Args:
        observed: 0/1, of the signal's shape, or (*space, channels) for all signals; 0 marks a missing sample.

    Example:
        >>> import keras
        >>> from keras_crsae.problem import Mask
        >>> keras.ops.convert_to_numpy(Mask(keras.ops.array([1.0, 0.0])).adjoint(keras.ops.array([3.0, 5.0]))).tolist()
        [3.0, 0.0]
    """

    projection = True
    is_mask = True
    data_are_signals = True

    def __init__(self, observed: Tensor) -> None:
        observed = restored(observed)
        self.observed: Tensor = observed if hasattr(observed, "shape") else np.asarray(observed)

    def check(self, rank: int) -> None:
        observed = ops.convert_to_numpy(self.observed)
        if observed.ndim not in (rank, rank + 1, rank + 2) or not np.isin(observed, (0, 1)).all() \
                or not observed.any():
            raise ValueError(f"A Mask of all signals must hold 0 and 1, with a 1 in it, and have shape (*space, "
                             f"channels), {rank} axes of space, or that without the channels. Received: shape "
                             f"{observed.shape}. A mask of each signal is given with it: model.encode(y, mask=).")

    def of_signal(self, signal: Tensor) -> Tensor:
        """0/1 of a signal's shape and dtype."""
        observed = ops.cast(self.observed, signal.dtype)
        rank = len(signal.shape) - 2
        observed = observed[..., None] if len(observed.shape) == rank else observed
        observed = observed[None] if len(observed.shape) == rank + 1 else observed
        if any(isinstance(n, int) and m not in (1, n) for m, n in
               zip(observed.shape, signal.shape, strict=True)):
            raise ValueError(f"The model's Mask is for signals of shape {tuple(observed.shape)}. Received: signals "
                             f"{tuple(signal.shape)}")
        return ops.broadcast_to(observed, ops.shape(signal))

    def forward(self, x: Tensor) -> Tensor:
        return ops.cast(self.observed, x.dtype) * x

    def adjoint(self, y: Tensor) -> Tensor:
        return ops.cast(self.observed, y.dtype) * y

    def get_config(self) -> dict[str, Any]:
        return {"observed": stored(ops.convert_to_numpy(self.observed))}

    def __repr__(self) -> str:
        return f"Mask(observed of shape {tuple(self.observed.shape)})"


def mask_or_identity(observed: Tensor | None) -> Measurement:
    """``Mask(observed)``, or ``Identity()`` where that is None."""
    return Identity() if observed is None else Mask(observed)


def with_own_observed(measurement: Measurement, mask: Tensor | None, signal: Tensor) -> Tensor | None:
    """A call's mask and that of a ``Mask`` in one, of ``signal``'s shape; None where neither is there."""
    if not isinstance(measurement, Mask):
        return mask
    own = measurement.of_signal(signal)
    return own if mask is None else own * ops.cast(mask, own.dtype)


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
