"""Measurements that users write: any object with ``forward``, ``adjoint`` and a bound of the norm."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_crsae.problem import measurements
from keras_crsae.problem.measurements import Measurement, register_measurement
from keras_crsae.typing import Tensor

_POWER_STEPS = 20
_MOST_OFF = 1e-3  # of <Phi x, y> - <x, Phi^T y>, relative to the norms: float32 rounding stays far below


@register_measurement("own")
class OwnMeasurement(Measurement):
    """Phi by an object of any class: ``forward(x)`` and ``adjoint(y)`` on tensors (batch, ...), ``norm`` a number.

    Args:
        operator: the object. ``norm`` is an upper bound of Phi's largest singular value. It may also have
            ``signal_space(space)`` and ``data_space(space)``, sizes of the signal from those of the data and back,
            where they differ, and ``data_are_signals``. A model that holds it can be saved if Keras can save the
            object.

    Raises:
        ValueError: what is missing, or a norm that is no positive number.

    Example:
        >>> import keras_crsae as kc
        >>> class Twice:
        ...     norm = 2.0
        ...     def forward(self, x):
        ...         return 2 * x
        ...     def adjoint(self, y):
        ...         return 2 * y
        >>> kc.CRsAE(filters=3, kernel_size=9, measurement=Twice()).measurement.norm
        2.0
    """

    def __init__(self, operator: Any) -> None:
        lacking = [name for name in ("forward", "adjoint") if not callable(getattr(operator, name, None))]
        norm = getattr(operator, "norm", None)
        if lacking or norm is None:
            raise ValueError("A measurement must have the methods `forward` and `adjoint`, and `norm`, an upper bound "
                             f"of its largest singular value. Received: {type(operator).__name__}, which lacks "
                             f"{[*lacking, *(['norm'] if norm is None else [])]}")
        try:
            self.norm = float(norm)
        except (TypeError, ValueError):
            self.norm = math.nan
        if not (math.isfinite(self.norm) and self.norm > 0):
            raise ValueError("`norm` of a measurement must be a positive number, an upper bound of its largest "
                             f"singular value. Received: norm={norm!r}")
        self.operator = operator
        self.data_are_signals = bool(getattr(operator, "data_are_signals", False))
        self._checked: set[tuple[int, ...]] = set()

    def forward(self, x: Tensor) -> Tensor:
        return self.operator.forward(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.operator.adjoint(y)

    def signal_space(self, space: Any) -> tuple[Any, ...]:
        return self._sizes("signal_space", tuple(space))

    def data_space(self, space: Any) -> tuple[Any, ...]:
        return self._sizes("data_space", tuple(space))

    def _sizes(self, name: str, space: tuple[Any, ...]) -> tuple[Any, ...]:
        given = getattr(self.operator, name, None)
        if given is None or any(n is None for n in space):  # sizes that are unknown stay so
            return space
        return tuple(given(space))

    def check_data(self, shape: tuple[int, ...]) -> None:
        """ValueError where it does not do what it says on data of this shape, (*space, channels); once a shape."""
        if shape in self._checked:
            return
        space = tuple(self.signal_space(shape[:-1]))
        rng = np.random.default_rng(0)
        x, y = (rng.standard_normal((2, *s)).astype(np.float32) for s in ((*space, shape[-1]), shape))
        name = type(self.operator).__name__
        try:
            there, back = (ops.convert_to_numpy(f(ops.convert_to_tensor(v))) for f, v in
                           ((self.forward, x), (self.adjoint, y)))
        except Exception as error:
            raise ValueError(f"The measurement {name} failed on tensors of signals {x.shape} and data {y.shape}: "
                             f"{type(error).__name__}: {error}. `forward` and `adjoint` must work on tensors "
                             "(keras.ops); where signals and data differ in size, `signal_space` says how.") from error
        if there.shape != y.shape or back.shape != x.shape:
            raise ValueError(f"The measurement {name} makes {there.shape} of a signal {x.shape}, and {back.shape} of "
                             f"data {y.shape}. Expected {y.shape} and {x.shape}; where signals and data differ "
                             "in size, `signal_space(space)` of the measurement says how.")
        off = abs(np.sum(there * y, dtype=np.float64) - np.sum(x * back, dtype=np.float64))
        if not off <= _MOST_OFF * max(np.linalg.norm(there) * np.linalg.norm(y), 1e-30):
            raise ValueError(f"`adjoint` of the measurement {name} is not that of `forward`: <Phi x, y> and "
                             f"<x, Phi^T y> differ by {off:.3g} on random x and y.")
        size = 0.0
        for _ in range(_POWER_STEPS):
            x = ops.convert_to_numpy(self.adjoint(self.forward(ops.convert_to_tensor(x))))
            size = float(np.linalg.norm(x[0]))
            x = x / max(size, 1e-30)
        if math.sqrt(size) > self.norm * (1 + 1e-3):
            raise ValueError(f"`norm` of the measurement {name} is {self.norm:.6g}, and its largest singular value is "
                             f"at least {math.sqrt(size):.6g}: iterations would run away. Give an upper bound.")
        self._checked.add(shape)

    def get_config(self) -> dict[str, Any]:
        return {"operator": keras.saving.serialize_keras_object(self.operator)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> OwnMeasurement:
        operator = config["operator"]
        return cls(keras.saving.deserialize_keras_object(operator) if isinstance(operator, dict) else operator)

    def __repr__(self) -> str:
        return f"OwnMeasurement({self.operator!r})"


def get(spec: Any) -> Measurement:
    """The measurement that ``spec`` stands for: None, a name, a ``Measurement``, a Keras config, or an own object.

    Raises:
        ValueError: none of these.
    """
    if spec is None or isinstance(spec, str | dict | Measurement):
        return measurements.get(spec)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(spec, type):
        raise ValueError(f"`measurement` must be an object. Received: the class {spec.__name__}. Call it: "
                         f"{spec.__name__}(...).")
    if isinstance(spec, np.ndarray) or hasattr(spec, "tocoo"):
        raise ValueError("`measurement` must be an object. Received: a matrix. Use problem.Matrix(matrix), or "
                         "problem.Mask(observed) for 0/1 of a signal's shape.")
    return OwnMeasurement(spec)
