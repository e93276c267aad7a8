"""All shifts of an image below the stride: cutting them, and averaging what a strided code makes of them.

A code of stride s sees an image on a grid; the mean over the s^2 places of that grid sees it on all of them
(Simon and Elad, arXiv 1909.05742). Each shift is padded to a whole number of strides, by reflection and no further
than the filters that touch the image reach, so shifts of one image have one size and make one batch.
"""

import itertools
import math

import numpy as np
import tensorflow as tf
from crsae_onnx.core.validation import as_int


def padded_length(length, kernel, stride):
    """Pixels of one padded shift on one axis: every filter position of its grid that touches the image fits in.

    Example:
        >>> padded_length(60, kernel=8, stride=4)
        72
    """
    return -(-(length + kernel - stride - 1) // stride) * stride + kernel


def padding(length, kernel, stride):
    """(before, after) on one axis: from an image so padded every shift can be cut."""
    before = kernel - 1
    return before, padded_length(length, kernel, stride) - length - (kernel - stride)


def all_shifts(strides):
    """(count, 2) ints: every shift below the strides."""
    return np.array(list(itertools.product(*(range(s) for s in strides))), np.int32)


def spread_shifts(strides, count=None):
    """``count`` shifts that lie far from each other, (count, 2) ints; None: all of them.

    Each next one is the farthest from those before, on the torus of the stride's grid.

    Raises:
        ValueError: more shifts than there are, or none.

    Example:
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
