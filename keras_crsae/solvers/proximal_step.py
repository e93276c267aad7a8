"""One step of proximal gradient descent on the code, in as few passes over memory as the machine's kernels allow.

The step is ``shrink(w + step D^T (y - D w), threshold)``. On images at stride 1, and on signals written as images of
one row, both operators are plain convolutions (``D`` by the reversed kernel, padded), and TensorFlow's graph optimiser
makes ``relu(w + step D^T r - threshold)`` one kernel of oneDNN's where it meets exactly Conv2D, BiasAdd, AddN and Relu
in a row: AddN, whose summands need no proof of equal shapes. That kernel was 12 % faster than separate passes, and it
keeps memory in the operator: two calls at a time crashed or mixed their values (TensorFlow 2.21 with AVX-512). So it is
asked for where a graph serves one call at a time (``in_place``); elsewhere the order of operations avoids it.
A code that starts at zero takes its first step without ``D``, and the tail of the last block, which stays zero, is
written over in place: a multiplication by 0 and 1 everywhere took 6 % of the time.
"""

import tensorflow as tf
from keras import ops

from keras_crsae.operators.convolution import adjoint, is_thin, synthesis
from keras_crsae.problem.code_priors import shrink


def descent(signal, kernel, strides, step_size, threshold, shrinkage, observed=None, exists=None, tail=None,
            in_place=False):
    """The function ``w -> shrink(w + step D^T (y - D w), threshold)``.

    What depends on the kernel alone is computed here, once for all the steps that are then taken.

    Args:
        signal: (batch, *space, channels).
        kernel: (*kernel_size, channels, filters).
        strides: tuple of ints, one an axis; space must be whole strides.
        step_size: scalar tensor, 1 / L.
        threshold: (filters,), or broadcastable to the code.
        shrinkage: "soft" or "nonnegative_soft".
        observed: None, or 0/1 of the signal's shape: the samples that count.
        exists: None, or 0/1 broadcastable to the code: 0 where it stays 0.
        tail: None, or the code's ``last_filters`` that stay 0. Kept so by an operation that works in place, which
            converters to ONNX do not know.
        in_place: True where no two calls of the graph run at a time: the sum with w is made inside the convolution.

    Returns:
        Function of w, (batch, *positions, filters), or of None for the code 0.

    Example:
        >>> filters, zero = ops.ones((3, 1, 1)), ops.zeros((1, 2, 1))
        >>> step = descent(ops.ones((1, 4, 1)), filters, (1,), 0.5, ops.array([0.5]), "nonnegative_soft")
        >>> ops.convert_to_numpy(step(zero)).ravel().tolist()
        [1.0, 1.0]
    """
    rising = step_size * kernel  # the step scales the small kernel, not the large code
    as_bias = shrinkage == "nonnegative_soft" and len(threshold.shape) == 1
    if len(strides) == 2 and all(s == 1 for s in strides):
        bias = tf.broadcast_to(-threshold if as_bias else tf.zeros((), kernel.dtype), (kernel.shape[-1],))

        def rise(w, residual):
            made = tf.nn.conv2d(residual, rising, strides=1, padding="VALID")
            if in_place and w is not None:
                return tf.add_n([tf.nn.bias_add(made, bias), w])
            # The bias last: TensorFlow would make conv, bias and sum in this order one kernel by itself.
            return tf.nn.bias_add(made if w is None else w + made, bias)
    else:
        def rise(w, residual):
            moved = adjoint(residual, rising, strides)
            moved = moved if w is None else w + moved
            return moved - threshold if as_bias else moved

    explain = _residual(signal, kernel, strides)

    def descend(w):
        residual = signal if w is None else explain(w)
        moved = rise(w, residual if observed is None else observed * residual)
        code = ops.relu(moved) if as_bias else shrink(moved, threshold, shrinkage)
        code = code if exists is None else code * exists
        return code if tail is None else _write(code, tail)

    return descend


def last_filters(shape, count, dtype):
    """Where, in the last entry on the axis before them, the last ``count`` filters of a code lie: (start, zeros).

    Args:
        shape: of the code; entries may be tensors.
        count: int or integer tensor.
        dtype: of the code.
    """
    start = tf.stack([*(0,) * (len(shape) - 2), -1, shape[-1] - count])
    return start, tf.zeros(tf.stack([*shape[:-2], 1, count]), dtype)


def _write(code, part):
    start, values = part
    rank = len(code.shape)
    whole = 2**rank - 1  # a bit an axis
    return tf.raw_ops.TensorStridedSliceUpdate(input=code, begin=start, end=[0] * rank, strides=[1] * rank,
                                               value=values, begin_mask=whole >> 2, end_mask=whole)


def _residual(signal, kernel, strides):
    """The function ``w -> y - D w``."""
    if len(strides) != 2 or any(s != 1 for s in strides) or is_thin(kernel, strides):
        return lambda w: signal - synthesis(w, kernel, strides)
    reverse = -tf.transpose(tf.reverse(kernel, (0, 1)), (0, 1, 3, 2))
    padding = [[0, 0], *([n - 1, n - 1] for n in kernel.shape[:2]), [0, 0]]
    return lambda w: signal + tf.nn.conv2d(w, reverse, strides=1, padding=padding)
