"""Soft thresholding with a gradient of its own, which takes fewer passes over a large code."""

from __future__ import annotations

from collections.abc import Callable

from keras import ops

from keras_crsae.backend import custom_gradient, tf
from keras_crsae.typing import Tensor


@custom_gradient
def soft_threshold(x: Tensor, threshold: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """x - clip(x, -threshold, threshold): values move towards 0 by the threshold, and small ones become 0.

    Written as two ReLUs, a training step of ``CDLNet`` took a fifth more processor time: the gradient needs the result
    alone.

    Args:
        x: (batch, *positions, filters).
        threshold: not negative, broadcastable to x; infinite: the result is 0.

    Returns:
        Tensor of x's shape.

    Example:
        >>> from keras import ops
        >>> from keras_crsae.operators.shrinkage import soft_threshold
        >>> ops.convert_to_numpy(soft_threshold(ops.array([-3.0, 1.0, 3.0]), ops.array([2.0, 2.0, 1.0]))).tolist()
        [-1.0, 0.0, 2.0]
    """
    code = x - ops.clip(x, -threshold, threshold)

    def gradient(upstream: Tensor) -> tuple[Tensor, Tensor]:
        passed = tf.where(tf.equal(code, 0.0), tf.zeros_like(upstream), upstream)
        _, axes = tf.raw_ops.BroadcastGradientArgs(s0=tf.shape(x), s1=tf.shape(threshold))
        by_threshold = -tf.reduce_sum(passed * tf.sign(code), axes)
        return passed, tf.reshape(by_threshold, tf.shape(threshold))

    return code, gradient
