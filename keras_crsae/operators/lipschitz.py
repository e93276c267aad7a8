"""The Lipschitz constant of the reconstruction's gradient: the largest eigenvalue of ``D^T D``.

At each frequency the strided, multichannel dictionary acts as a small matrix (its polyphase components
by its filters). The largest eigenvalue over a grid of M points an axis bounds the true one from below;
divided by cos(pi (K - 1) / M) for each axis it bounds it from above, since v^H A(w) v is a non-negative
trigonometric polynomial of degree K - 1 for every vector v.
"""

from __future__ import annotations

import math

from keras import ops

from keras_crsae.typing import Shape, Tensor

_SQUARINGS = 8  # lambda_max <= ||A^p||_F^(1/p) <= n^(1/(2p)) lambda_max with p = 2^8
_ROUNDING = 1e-5  # of float32 sums


def split_phases(kernel: Tensor, strides: Shape) -> tuple[Tensor, Shape]:
    """Split each kernel axis into (taps, stride); returns (taps..., phases * channels, filters)."""
    rank = len(strides)
    shape = tuple(kernel.shape)
    taps = tuple(-(-k // s) for k, s in zip(shape[:rank], strides, strict=True))
    kernel = ops.pad(kernel, [(0, t * s - k) for t, s, k in zip(taps, strides, shape, strict=False)] + [(0, 0)] * 2)
    split = [n for pair in zip(taps, strides, strict=True) for n in pair]
    kernel = ops.reshape(kernel, (*split, *shape[rank:]))
    order = [*range(0, 2 * rank, 2), *range(1, 2 * rank, 2), 2 * rank, 2 * rank + 1]
    kernel = ops.transpose(kernel, order)
    return ops.reshape(kernel, (*taps, math.prod(strides) * shape[rank], shape[-1])), taps


def frequency_response(phases: Tensor, taps: Shape, grid: Shape) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of the response, each (frequencies, phases, filters), by small DFT matrices."""
    real, imag = phases, None
    for axis, (k, m) in enumerate(zip(taps, grid, strict=True)):
        # The first axis needs half the circle only: a real kernel's response is symmetric.
        points = m // 2 + 1 if axis == 0 else m
        angle = -2.0 * math.pi / m * ops.outer(ops.arange(points, dtype=phases.dtype),
                                               ops.arange(k, dtype=phases.dtype))
        cos, sin = ops.cos(angle), ops.sin(angle)
        rotate = [(ops.moveaxis(ops.tensordot(basis, part, axes=[[1], [axis]]), 0, axis)
                   if part is not None else 0.0)
                  for basis, part in ((cos, real), (sin, imag), (sin, real), (cos, imag))]
        real, imag = rotate[0] - rotate[1], rotate[2] + rotate[3]
    shape = (-1, phases.shape[-2], phases.shape[-1])
    return ops.reshape(real, shape), ops.reshape(imag, shape)


def largest_eigenvalue(kernel: Tensor, strides: Shape) -> Tensor:
    """Upper bound, within 2 % on long signals, of the largest eigenvalue of ``D^T D``.

    Args:
        kernel: (*kernel_size, channels, filters), any real floating dtype.
        strides: tuple of ints, one an axis.

    Returns:
        Scalar L; ``1 / L`` is a step size for which ISTA and FISTA converge (Beck and Teboulle 2009).

    Example:
        >>> from keras import ops
        >>> from keras_crsae.operators.lipschitz import largest_eigenvalue
        >>> 1.0 <= float(largest_eigenvalue(ops.array([[[1.0]], [[0.0]]]), (1,))) < 1.02
        True
    """
    phases, taps = split_phases(kernel, strides)
    if all(t == 1 for t in taps):
        return matrix_eigenvalue(ops.reshape(phases, phases.shape[-2:]))
    size = min(phases.shape[-2], phases.shape[-1])
    per_tap = 32 if size == 1 else 16 * len(taps)
    # The polynomial's degree, k - 1, sets the margin: on images, where the grid is costly, no finer than that needs.
    degree = [max(k - 1, 1) if len(taps) == 2 and size > 1 else k for k in taps]
    grid = tuple(2 * math.ceil(per_tap * d / 2) for d in degree)
    real, imag = frequency_response(phases, taps, grid)
    if phases.shape[-2] > phases.shape[-1]:
        real, imag = ops.transpose(real, (0, 2, 1)), ops.transpose(imag, (0, 2, 1))
    margin = math.prod(math.cos(math.pi * (k - 1) / m) for k, m in zip(taps, grid, strict=True))
    if size == 1:
        return ops.max(ops.sum(ops.square(real) + ops.square(imag), axis=(1, 2))) / margin
    # A = H H^H with H = real + i imag, kept as its real and imaginary parts (A is Hermitian).
    real_t, imag_t = ops.transpose(real, (0, 2, 1)), ops.transpose(imag, (0, 2, 1))
    a = ops.matmul(real, real_t) + ops.matmul(imag, imag_t)
    b = ops.matmul(imag, real_t) - ops.matmul(real, imag_t)
    log_norm = ops.zeros((ops.shape(a)[0],), dtype=kernel.dtype)
    for i in range(_SQUARINGS + 1):
        norm = ops.sqrt(ops.sum(ops.square(a) + ops.square(b), axis=(1, 2))) + 1e-30
        log_norm = log_norm + ops.log(norm) / 2.0**i
        a, b = a / norm[:, None, None], b / norm[:, None, None]
        if i < _SQUARINGS:
            a, b = ops.matmul(a, a) - ops.matmul(b, b), ops.matmul(a, b) + ops.matmul(b, a)
    return ops.exp(ops.max(log_norm)) / margin


def matrix_eigenvalue(matrix: Tensor) -> Tensor:
    """Upper bound, within 2 %, of the largest eigenvalue of ``A^T A``: of filters that meet at one position only.

    Args:
        matrix: A, (values, filters).

    Example:
        >>> from keras import ops
        >>> from keras_crsae.operators.lipschitz import matrix_eigenvalue
        >>> 4.0 <= float(matrix_eigenvalue(ops.array([[2.0, 0.0], [0.0, 1.0]]))) < 4.08
        True
    """
    rows, columns = matrix.shape
    power = ops.matmul(matrix, ops.transpose(matrix)) if rows < columns else ops.matmul(ops.transpose(matrix), matrix)
    log_norm = ops.zeros((), dtype=matrix.dtype)
    for i in range(_SQUARINGS + 1):
        norm = ops.sqrt(ops.sum(ops.square(power))) + 1e-30
        log_norm = log_norm + ops.log(norm) / 2.0**i
        power = power / norm
        if i < _SQUARINGS:
            power = ops.matmul(power, power)
    return ops.exp(log_norm) * (1.0 + _ROUNDING)
