"""Cycle spinning in TensorFlow: shifts of images cut as one batch, and the mean of what was computed on them.

Which pixels a shift takes is written in ``crsae_onnx.core.cycle_spinning``.
"""

import math

import numpy as np
import tensorflow as tf
from crsae_onnx.core.cycle_spinning import all_shifts, padded_length, padding

__all__ = ["cut_shifts", "mean_of_shifts", "random_shifts"]


def random_shifts(strides, count, seed):
    """``count`` different shifts, int32 tensor (count, 2), from a stateless ``seed`` (2,)."""
    every = tf.constant(all_shifts(strides))
    order = tf.argsort(tf.random.stateless_uniform((math.prod(strides),), seed))
    return tf.gather(every, order[:count])


def cut_shifts(images, shifts, kernel_size, strides):
    """Padded shifts of images as one batch, shift by shift.

    Args:
        images: tensor (batch, height, width, channels).
        shifts: (count, 2) ints, tensor or array.
        kernel_size, strides: of the model, two ints each.

    Returns:
        (count * batch, padded height, padded width, channels).
    """
    space = [int(n) if n is not None else tf.shape(images)[axis] for axis, n in ((1, images.shape[1]),
                                                                                 (2, images.shape[2]))]
    sizes = [padded_length(n, k, s) for n, k, s in zip(space, kernel_size, strides, strict=True)]
    pads = [padding(n, k, s) for n, k, s in zip(space, kernel_size, strides, strict=True)]
    padded = tf.pad(images, [(0, 0), *pads, (0, 0)], mode="REFLECT")
    corner = np.array(strides, np.int32) - 1
    cut = []
    for shift in tf.unstack(tf.convert_to_tensor(shifts, tf.int32)):
        begin = tf.concat([[0], corner - shift, [0]], axis=0)
        cut.append(tf.slice(padded, begin, tf.stack([-1, *sizes, -1])))
    made = tf.concat(cut, axis=0)
    return tf.ensure_shape(made, (None, *(n if isinstance(n, int) else None for n in sizes), images.shape[-1]))


def mean_of_shifts(made, shifts, space, kernel_size, strides):
    """Mean of what was made of ``cut_shifts``, each moved back to its place.

    Args:
        made: (count * batch, padded height, padded width, channels).
        shifts: (count, 2) ints, those that were cut.
        space: (height, width) of the images.
        kernel_size, strides: of the model.

    Returns:
        (batch, height, width, channels).
    """
    shifts = tf.convert_to_tensor(shifts, tf.int32)
    least = np.array(kernel_size, np.int32) - np.array(strides, np.int32)
    parts = [tf.slice(part, tf.concat([[0], least + shift, [0]], axis=0), tf.stack([-1, *space, -1]))
             for part, shift in zip(tf.split(made, shifts.shape[0]), tf.unstack(shifts), strict=True)]
    return tf.add_n(parts) / len(parts)
