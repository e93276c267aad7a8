"""A matrix as measurement: few sums of all samples in place of the samples, one matrix or a stack to choose from."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np
from keras import ops

from keras_crsae.operators import matrices
from keras_crsae.operators.convolution import adjoint, code_length
from keras_crsae.problem.measurements import Measurement, register_measurement
from keras_crsae.problem.stored_arrays import restored, stored
from keras_crsae.typing import Shape, Tensor

#: Numbers of a stack of matrices, at most: 4 GiB.
_MOST_VALUES = 2**30
#: Matrices of a stack that ``column_norms`` looks at.
_FEW = 8
#: Rows of a matrix, at most, whose product with D is bounded for each signal of a batch by itself.
_MOST_ROWS_EACH = 128
#: Squarings for the norm of D on the samples of a signal, which only begins a bound: within a quarter.
_ROUGH = 4


@register_measurement("matrix")
class Matrix(Measurement):
    """Phi x = A x, A of fewer rows than a signal has samples: compressed measurements (Chang, Tolooshams and Ba, 2019).

    Without ``signal_shape`` A acts on time, the same on each channel: x (batch, samples, channels) gives y (batch,
    measurements, channels). With it A acts on all numbers of a signal or image, read row by row: y is (batch,
    measurements, 1), for images (batch, measurements, 1, 1), and an array (batch, measurements) is taken for that.

    Args:
        matrix: (measurements, samples), dense or SciPy sparse; or a stack (count, measurements, samples), or a list of
            sparse ones (kept dense), of which each signal, or each batch, names one: ``encode(y, operator=3)``,
            ``fit(y, operator=numbers)``, and in a batch {"signal": y, "operator": number}. One number for a whole batch
            costs far less than one a signal.
        signal_shape: None, or (*space, channels) of the signal.

    Raises:
        ValueError: other shapes, values that are not finite, a matrix of zeros, a shape of other size.

    Example:
        >>> import numpy as np
        >>> import keras_crsae as kc
        >>> from keras_crsae.problem import Matrix
        >>> phi = np.random.default_rng(0).standard_normal((60, 120)) / 60**0.5
        >>> templates = kc.data.spike_templates(kernel_size=25, filters=2)
        >>> signal = kc.data.simulate_spikes(templates, windows=4, samples=120, events_per_window=2).signal
        >>> model = kc.CRsAE(2, 25, measurement=Matrix(phi), sigma=1.0)
        >>> model.set_dictionary(templates)
        >>> measured = np.einsum("mn,bnc->bmc", phi, signal)          # (4, 60, 1)
        >>> model.reconstruct(measured).shape                         # the signal
        (4, 120, 1)
    """

    def __init__(self, matrix: Any, signal_shape: Sequence[int] | None = None, norm: float | None = None) -> None:
        self.matrix: Any = _as_matrix(matrix)
        self.sparse = not isinstance(self.matrix, np.ndarray)
        self.signal_shape: Shape | None = None if signal_shape is None else tuple(int(n) for n in signal_shape)
        if self.signal_shape is not None and (len(self.signal_shape) not in (2, 3) or min(self.signal_shape) < 1
                                              or math.prod(self.signal_shape) != self.matrix.shape[-1]):
            raise ValueError("`signal_shape` must be (*space, channels) of as many numbers as the matrix has columns, "
                             f"{self.matrix.shape[-1]}. Received: signal_shape={signal_shape}")
        self.count = None if len(self.matrix.shape) == 2 else self.matrix.shape[0]
        self.flat = self.signal_shape is not None
        self._norm = norm
        # A tensor that is made outside of graphs: those take it by reference.
        self._tensor = matrices.sparse_tensor(self.matrix) if self.sparse else ops.convert_to_tensor(self.matrix)

    @cached_property
    def norm(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Largest singular value of the matrix, or of those of the stack."""
        return matrices.spectral_norm(self.matrix) if self._norm is None else float(self._norm)

    @property
    def rows(self) -> int:
        """Measurements."""
        return self.matrix.shape[-2]

    @property
    def columns(self) -> int:
        """Numbers of a signal, or samples where A acts on time."""
        return self.matrix.shape[-1]

    def check(self, rank: int) -> None:
        axes = 1 if self.signal_shape is None else len(self.signal_shape) - 1
        if axes != rank:
            what = "acts on time, and the model is one of images: give Matrix(matrix, signal_shape=(height, width, " \
                   "channels))" if self.signal_shape is None else \
                f"has signal_shape={self.signal_shape}, and the model has rank={rank}"
            raise ValueError(f"The Matrix {what}.")

    def signal_space(self, space: Any) -> tuple[Any, ...]:
        return (self.columns,) if self.signal_shape is None else self.signal_shape[:-1]

    def data_space(self, space: Any) -> tuple[Any, ...]:
        return (self.rows,) if self.signal_shape is None else (self.rows,) + (1,) * (len(self.signal_shape) - 2)

    def signal_channels(self, channels: int | None) -> int | None:
        return channels if self.signal_shape is None else self.signal_shape[-1]

    def data_channels(self, channels: int | None) -> int | None:
        return channels if self.signal_shape is None else 1

    def of_batch(self, operator: Tensor | None = None, dtype: str | None = None) -> PickedMatrix:
        """The matrix of each signal, or of all of a batch."""
        tensor = self._tensor
        if self.count is not None:
            if operator is None:
                raise ValueError(f"The measurement is a stack of {self.count} matrices: say which one each signal was "
                                 "measured by, operator=. See `problem.Matrix`.")
            tensor = ops.take(tensor, ops.cast(operator, "int32"), axis=0)
        return PickedMatrix(tensor if self.sparse or dtype is None else ops.cast(tensor, dtype), self)

    def forward(self, x: Tensor) -> Tensor:
        """A x; of a stack each signal's own matrix, as many signals as matrices."""
        return self._whole().forward(x)

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y; see ``forward``."""
        return self._whole().adjoint(y)

    def _whole(self) -> PickedMatrix:
        return PickedMatrix(self._tensor, self)

    def column_norms(self, kernel: Tensor) -> Tensor:
        """The largest norm of A d_c over the positions of the filter; of a stack over its first eight matrices."""
        squares: list[Tensor] = []
        for picked in self._few():
            rows = ops.cast(picked.adjoint(picked.units(kernel.shape[-2])), kernel.dtype)
            squares.append(ops.sum(ops.square(adjoint(rows, kernel, (1,) * (len(kernel.shape) - 2))), axis=0))
        largest = ops.max(ops.stack(squares), axis=tuple(range(len(kernel.shape) - 1)))
        return ops.sqrt(largest)

    def _few(self) -> list[PickedMatrix]:
        return [self.of_batch()] if self.count is None else [self.of_batch(i) for i in range(min(self.count, _FEW))]

    def largest_eigenvalue(self, kernel: Tensor, strides: Shape, whole: Callable[[], Tensor]) -> Tensor:
        """The bound of the Gram matrix of A D where that is small, or of the norms' product; of a stack the latter."""
        channels = kernel.shape[-2] if self.signal_shape is None else 1
        space = self.signal_space(())
        correlate, size = _correlation(kernel, strides, space)
        if self.count is None and matrices.is_small(self.rows * channels, size):
            return self.of_batch().largest_eigenvalue(kernel, strides, whole)
        if matrices.is_small(self.columns * channels, size):  # on few samples D is smaller than on many
            shape = self.signal_shape or (self.columns, kernel.shape[-2])
            units = ops.reshape(ops.eye(self.columns * channels, dtype=kernel.dtype), (-1, *shape))
            return self.norm**2 * matrices.measured_eigenvalue(correlate, size, units, _ROUGH)
        return self.norm**2 * whole()

    def get_config(self) -> dict[str, Any]:
        return {"matrix": _stored(self.matrix), "signal_shape": self.signal_shape, "norm": self.norm}

    def __repr__(self) -> str:
        return f"Matrix({self.matrix.shape}, signal_shape={self.signal_shape})"


class PickedMatrix(Measurement):
    """One matrix for a batch, or one a signal, (batch, measurements, samples), as tensors: what the iterations take.

    Args:
        tensor: the matrix or matrices.
        source: the ``Matrix`` that they are of.
    """

    def __init__(self, tensor: Tensor, source: Matrix) -> None:
        self.tensor, self.source = tensor, source

    @property
    def norm(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the source."""
        return self.source.norm

    @property
    def shared(self) -> bool:
        """Whether all signals of the batch have the same matrix."""
        return len(self.tensor.shape) == 2

    def forward(self, x: Tensor) -> Tensor:
        source = self.source
        if source.signal_shape is None:
            return self._on_time(x, transpose=False)
        y = self._product(ops.reshape(x, (-1, source.columns)), transpose=False)
        return ops.reshape(y, (-1, *source.data_space(()), 1))

    def adjoint(self, y: Tensor) -> Tensor:
        source = self.source
        if source.signal_shape is None:
            return self._on_time(y, transpose=True)
        return ops.reshape(self._product(ops.reshape(y, (-1, source.rows)), transpose=True),
                           (-1, *source.signal_shape))

    def _on_time(self, x: Tensor, transpose: bool) -> Tensor:
        """The matrix, or its transpose, on the samples of each channel."""
        if not self.shared:
            matrix = ops.cast(self.tensor, x.dtype)
            return ops.matmul(ops.swapaxes(matrix, -1, -2) if transpose else matrix, x)
        channels, samples = x.shape[-1], self.source.rows if transpose else self.source.columns
        rows = x if channels == 1 else ops.swapaxes(x, 1, 2)
        found = self._product(ops.reshape(rows, (-1, samples)), transpose)
        found = ops.reshape(found, (-1, channels, found.shape[-1]))
        return ops.swapaxes(found, 1, 2)

    def _product(self, vectors: Tensor, transpose: bool) -> Tensor:
        """Vectors (count, samples) times the transposed matrix, or with ``transpose`` times the matrix."""
        if self.source.sparse:
            return matrices.sparse_product(self.tensor, vectors, transpose)
        matrix = ops.cast(self.tensor, vectors.dtype)
        if self.shared:
            return ops.matmul(vectors, matrix if transpose else ops.transpose(matrix))
        matrix = ops.swapaxes(matrix, -1, -2) if transpose else matrix
        return ops.matmul(matrix, vectors[..., None])[..., 0]

    def units(self, channels: int) -> Tensor:
        """Data of which one number is 1, all of them: ``adjoint`` makes the rows of Phi of them."""
        source = self.source
        if source.signal_shape is not None:
            return ops.reshape(ops.eye(source.rows), (source.rows, *source.data_space(()), 1))
        count = source.rows * channels
        return ops.reshape(ops.eye(count), (count, source.rows, channels))

    def largest_eigenvalue(self, kernel: Tensor, strides: Shape, whole: Callable[[], Tensor]) -> Tensor:
        """The bound of the Gram matrix of A D where that is small, else ``whole``; (batch,) of a matrix a signal."""
        units = self.units(kernel.shape[-2])
        correlate, size = _correlation(kernel, strides, self.source.signal_space(()))
        if not self.shared:
            return self._eigenvalues(correlate, size, units, whole)
        if not matrices.is_small(units.shape[0], size):
            return whole()
        return ops.cast(matrices.measured_eigenvalue(correlate, size, self.adjoint(units)), kernel.dtype)

    def _eigenvalues(self, correlate: Callable[[Tensor], Tensor], size: int, units: Tensor,
                     whole: Callable[[], Tensor]) -> Tensor:
        """As ``largest_eigenvalue`` of each signal's own matrix, (batch,), where they are small."""
        count = units.shape[0]
        if count > _MOST_ROWS_EACH or count * size > 2**20:
            return whole()
        batch = ops.shape(self.tensor)[0]
        matrix = ops.repeat(self.tensor, count, axis=0)
        rows = PickedMatrix(matrix, self.source).adjoint(ops.tile(units, (batch, *(1,) * (len(units.shape) - 1))))
        found = ops.reshape(correlate(rows), (-1, count, size))
        return matrices.largest_eigenvalue(ops.matmul(found, ops.swapaxes(found, -1, -2)))


def _correlation(kernel: Tensor, strides: Shape, space: Shape) -> tuple[Callable[[Tensor], Tensor], int]:
    """D^T on signals of these sizes, padded to whole strides, and how many numbers a code has."""
    lengths = [code_length(n, k, s) for n, k, s in zip(space, kernel.shape, strides, strict=False)]
    padded = [(0, (m - 1) * s + k - n) for m, s, k, n in zip(lengths, strides, kernel.shape, space, strict=False)]

    def correlate(rows: Tensor) -> Tensor:
        return adjoint(ops.pad(ops.cast(rows, kernel.dtype), [(0, 0), *padded, (0, 0)]), kernel, strides)

    return correlate, math.prod(lengths) * kernel.shape[-1]


def _as_matrix(matrix: Any) -> Any:
    """A dense float32 array (measurements, samples) or a stack of them, or a SciPy sparse matrix, after its checks."""
    if isinstance(matrix, Mapping):
        return _restored(matrix)
    if hasattr(matrix, "tocoo"):
        found = matrix.tocoo().astype(np.float32)
        _check_values(found.data, found.shape, matrix.dtype)
        return found
    parts: list[Any] = list(matrix) if isinstance(matrix, list | tuple) else []  # pyright: ignore
    if parts and all(hasattr(part, "tocoo") for part in parts):
        matrix = _dense_stack(parts)
    try:
        array = np.asarray(cast(Any, matrix))
    except ValueError as error:
        raise ValueError("The matrices of a stack must have one shape.") from error
    if array.ndim not in (2, 3):
        raise ValueError("A matrix must have shape (measurements, samples), a stack (count, measurements, samples). "
                         f"Received: shape {array.shape}")
    _check_values(array, array.shape, array.dtype)
    if (np.abs(array).max(axis=(-2, -1)) == 0).any():
        raise ValueError("A matrix of the stack is all zero: it measures nothing. Leave it out.")
    return np.ascontiguousarray(array, np.float32)


def _dense_stack(parts: list[Any]) -> Any:
    """Sparse matrices as a dense stack."""
    shapes = sorted({tuple(part.shape) for part in parts})
    if len(shapes) > 1:
        raise ValueError(f"The matrices of a stack must have one shape. Received: shapes {shapes}")
    if len(parts) * math.prod(shapes[0]) > _MOST_VALUES:
        raise ValueError("A stack is kept as dense matrices, and this one is too large for that: "
                         f"{len(parts)} of {shapes[0]}. Use fewer, or one sparse matrix.")
    return np.stack([part.toarray() for part in parts])


def _check_values(values: Any, shape: tuple[int, ...], dtype: Any) -> None:
    if np.dtype(dtype).kind not in "fiub":
        raise ValueError(f"A matrix must hold real numbers. Received: dtype {dtype}")
    if 0 in shape:
        raise ValueError(f"A matrix must have rows and columns. Received: shape {shape}")
    if not np.isfinite(values).all():
        raise ValueError("A matrix must hold finite numbers. Received: "
                         f"{int(np.count_nonzero(~np.isfinite(values)))} that are NaN or infinite")
    if not np.any(values):
        raise ValueError("The matrix is all zero: it measures nothing.")


def _stored(matrix: Any) -> dict[str, Any]:
    """A matrix as plain values of JSON."""
    if isinstance(matrix, np.ndarray):
        return stored(cast(Any, matrix))
    return {"sparse": list(matrix.shape), "data": stored(matrix.data), "rows": stored(matrix.row, "<i4"),
            "columns": stored(matrix.col, "<i4")}


def _restored(value: Any) -> Any:
    """The matrix of ``_stored``."""
    if "sparse" not in value:
        return restored(value)
    make = cast(Any, importlib.import_module("scipy.sparse")).coo_matrix
    return make((restored(value["data"]), (restored(value["rows"]), restored(value["columns"]))),
                tuple(value["sparse"]))
