"""Data of a measurement at the door of a model, and what they are compared with in training."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from crsae_onnx.core.signals import as_finite, as_float32, as_signal, refuse_other_containers
from keras import ops

from keras_crsae.layers.measured_coding import MeasuredDictionary
from keras_crsae.problem.measurements import Mask, Measurement, with_own_observed
from keras_crsae.problem.own_measurement import OwnMeasurement
from keras_crsae.typing import Tensor


class DataLayout(Protocol):
    """What data are checked against."""

    @property
    def rank(self) -> int: ...

    @property
    def channels(self) -> int | None: ...

    @property
    def kernel_size(self) -> tuple[int, ...]: ...

    @property
    def measurement(self) -> Measurement: ...


def as_data(x: Any, layout: DataLayout, name: str = "signal", finite: bool = True) -> np.ndarray:
    """Data as float32 (batch, *space, channels), of a measurement or the signals themselves, after their checks.

    Args:
        x: array-like; of a measurement that gives vectors also (batch, measurements).
        layout: of the model.
        name: for messages.
        finite: False lets NaN and infinite values pass.

    Raises:
        ValueError: sizes that the measurement does not give, a signal shorter than the filters.
    """
    measurement, rank = layout.measurement, layout.rank
    if measurement.is_mask:
        found = as_signal(x, rank, layout.channels, layout.kernel_size, name, finite)
        if isinstance(measurement, Mask):
            measurement.of_signal(found)
        return found
    refuse_other_containers(x, name)
    array = as_vectors(as_float32(x, name), measurement, rank)
    channels = measurement.data_channels(layout.channels)
    if array.ndim != rank + 2 or 0 in array.shape or channels is not None and array.shape[-1] != channels:
        sizes = ", ".join(map(str, _sizes(measurement, rank)))
        raise ValueError(f"`{name}` must be the data of the measurement {measurement!r}, (batch, {sizes}, "
                         f"{channels or 'channels'}). Received: shape {np.shape(x)}")
    space = tuple(measurement.signal_space(array.shape[1:-1]))
    if tuple(measurement.data_space(space)) != array.shape[1:-1]:
        raise ValueError(f"`{name}` must have the sizes that the measurement {measurement!r} gives: (batch, "
                         f"{', '.join(map(str, measurement.data_space(space)))}, channels). Received: shape "
                         f"{np.shape(x)}" + (", which is the size of the signal: give what was measured of it"
                                             if array.shape[1:-1] == space else ""))
    if any(n < k for n, k in zip(space, layout.kernel_size, strict=True)):
        raise ValueError(f"The signal that `{name}` was measured of has {space} samples, fewer than the filters: "
                         f"kernel_size={layout.kernel_size}. Use a smaller kernel_size.")
    if isinstance(measurement, OwnMeasurement):
        measurement.check_data(array.shape[1:])
    return as_finite(array, name=name) if finite else array


def _sizes(measurement: Measurement, rank: int) -> tuple[Any, ...]:
    """Sizes of the data where they are known, else the axes' names."""
    names = ("time",) if rank == 1 else ("height", "width")
    known = measurement.data_space((None,) * rank)
    return tuple(name if n is None else n for n, name in zip(known, names, strict=True))


def as_vectors(array: Any, measurement: Measurement, rank: int) -> Any:
    """(batch, measurements) with the axes that all data have, where the measurement gives vectors; else as it is."""
    if not measurement.flat or len(array.shape) != 2:
        return array
    return array[(..., *(None,) * rank)]


def as_operator(operator: Any, measurement: Measurement, batch: int) -> np.ndarray | None:
    """Numbers of the matrices of a stack, () or (batch,), int32, after their checks.

    Raises:
        ValueError: numbers where there is no stack, none where there is one, others than it has.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.problem import Matrix
        >>> from keras_crsae.training.measured_inputs import as_operator
        >>> as_operator([2, 0], Matrix(np.ones((3, 4, 8))), batch=2).tolist()
        [2, 0]
    """
    if measurement.count is None:
        if operator is not None:
            raise ValueError("`operator` says which matrix of a stack measured a signal, and the model's measurement "
                             f"is {measurement!r}. Leave it out, or use measurement=problem.Matrix(stack).")
        return None
    if operator is None:
        raise ValueError(f"The measurement is a stack of {measurement.count} matrices: say which one measured each "
                         "signal, operator=number or one a signal; in a batch {'signal': y, 'operator': numbers}.")
    refuse_other_containers(operator, "operator")
    numbers = np.asarray(operator)
    if numbers.shape == (batch, 1):
        numbers = numbers[:, 0]
    if numbers.shape not in ((), (batch,)) or numbers.dtype.kind not in "iu":
        raise ValueError(f"`operator` must be a whole number or one a signal, ({batch},). Received: shape "
                         f"{numbers.shape}, dtype {numbers.dtype}")
    if numbers.min() < 0 or numbers.max() >= measurement.count:
        raise ValueError(f"`operator` must be numbers from 0 to {measurement.count - 1}, one of the stack's matrices. "
                         f"Received: {numbers.min()} to {numbers.max()}")
    return numbers.astype(np.int32)


def with_mask(measurement: Measurement, observed: Any, signal: Tensor) -> Tensor | None:
    """The mask of a batch and the model's own in one, of the signal's shape."""
    return with_own_observed(measurement, observed, signal)


def compared(measurement: Measurement, batch: Any, eta: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """(target, prediction, observed) of the reconstruction loss: data and Phi eta, or a clean signal and eta itself.

    Args:
        measurement: of the model.
        batch: ``inputs.Batch``.
        eta: D z, of the signal's shape.
    """
    if measurement.is_mask:
        return batch.target, eta, batch.observed
    if batch.supervised:
        return batch.target, eta, None
    return batch.signal, measurement.of_batch(batch.operator, batch.signal.dtype).forward(eta), batch.observed


def dictionary_of(measurement: Measurement, dictionary: Any, batch: Any) -> Any:
    """What maps codes to data and back in a batch: the dictionary, or Phi D."""
    if measurement.is_mask:
        return dictionary
    return MeasuredDictionary(dictionary, measurement.of_batch(batch.operator, batch.signal.dtype), batch.signal)


def back_projection(measurement: Measurement, data: np.ndarray, operator: Any = None) -> np.ndarray:
    """Phi^T y, of the signals' shape."""
    found = measurement.of_batch(operator, "float32").adjoint(ops.convert_to_tensor(data))
    return ops.convert_to_numpy(found)
