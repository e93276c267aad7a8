"""Only so many values of a code: what ``SparseCoding(top_k=)`` keeps."""

from __future__ import annotations

import math

from keras import ops

from keras_crsae.typing import Shape, Tensor


def keep_largest(code: Tensor, count: int, group_axes: Shape = ()) -> Tensor:
    """A code with the ``count`` values of largest magnitude of each filter in each signal, the others 0.

    Values that are equal to the last of these are kept too.

    Args:
        code: (batch, *positions, filters).
        count: values a filter and signal, at least 1.
        group_axes: axes of positions whose values are one (``CodePrior.group_axes``): ``count`` groups, the largest by
            their norms, are then kept whole.

    Returns:
        Tensor of the code's shape; its gradient is that of the values which are kept.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.layers.largest_values import keep_largest
        >>> code = np.array([1.0, -3.0, 2.0, 0.5]).reshape(1, 4, 1)
        >>> np.asarray(keep_largest(code, 2)).ravel().tolist()
        [0.0, -3.0, 2.0, 0.0]
    """
    code = ops.convert_to_tensor(code)
    size = ops.stop_gradient(ops.abs(code))
    if group_axes:
        size = ops.sqrt(ops.sum(ops.square(size), axis=group_axes, keepdims=True))
    shape = ops.shape(size)
    positions = math.prod(shape[1:-1])
    ranked = ops.reshape(ops.moveaxis(size, -1, 1), (shape[0], shape[-1], positions))
    most = min(count, positions) if isinstance(positions, int) else ops.minimum(count, positions)
    least = ops.top_k(ranked, most)[0][..., -1]
    least = ops.reshape(least, (shape[0],) + (1,) * (len(shape) - 2) + (shape[-1],))
    return code * ops.cast(size >= least, code.dtype)
