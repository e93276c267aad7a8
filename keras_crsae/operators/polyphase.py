"""The dictionary on blocks: S code positions (and the S * stride samples under them) folded into channels.

A convolution with one input channel is a thin matrix product, and machines multiply thick ones. Folded, the
dictionary is again a convolutional dictionary: stride 1, ``taps = ceil(((S - 1) stride + K) / (S stride))`` taps,
``S stride * channels`` channels, ``S * filters`` filters (the polyphase components of Vaidyanathan, Multirate
Systems and Filter Banks, 1993). So ``synthesis``, ``adjoint`` and the solver run on it as they are. Signal and code
are folded once before the iterations and unfolded once after; the values are those of the plain path. A block of one
position and a stride above 1 is space-to-depth by the stride.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from crsae_onnx.core.validation import as_positive_int
from keras import ops

from keras_crsae.operators.convolution import adjoint, synthesis
from keras_crsae.typing import Shape, Tensor


def taps(kernel: int, stride: int, block: int) -> int:
    """Taps of the folded kernel on one axis."""
    return -(-((block - 1) * stride + kernel) // (block * stride))


def blocks(positions: Tensor, block: int) -> Tensor:
    """Blocks that hold ``positions`` code positions on one axis (int or integer tensor)."""
    return (positions + block - 1) // block


def fold_kernel(kernel: Tensor, strides: Shape, block: Shape) -> Tensor:
    """Kernel of the folded dictionary, differentiable.

    Args:
        kernel: (*kernel_size, channels, filters).
        strides, block: tuples of ints, one an axis.

    Returns:
        (*taps, prod(block * strides) * channels, prod(block) * filters).
    """
    rank = len(strides)
    folded_taps: list[int] = []
    for k, s, b in zip(kernel.shape[:rank], strides, block, strict=True):
        t, rest = taps(k, s, b), tuple(kernel.shape[1:])
        length = t * b * s
        # Row i of (b, length) is the kernel moved right by i * s: a signal of period length + s, read in rows.
        kernel = ops.pad(kernel, [(0, length + s - k)] + [(0, 0)] * len(rest))
        kernel = ops.tile(kernel, (b,) + (1,) * len(rest))[:b * length]
        kernel = ops.moveaxis(ops.reshape(kernel, (b, t, b * s, *rest)), (0, 1, 2), (-3, -2, -1))
        folded_taps.append(t)
    channels, filters = kernel.shape[:2]  # (channels, filters, *(block, taps, period) an axis)
    axis = range(2, 2 + 3 * rank, 3)
    kernel = ops.transpose(kernel, (*(i + 1 for i in axis), *(i + 2 for i in axis), 0, *axis, 1))
    period = math.prod(strides) * math.prod(block)
    return ops.reshape(kernel, (*folded_taps, period * channels, math.prod(block) * filters))


def fold(array: Tensor, period: Shape) -> Tensor:
    """Fold ``period`` entries of each spatial axis into channels: (batch, *space, c) -> (batch, *blocks, prod * c).

    Every axis must hold a whole number of periods.
    """
    shape, rank = ops.shape(array), len(period)
    split = [shape[0]]
    for n, p in zip(shape[1:-1], period, strict=True):
        split += [n // p, p]
    array = ops.reshape(array, (*split, shape[-1]))
    if rank == 2:
        array = ops.transpose(array, (0, 1, 3, 2, 4, 5))
    return ops.reshape(array, (shape[0], *split[1::2], math.prod(period) * array.shape[-1]))


def unfold(array: Tensor, period: Shape) -> Tensor:
    """Inverse of ``fold``."""
    shape, rank = ops.shape(array), len(period)
    channels = array.shape[-1] // math.prod(period)
    if rank == 2:
        array = ops.reshape(array, (*shape[:-1], *period, channels))
        array = ops.transpose(array, (0, 1, 3, 2, 4, 5))
    # -1: OpenVINO takes a batch that it has traced as 1 for one that is always 1.
    return ops.reshape(array, (-1, *(n * p for n, p in zip(shape[1:-1], period, strict=True)), channels))


def pad_to(array: Tensor, space: Sequence[Tensor]) -> Tensor:
    """Zeros on the right of each spatial axis up to ``space`` entries."""
    widths = [(0, want - n) for n, want in zip(ops.shape(array)[1:-1], space, strict=True)]
    if all(isinstance(w, int) and w == 0 for _, w in widths):
        return array
    return ops.pad(array, [(0, 0), *widths, (0, 0)])


def block_adjoint(signal: Tensor, folded_kernel: Tensor, strides: Shape, block: Shape,
                  positions: Sequence[Tensor]) -> Tensor:
    """``D^T y`` by the folded kernel: (batch, *space, channels) -> (batch, *positions, filters)."""
    period = tuple(b * s for b, s in zip(block, strides, strict=True))
    space = [(blocks(m, b) + t - 1) * p
             for m, b, t, p in zip(positions, block, folded_kernel.shape, period, strict=False)]
    # Samples past the last whole position may be more than the blocks cover.
    seen = tuple(slice(0, n) for n in space)
    folded = fold(pad_to(signal[(slice(None), *seen)], space), period)
    code = unfold(adjoint(folded, folded_kernel, (1,) * len(block)), block)
    return code[(slice(None), *(slice(0, m) for m in positions))]


def block_synthesis(code: Tensor, folded_kernel: Tensor, strides: Shape, block: Shape) -> Tensor:
    """``D z`` by the folded kernel: (batch, *positions, filters) -> (batch, *space, channels)."""
    positions = ops.shape(code)[1:-1]
    period = tuple(b * s for b, s in zip(block, strides, strict=True))
    folded = fold(pad_to(code, [blocks(m, b) * b for m, b in zip(positions, block, strict=True)]), block)
    return unfold(synthesis(folded, folded_kernel, (1,) * len(block)), period)


def resolve_block(block_size: int | str, kernel_size: Shape, strides: Shape, channels: int) -> Shape | None:
    """Block an axis as a tuple, or None for the plain path, from "auto" or a positive int."""
    if block_size == "auto":
        block = choose_block(kernel_size, strides, channels)
        return None if all(n == 1 for n in (*block, *strides)) else block
    block_size = as_positive_int(block_size, "block_size")
    return None if block_size == 1 else (block_size,) * len(kernel_size)


def choose_block(kernel_size: Shape, strides: Shape, channels: int) -> Shape:
    """Block size an axis by a cost model fitted to measured times (``benchmarks/block_size_choice.py``).

    Time a position is close to ``work * (1 + 11 / rows)``: ``work``, the folded samples under a position
    (``taps * block * stride`` an axis; a larger block pads the kernel with more zeros), and ``rows``, the folded
    channels: with few, a convolution moves data more than it multiplies, at a cost of about 11 channels. The number
    of filters hardly matters. The least over the powers of two up to 32 (signals) or 8 (images) is taken; a larger
    block must win by a tenth, since it also pads more of the signal. An axis with kernels of one sample and stride 1
    stays as it is: its blocks would multiply by zeros alone.

    Args:
        kernel_size, strides: tuples of ints, one an axis.
        channels: int.

    Returns:
        Tuple of ints, the same number on each axis that is folded.

    Example:
        >>> from keras_crsae.operators.polyphase import choose_block
        >>> choose_block((45,), (1,), channels=1), choose_block((7, 7), (5, 5), channels=1)
        ((16,), (1, 1))
    """
    wide = [(k, s) for k, s in zip(kernel_size, strides, strict=True) if (k, s) != (1, 1)]
    rank, least, best = len(wide), math.inf, 1
    for exponent in range(6 if rank == 1 else 4):
        block = 2**exponent
        work = math.prod(taps(k, s, block) * block * s for k, s in wide)
        rows = block**rank * math.prod(strides) * channels
        cost = work * (1.0 + 11.0 / rows)
        if cost < 0.9 * least:
            least, best = cost, block
    return tuple(1 if (k, s) == (1, 1) else best for k, s in zip(kernel_size, strides, strict=True))
