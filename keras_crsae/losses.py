"""Losses of the two stages of the M-step."""

from keras import ops

from keras_crsae.problem.likelihoods import Gaussian


def reconstruction_loss(target, reconstruction, mask=None, sample_weight=None, likelihood=None):
    """Mean squared error over observed samples: the first stage (arXiv 1904.08827, section III).

    Args:
        target, reconstruction: (batch, *space, channels).
        mask: None or 0/1, broadcastable to target; 0 marks a missing sample.
        sample_weight: None or (batch,), weighs the loss only.
        likelihood: None (``Gaussian``) or an object with its ``residual``.

    Returns:
        Scalar, in the signal's unit squared.

    Example:
        >>> float(reconstruction_loss(ops.ones((2, 8, 1)), ops.zeros((2, 8, 1))))
        1.0
    """
    error, weight = weighted_error(target, reconstruction, mask, sample_weight, likelihood)
    return error / ops.maximum(weight, 1e-12)


def weighted_error(target, reconstruction, mask=None, sample_weight=None, likelihood=None):
    """Numerator and denominator of ``reconstruction_loss``: training sums each over the devices of a batch."""
    residual = (likelihood or Gaussian()).residual(target, reconstruction, mask)
    weight = ops.ones_like(residual) if mask is None else ops.broadcast_to(mask, ops.shape(residual))
    if sample_weight is not None:
        weight = weight * ops.reshape(sample_weight, (-1,) + (1,) * (len(residual.shape) - 1))
    return ops.sum(weight * ops.square(residual)), ops.sum(weight)


def lambda_loss(lambda_reg, norms, positions, shape, rate):
    """Negative log posterior of lambda with the codes held fixed (arXiv 1904.08827, section III).

    Args:
        lambda_reg: (filters,), or (1,) when shared.
        norms: (filters,), batch mean of ||z_c||_1.
        positions: N_e, code positions a filter.
        shape, rate: Gamma prior, scalars or of lambda's shape; counted once for each lambda.

    Returns:
        Scalar sum_c [lambda_c a_c - N_e log lambda_c - (r - 1) log lambda_c + delta lambda_c], in nats.

    Example:
        >>> float(lambda_loss(ops.array([1.0]), ops.array([3.0]), positions=10, shape=1.0, rate=2.0))
        5.0
    """
    if lambda_reg.shape[0] == 1 and norms.shape[0] > 1:
        norms, positions = ops.sum(norms, keepdims=True), positions * norms.shape[0]
    return ops.sum(lambda_reg * (norms + rate) - (positions + shape - 1.0) * ops.log(lambda_reg))
