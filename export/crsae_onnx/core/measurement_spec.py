"""What an exporter needs of a measurement y = Phi x: plain numbers, and Phi itself in NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Kinds that graphs are written for.
KINDS = ("matrix", "subsample", "blur")


@dataclass(frozen=True)
class MeasurementSpec:
    """Phi: a matrix or a stack of them, one sample in several, or a convolution.

    Args:
        kind: one of ``KINDS``.
        matrix: of "matrix", (measurements, samples), or a stack (count, measurements, samples).
        signal_shape: of "matrix", (*space, channels) where it acts on all numbers of a signal; None: on time.
        factor, offset: of "subsample", one int an axis.
        kernel: of "blur", (samples,) or (height, width).
        padding: of "blur", zeros before and after the signal on each axis.
        step_sizes: of a stack, the step size of each matrix, (count,).

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.measurement_spec import MeasurementSpec
        >>> phi = MeasurementSpec("subsample", factor=(2,), offset=(1,))
        >>> phi.forward(np.arange(6.0).reshape(1, 6, 1)).ravel().tolist()
        [1.0, 3.0, 5.0]
    """

    kind: str
    matrix: NDArray[np.float32] | None = None
    signal_shape: tuple[int, ...] | None = None
    factor: tuple[int, ...] = ()
    offset: tuple[int, ...] = ()
    kernel: NDArray[np.float32] | None = None
    padding: tuple[tuple[int, int], ...] = ()
    step_sizes: NDArray[np.float64] | None = None

    @property
    def count(self) -> int | None:
        """How many matrices there are to choose from; None: no choice."""
        return self.matrix.shape[0] if self.matrix is not None and self.matrix.ndim == 3 else None

    @property
    def flat(self) -> bool:
        """Whether data are vectors."""
        return self.signal_shape is not None

    def data_space(self, space: Sequence[int]) -> tuple[int, ...]:
        """Sizes of the data from those of the signal."""
        if self.matrix is not None:
            return (self.matrix.shape[-2],) + (1,) * (len(self.signal_shape or (0, 0)) - 2)
        if self.kernel is not None:
            return tuple(n + a + b - k + 1 for n, (a, b), k in zip(space, self.padding, self.kernel.shape, strict=True))
        return tuple((n - o + f - 1) // f for n, f, o in zip(space, self.factor, self.offset, strict=True))

    def signal_space(self, space: Sequence[int]) -> tuple[int, ...]:
        """Sizes of the signal from those of the data."""
        if self.matrix is not None:
            return (self.matrix.shape[-1],) if self.signal_shape is None else self.signal_shape[:-1]
        if self.kernel is not None:
            return tuple(n - a - b + k - 1 for n, (a, b), k in zip(space, self.padding, self.kernel.shape, strict=True))
        return tuple(n * f for n, f in zip(space, self.factor, strict=True))

    def forward(self, x: NDArray[Any], operator: int | None = None) -> NDArray[Any]:
        """Phi x of signals (batch, *space, channels); ``operator``: number of the matrix of a stack."""
        if self.matrix is not None:
            matrix = self.matrix if self.count is None else self.matrix[operator or 0]
            if self.signal_shape is None:
                return np.einsum("mn,bnc->bmc", matrix, x)
            return (x.reshape(len(x), -1) @ matrix.T).reshape(len(x), *self.data_space(()), 1)
        if self.kernel is None:
            kept = (slice(o, None, f) for f, o in zip(self.factor, self.offset, strict=True))
            return x[(slice(None), *kept)]
        x = np.pad(x, [(0, 0), *self.padding, (0, 0)])
        axes = tuple(range(1, x.ndim - 1))
        windows = np.lib.stride_tricks.sliding_window_view(x, self.kernel.shape, axis=axes)
        return np.einsum("...k,k->...", windows.reshape(*windows.shape[:x.ndim], -1), np.flip(self.kernel).ravel())

    def facts(self) -> dict[str, Any]:
        """What a file says of it: plain JSON."""
        found: dict[str, Any] = {"kind": self.kind}
        if self.matrix is not None:
            found |= {"measurements": self.matrix.shape[-2], "samples": self.matrix.shape[-1], "count": self.count,
                      "signal_shape": None if self.signal_shape is None else list(self.signal_shape)}
        elif self.kernel is not None:
            found |= {"blur_size": list(self.kernel.shape), "padding": [list(p) for p in self.padding]}
        else:
            found |= {"factor": list(self.factor), "offset": list(self.offset)}
        return found


def measured_layout(facts: Mapping[str, Any]) -> tuple[tuple[int | None, ...], int]:
    """Sizes of a file's data on each axis of space, None where any will do, and their channels.

    Args:
        facts: of a file with the key "measurement".
    """
    measurement, rank = facts["measurement"], facts["rank"]
    if measurement["kind"] != "matrix":
        return (None,) * rank, facts["channels"]
    flat = measurement["signal_shape"] is not None
    return (measurement["measurements"],) + (1,) * (rank - 1), 1 if flat else facts["channels"]
