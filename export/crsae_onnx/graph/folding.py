"""An encoder's kernels folded into blocks: a dictionary of stride 1 with many channels (NumPy).

One block of S code positions and the S * stride samples under it become channels (the polyphase components of
Vaidyanathan, Multirate Systems and Filter Banks, 1993); convolutions of few channels become matrix products. The
values are those of the plain dictionary. ``keras_crsae.operators.polyphase`` is the same for tensors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from crsae_onnx.core.spec import CODE_PRIORS, EncoderSpec
from crsae_onnx.core.spec_parts import StepSearch

#: Channels of a vector of onnxruntime's blocked layout: 16 with AVX-512, 8 with AVX2.
LANES = 16
#: Most samples that an aligned block reads for each code position, as a share of those of the usual one.
MOST_READ = 1.35
#: Most numbers in the kernel of an aligned block, which the file holds twice: 1 MB. Many channels stay in the Loop.
MOST_WEIGHTS = 2**18


@dataclass(frozen=True)
class FoldedLayer:
    """Parameters of one iteration.

    Args:
        kernel: folded (*taps, prod(block * strides) * channels, prod(block) * filters).
        adjoint_kernel: folded filters of the adjoint where it is no transpose of D (LCSC); None: ``kernel``.
        step_size: of the iteration.
        scale: (filters,): its threshold is ``max(offset + scale * level, 0)``; times the signal's step size, where one
            is searched.
        offset: (filters,); None: zeros.
    """

    kernel: NDArray[np.float32]
    adjoint_kernel: NDArray[np.float32] | None
    step_size: float
    scale: NDArray[np.float64]
    offset: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class FoldedEncoder:
    """What the graph is made from.

    Args:
        layers: one FoldedLayer for all iterations, or one an iteration.
        decoder_kernel: folded as the layers' kernels are.
        kernel_size, strides, channels, filters: of the plain dictionary; the channels are those of the iterations.
        block: code positions an axis that one block holds.
        level: sigma where the file has no such input; of counts sigma^2, 1 / size.
        code_prior: "soft", "nonnegative_soft" or "signed_by_filter".
        momentum: (iterations,), FISTA's (t_k - 1) / t_{k+1}.
        check_every: iterations in one pass of the Loop; ``tolerance`` is compared after each pass.
        tolerance: relative change that ends the Loop; None: all iterations are done.
        half: whether convolutions are in float16.
        loop: whether the iterations are a Loop of the graph; False: all are written out.
        aligned: whether they are written out by ``graph.aligned``.
        likelihood: "gaussian", "poisson" or "binomial".
        size, baseline, search, signs, ridge: see ``EncoderSpec``.
        first_step: step size with which a search begins.
        subspace: (channels of the signal, ``channels``), by which the signal is multiplied first; None: not.
    """

    layers: tuple[FoldedLayer, ...]
    decoder_kernel: NDArray[np.float32]
    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    channels: int
    filters: int
    block: tuple[int, ...]
    level: float
    code_prior: str
    momentum: NDArray[np.float32]
    check_every: int
    tolerance: float | None
    half: bool = False
    loop: bool = True
    likelihood: str = "gaussian"
    size: float | NDArray[np.float64] = 1.0
    baseline: NDArray[np.float64] | None = None
    search: StepSearch | None = None
    first_step: float = 1.0
    subspace: NDArray[np.float32] | None = None
    signs: NDArray[np.int64] | None = None
    ridge: NDArray[np.float64] | None = None
    aligned: bool = False

    @property
    def signal_channels(self) -> int:
        """Channels of the file's signal."""
        return self.channels if self.subspace is None else len(self.subspace)


def fold_encoder(spec: EncoderSpec, tolerance: float | None = None, half: bool = False,
                 loop: bool = True, whole: bool = False, aligned: bool = False) -> FoldedEncoder:
    """An encoder with its kernels folded into blocks of ``smallest_block`` positions.

    Args:
        spec: EncoderSpec.
        tolerance: in place of the spec's; None: the spec's.
        half: whether convolutions are in float16.
        loop: whether the iterations are a Loop.
        whole: whether the iterations work on all channels also where the filters span few, as masks need it.
        aligned: fold into blocks of ``aligned_block`` positions and write the iterations out by ``graph.aligned``.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.spec import EncoderSpec
        >>> from crsae_onnx.core.spec_parts import StepSearch
        >>> from crsae_onnx.graph.folding import fold_encoder
        >>> filters = np.ones((45, 1, 3), "float32")
        >>> encoder = fold_encoder(EncoderSpec(filters, filters, (1,), 1.0, [1.0], 1.0, np.zeros(9), block=(16,)))
        >>> encoder.layers[0].kernel.shape
        (4, 15, 45)
    """
    counts = spec.size_name is not None
    subspace = None if whole or counts else spec.subspace
    channels = spec.channels if subspace is None else subspace.shape[1]
    wide = aligned_block(spec) if aligned else None
    block = (wide,) if wide else tuple(smallest_block(k, s, b) for k, s, b in
                                       zip(spec.kernel_size, spec.strides, _blocks(spec), strict=True))

    def fold(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
        kernel = kernel if subspace is None else \
            np.einsum("...cf,ci->...if", kernel, subspace, dtype=np.float64).astype(np.float32)
        return fold_kernel(kernel, spec.strides, block)

    step_size = 1.0 if spec.search is not None else spec.step_size
    if spec.layers:
        layers = tuple(FoldedLayer(fold(layer.kernel), fold(layer.adjoint_kernel), spec.step_size, layer.slope,
                                   layer.offset) for layer in spec.layers)
    else:
        adjoint = None if spec.adjoint_kernel is None else fold(spec.adjoint_kernel)
        scale = spec.lambda_reg * step_size if counts else spec.lambda_reg * spec.sigma * step_size
        layers = (FoldedLayer(fold(spec.kernel), adjoint, step_size, scale),)
    return FoldedEncoder(
        layers, fold(spec.decoder_kernel), spec.kernel_size, spec.strides, channels, spec.filters, block,
        spec.sigma**2 if counts else spec.sigma, spec.code_prior or "", spec.momentum, spec.check_every,
        spec.tolerance if tolerance is None else float(tolerance), half, loop and not wide, spec.likelihood or "",
        spec.size, spec.baseline, spec.search, spec.step_size, subspace, spec.signs, spec.ridge, bool(wide))


def _blocks(spec: EncoderSpec) -> tuple[int, ...]:
    return spec.block or (1,) * spec.rank


def aligned_block(spec: EncoderSpec) -> int | None:
    """Code positions of a block that makes whole vectors of ``LANES`` channels; None: a form that has none.

    That is: of signals, non-negative codes, one step size and threshold for all iterations, a block that reads little
    more samples than the usual one, and a kernel that is not large.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.spec import EncoderSpec
        >>> from crsae_onnx.graph.folding import aligned_block
        >>> filters = np.ones((45, 1, 3), "float32")
        >>> aligned_block(EncoderSpec(filters, filters, (1,), 1.0, [1.0], 1.0, np.zeros(9), block=(16,)))
        16
    """
    if spec.rank != 1 or spec.size_name is not None or spec.measurement is not None or spec.layers \
            or CODE_PRIORS.get(str(spec.code_prior), True):
        return None
    (size,), (stride,), channels = spec.kernel_size, spec.strides, \
        spec.channels if spec.subspace is None else spec.subspace.shape[1]
    usual, unit = smallest_block(size, stride, _blocks(spec)[0]), LANES // math.gcd(LANES, channels * stride,
                                                                                    spec.filters)
    block = -(-usual // unit) * unit
    reads, weights = taps(size, stride, block) * block, channels * stride * block * spec.filters
    return block if reads <= MOST_READ * taps(size, stride, usual) * usual and reads * weights <= MOST_WEIGHTS else None


def taps(kernel_size: int, stride: int, block: int) -> int:
    """Taps of the folded kernel on one axis: ceil(((block - 1) stride + kernel_size) / (block stride))."""
    return -(-((block - 1) * stride + kernel_size) // (block * stride))


def smallest_block(kernel_size: int, stride: int, block: int) -> int:
    """Smallest block with as many taps as ``block``: a power of two gains nothing in onnxruntime, padded taps cost.

    Example:
        >>> from crsae_onnx.graph.folding import smallest_block
        >>> smallest_block(45, 1, 16)
        15
    """
    most = taps(kernel_size, stride, block)
    return next(b for b in range(1, block + 1) if taps(kernel_size, stride, b) == most)


def fold_kernel(kernel: NDArray[np.float32], strides: tuple[int, ...], block: tuple[int, ...]) -> NDArray[np.float32]:
    """Kernel of the folded dictionary.

    Code position p of a block is a filter that begins p * stride samples after the block's first, so the folded filter
    of position p is the kernel moved by so much, read in rows of block * stride samples.

    Args:
        kernel: (*kernel_size, channels, filters).
        strides, block: one int an axis.

    Returns:
        (*taps, prod(block * strides) * channels, prod(block) * filters).
    """
    rank, (channels, filters) = len(strides), kernel.shape[-2:]
    period = [b * s for b, s in zip(block, strides, strict=True)]
    count = [taps(k, s, b) for k, s, b in zip(kernel.shape, strides, block, strict=False)]
    moved = np.zeros((*(t * p for t, p in zip(count, period, strict=True)), channels, *block, filters), kernel.dtype)
    for position in product(*map(range, block)):
        at = tuple(slice(p * s, p * s + k) for p, s, k in zip(position, strides, kernel.shape, strict=False))
        moved[(*at, slice(None), *position)] = kernel
    split = moved.reshape(*(n for pair in zip(count, period, strict=True) for n in pair), channels,
                          math.prod(block) * filters)
    rows = split.transpose(*range(0, 2 * rank, 2), *range(1, 2 * rank, 2), 2 * rank, 2 * rank + 1)
    return rows.reshape(*count, math.prod(period) * channels, math.prod(block) * filters)
