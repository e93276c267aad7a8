"""Phi of one batch as the iterations take it: on signals that are padded to whole strides, with a mask of the data."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_crsae.problem.measurements import Measurement
from keras_crsae.typing import Tensor


class MeasuredSignal(Measurement):
    """M Phi on the first ``space`` samples of a signal of ``padded`` samples.

    Args:
        measurement: Phi of a batch, see ``Measurement.of_batch``.
        space, padded: sizes on each axis of space, of Phi's signal and of D z.
        observed: None, or 0/1 of the data's shape, M.
    """

    def __init__(self, measurement: Measurement, space: tuple[Any, ...], padded: tuple[Any, ...],
                 observed: Tensor | None = None) -> None:
        self.measurement, self.space, self.padded, self.observed = measurement, space, padded, observed
        self.norm = measurement.norm

    @property
    def _whole(self) -> bool:
        return all(isinstance(n, int) and n == p for n, p in zip(self.space, self.padded, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        if not self._whole:
            x = x[(slice(None), *(slice(0, n) for n in self.space))]
        return self.measurement.forward(x)

    def adjoint(self, y: Tensor) -> Tensor:
        x = self.measurement.adjoint(y if self.observed is None else ops.cast(self.observed, y.dtype) * y)
        if self._whole:
            return x
        return ops.pad(x, [(0, 0), *((0, p - n) for n, p in zip(self.space, self.padded, strict=True)), (0, 0)])
