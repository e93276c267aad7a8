"""The dictionary as a linear operator: synthesis ``D z`` and its adjoint ``D^T y``.

Rank is read from the kernel, ``(*kernel_size, channels, filters)``: one code path serves signals
(batch, time, channels) and images (batch, height, width, channels). Model: Tolooshams, Dey, Ba,
arXiv 1904.08827, section II (y = sum_c h_c * x_c + v).
"""

from keras import ops


def code_length(length, kernel, stride):
    """Code positions of a signal of ``length`` samples on one axis: ceil((length - kernel) / stride) + 1."""
    return (length - kernel + stride - 1) // stride + 1


def signal_length(length, kernel, stride):
    """Samples that ``length`` code positions span on one axis: (length - 1) * stride + kernel."""
    return (length - 1) * stride + kernel


def adjoint(signal, kernel, strides):
    """Correlate a signal with every filter: ``D^T y``.

    Args:
        signal: (batch, *space, channels).
        kernel: (*kernel_size, channels, filters).
        strides: tuple of ints, one an axis.

    Returns:
        (batch, *positions, filters); samples past the last whole stride are not seen.
    """
    return ops.conv(signal, kernel, strides=strides, padding="valid", data_format="channels_last")


def synthesis(code, kernel, strides):
    """Sum the filters placed at the code's positions: ``D z``.

    Args:
        code: (batch, *positions, filters).
        kernel: (*kernel_size, channels, filters).
        strides: tuple of ints, one an axis, none larger than the kernel.

    Returns:
        (batch, *space, channels), space = (positions - 1) * stride + kernel size.
    """
    return ops.conv_transpose(code, kernel, strides=strides, padding="valid", data_format="channels_last")
