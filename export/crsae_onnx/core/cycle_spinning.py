"""Cycle spinning on a stride's grid: which pixels each shift of an image takes, and the mean over shifts (NumPy).

A code of stride s sees an image on a grid; the mean over the s^2 places of that grid sees it on all of them (Coifman
and Donoho, 1995; Simon and Elad, arXiv 1909.05742). Shift i (0 <= i < s) of an axis of n pixels is

    pixels s - k - i, ..., of number padded_length(n, k, s),    edges reflected,

so shifts of one image have one size and make one batch, every filter position that touches the image fits in, and the
image is found again at pixel k - s + i.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from crsae_onnx.core.validation import as_int


def padded_length(length: int, kernel: int, stride: int) -> int:
    """Pixels of one padded shift on one axis: every filter position of its grid that touches the image fits in.

    Example:
        >>> from crsae_onnx.core.cycle_spinning import padded_length
        >>> padded_length(60, kernel=8, stride=4)
        72
    """
    return -(-(length + kernel - stride - 1) // stride) * stride + kernel


def padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """(before, after) on one axis: from an image so padded every shift can be cut."""
    return kernel - 1, padded_length(length, kernel, stride) - length - (kernel - stride)


def all_shifts(strides: Sequence[int]) -> NDArray[np.int32]:
    """(count, 2) ints: every shift below the strides."""
    return np.array(list(product(*(range(s) for s in strides))), np.int32)


def spread_shifts(strides: Sequence[int], count: int | None = None) -> NDArray[np.int32]:
    """``count`` shifts that lie far from each other, (count, 2) ints; None: all of them.

    Each next one is the farthest from those before, on the torus of the stride's grid.

    Raises:
        ValueError: more shifts than there are, or none.

    Example:
        >>> from crsae_onnx.core.cycle_spinning import spread_shifts
        >>> spread_shifts((4, 4), 2).tolist()
        [[0, 0], [2, 2]]
    """
    shifts = all_shifts(strides)
    if count is None:
        return shifts
    count = as_int(count, "shifts", maximum=len(shifts))
    chosen = [0]
    distance = np.full(len(shifts), np.inf)
    while len(chosen) < count:
        apart = np.abs(shifts - shifts[chosen[-1]])
        apart = np.minimum(apart, np.array(strides) - apart)
        distance = np.minimum(distance, np.square(apart).sum(axis=1))
        distance[chosen] = -1
        chosen.append(int(distance.argmax()))
    return shifts[chosen]


def average_over_shifts(reconstruct: Callable[..., NDArray[np.floating]], images: NDArray[np.floating],
                        kernel_size: Sequence[int], strides: Sequence[int], shifts: NDArray[np.int32] | None = None,
                        mask: NDArray[np.floating] | None = None, largest_batch: int = 2**19) -> NDArray[np.float32]:
    """Mean of the reconstructions over shifts below the stride, edges reflected.

    Args:
        reconstruct: function from (batch, height, width, channels) to the same shape; called with ``mask=`` where one
            is given.
        images: (batch, height, width, channels).
        kernel_size, strides: of the model, two ints each.
        shifts: (count, 2) ints; None: all.
        mask: None or 0/1 of the images' shape.
        largest_batch: pixels that ``reconstruct`` is given at a time, at least one shift of all images.

    Returns:
        float32 of the images' shape.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.cycle_spinning import average_over_shifts
        >>> images = np.random.default_rng(0).random((1, 9, 7, 1))
        >>> bool(np.allclose(average_over_shifts(lambda y: y, images, (4, 4), (2, 2)), images))
        True
    """
    shifts = all_shifts(strides) if shifts is None else shifts
    space = images.shape[1:3]
    sizes = [padded_length(n, k, s) for n, k, s in zip(space, kernel_size, strides, strict=True)]
    pads = [(0, 0), *(padding(n, k, s) for n, k, s in zip(space, kernel_size, strides, strict=True)), (0, 0)]
    padded = np.pad(images, pads, mode="reflect")
    padded_mask = None if mask is None else np.pad(mask, pads, mode="reflect")
    total = np.zeros(images.shape, np.float64)
    together = max(1, largest_batch // (len(images) * sizes[0] * sizes[1]))
    for first in range(0, len(shifts), together):
        some = shifts[first:first + together]
        corners = [[s - 1 - int(i) for s, i in zip(strides, shift, strict=True)] for shift in some]

        def cut(array: NDArray[np.floating], corners: list[list[int]] = corners) -> NDArray[np.floating]:
            return np.concatenate([array[:, r:r + sizes[0], c:c + sizes[1]] for r, c in corners])

        batch = cut(padded)
        result = reconstruct(batch) if padded_mask is None else reconstruct(batch, mask=cut(padded_mask))
        for part, corner in zip(np.split(result, len(some)), corners, strict=True):
            row, column = (k - 1 - c for k, c in zip(kernel_size, corner, strict=True))
            total += part[:, row:row + space[0], column:column + space[1]]
    return (total / len(shifts)).astype(np.float32)
