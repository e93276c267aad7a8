"""The dictionary as a linear operator: synthesis ``D z`` and its adjoint ``D^T y``.

Rank is read from the kernel, ``(*kernel_size, channels, filters)``: one code path serves signals
(batch, time, channels) and images (batch, height, width, channels). Model: Tolooshams, Dey, Ba,
arXiv 1904.08827, section II (y = sum_c h_c * x_c + v).
"""

from __future__ import annotations

from collections.abc import Callable

from keras import ops

from keras_crsae.backend import IS_TENSORFLOW, custom_gradient, tf
from keras_crsae.typing import Shape, Tensor

#: Up to this many channels and from this many taps an axis, thin images are synthesised by a matrix product.
_THIN_CHANNELS, _THIN_TAPS = 8, 3


def code_length(length: Tensor, kernel: int, stride: int) -> Tensor:
    """Code positions of a signal of ``length`` samples on one axis: ceil((length - kernel) / stride) + 1."""
    return (length - kernel + stride - 1) // stride + 1


def signal_length(length: Tensor, kernel: int, stride: int) -> Tensor:
    """Samples that ``length`` code positions span on one axis: (length - 1) * stride + kernel."""
    return (length - 1) * stride + kernel


def adjoint(signal: Tensor, kernel: Tensor, strides: Shape) -> Tensor:
    """Correlate a signal with every filter: ``D^T y``.

    Args:
        signal: (batch, *space, channels).
        kernel: (*kernel_size, channels, filters).
        strides: tuple of ints, one an axis.

    Returns:
        (batch, *positions, filters); samples past the last whole stride are not seen.

    Example:
        >>> from keras import ops
        >>> from keras_crsae.operators.convolution import adjoint
        >>> tuple(adjoint(ops.ones((2, 100, 1)), ops.ones((9, 1, 3)), (1,)).shape)
        (2, 92, 3)
    """
    return ops.conv(signal, kernel, strides=strides, padding="valid", data_format="channels_last")


def synthesis(code: Tensor, kernel: Tensor, strides: Shape) -> Tensor:
    """Sum the filters placed at the code's positions: ``D z``.

    Args:
        code: (batch, *positions, filters).
        kernel: (*kernel_size, channels, filters).
        strides: tuple of ints, one an axis, none larger than the kernel.

    Returns:
        (batch, *space, channels), space = (positions - 1) * stride + kernel size.

    Example:
        >>> from keras import ops
        >>> from keras_crsae.operators.convolution import synthesis
        >>> tuple(synthesis(ops.ones((2, 92, 3)), ops.ones((9, 1, 3)), (1,)).shape)
        (2, 100, 1)
    """
    if IS_TENSORFLOW and is_thin(kernel, strides):
        return _thin_synthesis(code, kernel)
    return ops.conv_transpose(code, kernel, strides=strides, padding="valid", data_format="channels_last")


def is_thin(kernel: Tensor, strides: Shape) -> bool:
    """Whether ``synthesis`` gives images of so few channels that a matrix product and sums beat a convolution."""
    return len(strides) == 2 and all(s == 1 for s in strides) and kernel.shape[-2] <= _THIN_CHANNELS \
        and min(kernel.shape[:2]) >= _THIN_TAPS


@custom_gradient
def _thin_synthesis(code: Tensor, kernel: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """``synthesis`` of images of few channels: one matrix product, then shifted sums, rows first.

    A transposed convolution onto few channels ran 1.4 to 5 times slower; its gradients are ordinary convolutions,
    and those are fast.
    """
    rows, columns, channels, filters = kernel.shape
    batch, height, width = tf.unstack(tf.shape(code)[:3])
    weight = tf.reshape(tf.transpose(kernel, (3, 0, 1, 2)), (filters, -1))
    spread = tf.reshape(tf.matmul(tf.reshape(code, (-1, filters)), weight),
                        (batch, height, width, rows, columns * channels))
    image = tf.add_n([tf.pad(spread[:, :, :, i], [[0, 0], [i, rows - 1 - i], [0, 0], [0, 0]]) for i in range(rows)])
    image = tf.reshape(image, (batch, height + rows - 1, width, columns, channels))
    image = tf.add_n([tf.pad(image[:, :, :, i], [[0, 0], [0, 0], [i, columns - 1 - i], [0, 0]])
                      for i in range(columns)])

    def gradient(upstream: Tensor) -> tuple[Tensor, Tensor]:
        by_kernel = tf.raw_ops.Conv2DBackpropFilter(
            input=upstream, filter_sizes=kernel.shape, out_backprop=code, strides=[1, 1, 1, 1], padding="VALID")
        return adjoint(upstream, kernel, (1, 1)), by_kernel

    return image, gradient
