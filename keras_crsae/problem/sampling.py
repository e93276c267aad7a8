"""Measurements that are signals or images again: one sample in several, or a blur."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from crsae_onnx.core.validation import as_sizes
from keras import ops

from keras_crsae.operators import lipschitz
from keras_crsae.problem.measurements import Measurement, register_measurement
from keras_crsae.typing import Shape, Sizes, Tensor


@register_measurement("subsample")
class Subsample(Measurement):
    """Phi x = x[offset::factor]: one sample in ``factor``, as of a slower recording or a smaller image.

    The signal has ``factor`` times as many samples as the data on each axis.

    Args:
        factor: int, or one an axis.
        offset: of the first sample that is kept, below ``factor``; int, or one an axis.

    Raises:
        ValueError: sizes that are no ints in range.

    Example:
        >>> import keras
        >>> from keras_crsae.problem import Subsample
        >>> signal = keras.ops.reshape(keras.ops.arange(6.0), (1, 6, 1))
        >>> keras.ops.convert_to_numpy(Subsample(2).forward(signal)).ravel().tolist()
        [0.0, 2.0, 4.0]
    """

    data_are_signals = True

    def __init__(self, factor: Sizes, offset: Sizes = 0) -> None:
        rank = max(np.size(factor), np.size(offset))
        self.factor = as_sizes(factor, rank, "factor")
        try:
            offsets = np.broadcast_to(np.asarray(offset), (rank,))
        except ValueError:
            offsets = np.full(rank, -1)
        if offsets.dtype.kind not in "iu" or any(not 0 <= o < f for o, f in zip(offsets, self.factor, strict=True)):
            raise ValueError(f"`offset` must be an int of at least 0 and below `factor`, or one an axis. Received: "
                             f"offset={offset!r}, factor={factor!r}")
        self.offset = tuple(int(o) for o in offsets)
        self._alike = rank == 1

    def _sizes(self, rank: int) -> list[tuple[int, int]]:
        """(factor, offset) of each axis."""
        factor, offset = (v * rank if self._alike else v for v in (self.factor, self.offset))
        return list(zip(factor, offset, strict=True))

    def check(self, rank: int) -> None:
        if not self._alike and len(self.factor) != rank:
            raise ValueError(f"Subsample has {len(self.factor)} factors, and the model has {rank} axes of space. "
                             f"Received: factor={self.factor}")

    def signal_space(self, space: Any) -> tuple[Any, ...]:
        space = tuple(space)
        return tuple(None if n is None else n * f for n, (f, _) in zip(space, self._sizes(len(space)), strict=True))

    def data_space(self, space: Any) -> tuple[Any, ...]:
        space = tuple(space)
        return tuple(None if n is None else (n - o + f - 1) // f for n, (f, o) in
                     zip(space, self._sizes(len(space)), strict=True))

    def forward(self, x: Tensor) -> Tensor:
        kept = tuple(slice(o, None, f) for f, o in self._sizes(len(x.shape) - 2))
        return x[(slice(None), *kept)]

    def adjoint(self, y: Tensor) -> Tensor:
        """The data with zeros between them."""
        return self._spread(y)

    def _spread(self, y: Tensor) -> Tensor:
        for axis, (factor, offset) in enumerate(self._sizes(len(y.shape) - 2), start=1):
            apart = ops.expand_dims(y, axis + 1)
            widths = [(0, 0)] * len(apart.shape)
            widths[axis + 1] = (offset, factor - 1 - offset)
            shape = [ops.shape(y)[i] * (factor if i == axis else 1) for i in range(len(y.shape))]
            y = ops.reshape(ops.pad(apart, widths), shape)
        return y

    def zero_filled(self, data: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """What lies between the samples is missing: the encoder's mask says so, and all its fast paths stay."""
        return self._spread(data), self._spread(ops.ones_like(data) if mask is None else mask)

    def largest_eigenvalue(self, kernel: Tensor, strides: Shape, whole: Callable[[], Tensor]) -> Tensor:
        return whole()  # the samples that are kept are those of a signal

    def column_norms(self, kernel: Tensor) -> Tensor:
        """The largest norm of the kept samples of d_c over its positions."""
        rank = len(kernel.shape) - 2
        squares = ops.moveaxis(ops.sum(ops.square(kernel), axis=-2), -1, 0)[..., None]  # filters as signals
        for axis, (factor, _) in enumerate(self._sizes(rank), start=1):
            short = -squares.shape[axis] % factor
            squares = ops.pad(squares, [(0, short if i == axis else 0) for i in range(rank + 2)])
            shape = (*squares.shape[:axis], squares.shape[axis] // factor, factor, *squares.shape[axis + 1:])
            squares = ops.sum(ops.reshape(squares, shape), axis=axis)  # by phase
        return ops.sqrt(ops.max(squares, axis=tuple(range(1, rank + 2))))

    def get_config(self) -> dict[str, Any]:
        one = len(self.factor) == 1
        return {"factor": self.factor[0] if one else self.factor, "offset": self.offset[0] if one else self.offset}


@register_measurement("blur")
class Blur(Measurement):
    """Phi x = b * x, the convolution with a known kernel, the same for each channel: out of focus, a slow amplifier.

    Args:
        kernel: b, (samples,) or (height, width); a sum of 1 keeps the mean.
        boundary: "zero": data of the signal's size, beyond which the signal is 0 (as ``numpy.convolve(mode="same")``);
            "valid": the signal reaches beyond the data, by the kernel's size - 1, and is found there too, as
            photographs need it, whose scene does not end at the border.

    Raises:
        ValueError: a kernel of another shape, of zeros, or with values that are not finite.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_crsae.problem import Blur
        >>> blurred = Blur(np.ones(3) / 3).forward(keras.ops.reshape(keras.ops.array([0.0, 3, 0, 0]), (1, 4, 1)))
        >>> keras.ops.convert_to_numpy(blurred).ravel().round(3).tolist()
        [1.0, 1.0, 1.0, 0.0]
    """

    data_are_signals = True

    def __init__(self, kernel: Any, boundary: str = "zero") -> None:
        array = np.asarray(kernel)
        if array.dtype.kind not in "fiub" or array.ndim not in (1, 2) or not array.size:
            raise ValueError("`kernel` must hold real numbers, (samples,) or (height, width). Received: dtype "
                             f"{array.dtype}, shape {array.shape}")
        if not np.isfinite(array).all() or not array.any():
            raise ValueError(f"`kernel` must be finite and not all zero. Received: values from {array.min()} to "
                             f"{array.max()}")
        if boundary not in ("zero", "valid"):
            raise ValueError(f"`boundary` must be 'zero' or 'valid'. Received: {boundary!r}")
        self.kernel, self.boundary = array.astype(np.float32), boundary
        sizes = [64 * n for n in array.shape]
        largest = float(np.abs(np.fft.fftn(array.astype(np.float64), sizes, tuple(range(array.ndim)))).max())
        margin = math.prod(math.cos(math.pi * (n - 1) / m) for n, m in zip(array.shape, sizes, strict=True))
        #: Largest gain over all frequencies: of a polynomial's square on a grid, see ``operators.lipschitz``.
        self.norm = min(largest / math.sqrt(margin), float(np.abs(array.astype(np.float64)).sum()))

    def check(self, rank: int) -> None:
        if self.kernel.ndim != rank:
            raise ValueError(f"The kernel of a Blur must have {rank} axes, as the model's signals. Received: shape "
                             f"{self.kernel.shape}")

    def signal_space(self, space: Any) -> tuple[Any, ...]:
        more = [0] * self.kernel.ndim if self.boundary == "zero" else [k - 1 for k in self.kernel.shape]
        return tuple(None if n is None else n + m for n, m in zip(space, more, strict=True))

    def data_space(self, space: Any) -> tuple[Any, ...]:
        less = [0] * self.kernel.ndim if self.boundary == "zero" else [k - 1 for k in self.kernel.shape]
        return tuple(None if n is None else n - m for n, m in zip(space, less, strict=True))

    @property
    def padding(self) -> list[tuple[int, int]]:
        """Zeros before and after a signal on each axis, before a convolution of what fits whole."""
        if self.boundary == "valid":
            return [(0, 0)] * self.kernel.ndim
        return [(k - 1 - (k - 1) // 2, (k - 1) // 2) for k in self.kernel.shape]

    def forward(self, x: Tensor) -> Tensor:
        return self._correlate(x, np.flip(self.kernel), self.padding)

    def adjoint(self, y: Tensor) -> Tensor:
        padding = [(k - 1 - a, k - 1 - b) for k, (a, b) in zip(self.kernel.shape, self.padding, strict=True)]
        return self._correlate(y, self.kernel, padding)

    def _correlate(self, x: Tensor, kernel: np.ndarray, padding: list[tuple[int, int]]) -> Tensor:
        """Each channel correlated with the kernel."""
        channels, rank = x.shape[-1], kernel.ndim
        x = ops.pad(x, [(0, 0), *padding, (0, 0)])
        shape = ops.shape(x)
        if channels != 1:  # channels are signals of one channel
            x = ops.reshape(ops.moveaxis(x, -1, 1), (-1, *shape[1:-1], 1))
        weight = ops.convert_to_tensor(np.ascontiguousarray(kernel[..., None, None]), dtype=x.dtype)
        x = ops.conv(x, weight, strides=1, padding="valid", data_format="channels_last")
        if channels == 1:
            return x
        return ops.moveaxis(ops.reshape(x, (-1, channels, *ops.shape(x)[1:rank + 1])), 1, -1)

    def blurred_filters(self, kernel: Tensor) -> Tensor:
        """b * d_c of each filter, (*kernel_size + blur - 1, channels, filters)."""
        padding = [(k - 1, k - 1) for k in self.kernel.shape]
        return ops.moveaxis(self._correlate(ops.moveaxis(kernel, -1, 0), np.flip(self.kernel), padding), 0, -1)

    def column_norms(self, kernel: Tensor) -> Tensor:
        """Norms of b * d_c."""
        blurred = self.blurred_filters(kernel)
        return ops.sqrt(ops.sum(ops.square(blurred), axis=tuple(range(len(kernel.shape) - 1))))

    def largest_eigenvalue(self, kernel: Tensor, strides: Shape, whole: Callable[[], Tensor]) -> Tensor:
        """That of the blurred filters as a dictionary, or the norms' product where it is smaller."""
        blurred = lipschitz.largest_eigenvalue(self.blurred_filters(kernel), strides)
        return ops.minimum(ops.cast(blurred, kernel.dtype), ops.cast(self.norm**2 * whole(), kernel.dtype))

    def get_config(self) -> dict[str, Any]:
        return {"kernel": self.kernel.tolist(), "boundary": self.boundary}

    def __repr__(self) -> str:
        return f"Blur(kernel of {self.kernel.shape}, boundary={self.boundary!r})"
