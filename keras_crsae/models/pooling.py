"""What a linear head sees of a code: all of it, or means over positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from crsae_onnx.core.validation import as_sizes
from keras import ops

from keras_crsae.typing import Shape, Tensor


@dataclass(frozen=True)
class Pooling:
    """Means of the code over regions, or over all positions; linear, so that certificates hold.

    Args:
        kind: None (the whole code), "mean" (over all positions), or "regions".
        sizes: positions of a region on each axis; 1 on all axes for None.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.models.pooling import as_pooling
        >>> pooling = as_pooling(2, rank=1)
        >>> np.asarray(pooling.pool(np.arange(5.0, dtype="float32").reshape(1, 5, 1))).tolist()
        [[0.5, 2.5]]
        >>> pooling.spread(np.array([[1.0], [2.0]]), (5,), 1).ravel().tolist()
        [0.5, 0.5, 1.0, 1.0, 0.0]
    """

    kind: str | None
    sizes: Shape

    @property
    def any_size(self) -> bool:
        """Whether codes of any number of positions will do."""
        return self.kind == "mean"

    def features(self, positions: Shape, filters: int) -> int:
        """Values that the head sees of a code of so many positions and filters.

        Raises:
            ValueError: regions that are larger than the code.
        """
        if self.any_size:
            return filters
        if any(m < p for m, p in zip(positions, self.sizes, strict=True)):
            raise ValueError(f"The regions of `pooling` are larger than the code of {positions} positions. "
                             f"Received: pooling={self.sizes}")
        return int(np.prod([m // p for m, p in zip(positions, self.sizes, strict=True)])) * filters

    def pool(self, code: Tensor) -> Tensor:
        """(batch, *positions, filters) -> (batch, features); positions that fill no whole region are left out."""
        if self.any_size:
            return ops.mean(code, axis=tuple(range(1, len(code.shape) - 1)))
        if self.kind is not None:
            code = ops.average_pool(code, self.sizes, strides=self.sizes, padding="valid",
                                    data_format="channels_last")
        return ops.reshape(code, (-1, int(np.prod(code.shape[1:]))))

    def spread(self, kernel: np.ndarray, positions: Shape, filters: int) -> np.ndarray:
        """The head's kernel (features, classes) on the code itself: (*positions, filters, classes)."""
        classes = kernel.shape[-1]
        if self.any_size:
            return np.broadcast_to(kernel / np.prod(positions), (*positions, filters, classes)).copy()
        cells = [m // p for m, p in zip(positions, self.sizes, strict=True)]
        spread = kernel.reshape(*cells, filters, classes) / np.prod(self.sizes)
        for axis, size in enumerate(self.sizes):
            spread = np.repeat(spread, size, axis=axis)
        weights = np.zeros((*positions, filters, classes))
        weights[tuple(slice(0, n) for n in spread.shape[:len(positions)])] = spread
        return weights


def as_pooling(pooling: Any, rank: int) -> Pooling:
    """The ``Pooling`` that None, "mean", an int or a tuple of ints stands for.

    Raises:
        ValueError: anything else.
    """
    if pooling is None or isinstance(pooling, str) and pooling == "mean":
        return Pooling(pooling, (1,) * rank)
    if isinstance(pooling, str):
        raise ValueError(f"`pooling` must be None, 'mean', or sizes of regions. Received: pooling={pooling!r}")
    return Pooling("regions", as_sizes(pooling, rank, "pooling"))
