"""Noise models of the data: the one place where a likelihood is spelt out."""

import math

from keras import ops


def observation_mask(mask, signal):
    """0/1 mask of ``signal``'s shape and dtype from any real mask, or None.

    Args:
        mask: None, or bool, int or float, broadcastable to ``signal``; without the channel axis, that is
            (batch, *space), it holds for every channel.
        signal: (batch, *space, channels).
    """
    if mask is None:
        return None
    mask = ops.cast(mask, signal.dtype)
    if len(mask.shape) == len(signal.shape) - 1:
        mask = ops.expand_dims(mask, -1)
    return ops.broadcast_to(mask, ops.shape(signal))


class Gaussian:
    """White Gaussian noise, y = D z + v with v ~ N(0, sigma^2) (arXiv 1904.08827, section II).

    Example:
        >>> float(Gaussian().negative_log_likelihood(ops.zeros((1, 4, 1)), ops.ones((1, 4, 1)), sigma=1.0)[0])
        5.675754...
    """

    def residual(self, target, prediction, mask=None):
        """Observed part of ``target - prediction``: minus the gradient of the loss by ``prediction``, times sigma^2.

        Args:
            target, prediction: (batch, *space, channels).
            mask: None or 0/1, broadcastable to target; 0 marks a missing sample.
        """
        difference = target - prediction
        return difference if mask is None else mask * difference

    def negative_log_likelihood(self, target, prediction, sigma, mask=None):
        """Negative log likelihood of each example, (batch,), over its observed samples, in nats.

        Args:
            target, prediction: (batch, *space, channels).
            sigma: noise standard deviation in the data's unit, scalar or broadcastable to target.
            mask: None or 0/1, broadcastable to target.
        """
        observed = ops.ones_like(target) if mask is None else ops.broadcast_to(mask, ops.shape(target))
        scaled = self.residual(target, prediction, mask) / sigma
        constant = ops.log(ops.cast(sigma, target.dtype)) + 0.5 * math.log(2.0 * math.pi)
        return ops.sum(0.5 * ops.square(scaled) + observed * constant, axis=tuple(range(1, len(target.shape))))
