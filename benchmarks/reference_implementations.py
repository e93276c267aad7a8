"""The same algorithm as anybody would write it first: convolutions and transposed convolutions, no fast path.

These are what the speed of the package is measured against, so each is the usual form of its library, compiled where
the library has a compiler that helps it (tf.function), and nothing is added that would slow it.
"""

import numpy as np


def lipschitz(filters):
    """Largest eigenvalue of D^T D for one channel at stride 1, from the filters' spectra (an upper bound)."""
    rank = filters.ndim - 2
    grid = [32 * k for k in filters.shape[:rank]]
    spectrum = np.abs(np.fft.fftn(np.asarray(filters, np.float64), grid, axes=range(rank))) ** 2
    margin = np.prod([np.cos(np.pi * (k - 1) / m) for k, m in zip(filters.shape, grid, strict=False)])
    return float(spectrum.sum(axis=(-2, -1)).max() / margin)


def momenta(iterations):
    """FISTA's extrapolation factors (t_k - 1) / t_{k+1} from t_0 = 1."""
    t, out = 1.0, []
    for _ in range(iterations):
        following = (1 + np.sqrt(1 + 4 * t * t)) / 2
        out.append((t - 1) / following)
        t = following
    return out


def padding(shape, kernel_size, strides):
    """Samples to add on the right of each axis so that the strides end with the signal."""
    return [(s - (n - k) % s) % s for n, k, s in zip(shape, kernel_size, strides, strict=True)]


def numpy_fista(filters, lambda_reg, iterations):
    """windows (windows, samples) -> code (windows, positions, filters), scipy's fftconvolve in float32."""
    from scipy.signal import fftconvolve

    kernels = np.moveaxis(np.asarray(filters, np.float32)[:, 0], -1, 0)
    step = np.float32(1 / lipschitz(filters))
    factors = np.asarray(momenta(iterations), np.float32)

    def encode(signal):
        code = w = np.zeros((len(kernels), signal.shape[0], signal.shape[1] - kernels.shape[1] + 1), np.float32)
        for factor in factors:
            residual = sum(fftconvolve(w[c], kernels[c][None], axes=1) for c in range(len(kernels))) - signal
            gradient = np.stack([fftconvolve(residual, d[None, ::-1], mode="valid", axes=1) for d in kernels])
            new = np.maximum(w - step * gradient - step * np.float32(lambda_reg), 0)
            w, code = new + factor * (new - code), new
        return np.moveaxis(code, 0, -1)

    return encode


def keras_fista(signal, kernel, step, threshold, iterations, strides, unroll, mask=None):
    """Code of a signal by keras.ops.conv and conv_transpose; to be called inside a tf.function."""
    from keras import ops

    def iterate(code, w, t):
        residual = ops.conv_transpose(w, kernel, strides=strides, padding="valid") - signal
        residual = residual if mask is None else residual * mask
        new = ops.relu(w - step * ops.conv(residual, kernel, strides=strides, padding="valid") - step * threshold)
        following = (1.0 + ops.sqrt(1.0 + 4.0 * t * t)) / 2.0
        return new, new + (t - 1.0) / following * (new - code), following

    space = [(n - k) // s + 1 for n, k, s in zip(signal.shape[1:-1], kernel.shape, strides, strict=False)]
    zero = ops.zeros((signal.shape[0], *space, kernel.shape[-1]))
    state = (zero, zero, ops.ones(()))
    if unroll:
        for _ in range(iterations):
            state = iterate(*state)
        return state[0]
    return ops.while_loop(lambda *_: True, iterate, state, maximum_iterations=iterations)[0]


def keras_encoder(filters, lambda_reg, iterations, shape, strides=1, unroll=False, step=None, xla=False):
    """A compiled encoder for signals of one shape (batch, *space, channels), NumPy in and out.

    ``step`` None: 1 / L at stride 1, from the filters' spectra.
    """
    import tensorflow as tf

    rank = filters.ndim - 2
    strides = (strides,) * rank
    missing = padding(shape[1:-1], filters.shape[:rank], strides)
    widths = [(0, 0), *((0, m) for m in missing), (0, 0)]
    kernel = tf.constant(filters, tf.float32)
    step = tf.constant(step or 1 / lipschitz(filters), tf.float32)
    mask = tf.pad(tf.ones(shape), widths) if any(missing) else None

    @tf.function(jit_compile=xla, input_signature=[tf.TensorSpec(shape, tf.float32)])
    def encode(signal):
        signal = tf.pad(signal, widths) if any(missing) else signal
        return keras_fista(signal, kernel, step, lambda_reg, iterations, strides, unroll, mask)

    return lambda signal: encode(tf.convert_to_tensor(signal)).numpy()


def torch_fista(signal, weight, step, threshold, factors, strides):
    """Code of a channels-first signal by PyTorch's conv and conv_transpose."""
    import torch
    import torch.nn.functional as functional

    rank = weight.ndim - 2
    conv = (functional.conv1d, functional.conv2d)[rank - 1]
    transpose = (functional.conv_transpose1d, functional.conv_transpose2d)[rank - 1]
    space = [(n - k) // s + 1 for n, k, s in zip(signal.shape[2:], weight.shape[2:], strides, strict=True)]
    code = w = signal.new_zeros((signal.shape[0], weight.shape[0], *space))
    for factor in factors:
        residual = transpose(w, weight, stride=strides) - signal
        new = torch.relu(w - step * conv(residual, weight, stride=strides) - step * threshold)
        w, code = new + factor * (new - code), new
    return code


def torch_weight(filters):
    """(*kernel_size, channels, filters) as PyTorch's (filters, channels, *kernel_size)."""
    import torch

    rank = filters.ndim - 2
    return torch.tensor(np.ascontiguousarray(np.transpose(filters, (rank + 1, rank, *range(rank)))),
                        dtype=torch.float32)


def torch_encoder(filters, lambda_reg, iterations, threads, step=None):
    """Encoder at stride 1, channels last in and out; ImportError without PyTorch."""
    import torch

    torch.set_num_threads(threads)
    rank = filters.ndim - 2
    weight, step, factors = torch_weight(filters), step or 1 / lipschitz(filters), momenta(iterations)

    def encode(signal):
        with torch.inference_mode():
            moved = torch.from_numpy(np.ascontiguousarray(np.moveaxis(signal, -1, 1)))
            code = torch_fista(moved, weight, step, lambda_reg, factors, (1,) * rank)
            return np.moveaxis(code.numpy(), 1, -1)

    return encode
