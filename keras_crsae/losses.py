"""Loss of the first stage of the M-step; that of the second is the rate prior's (``problem.rate_priors``)."""

from __future__ import annotations

from keras import ops

from keras_crsae.problem import likelihoods
from keras_crsae.problem.likelihoods import Likelihood
from keras_crsae.typing import Tensor


def reconstruction_loss(target: Tensor, reconstruction: Tensor, mask: Tensor | None = None,
                        sample_weight: Tensor | None = None, likelihood: Likelihood | str = "gaussian") -> Tensor:
    """Mean loss over observed samples: the first stage (arXiv 1904.08827, section III).

    For the Gaussian likelihood the plain mean squared error; for others the mean of ``likelihood.value``.

    Args:
        target: (batch, *space, channels).
        reconstruction: eta = D z, of target's shape.
        mask: None or 0/1, broadcastable to target; 0 marks a missing sample.
        sample_weight: None or (batch,), weighs the loss only.
        likelihood: object or registered name.

    Returns:
        Scalar; Gaussian: in the signal's unit squared.

    Example:
        >>> from keras import ops
        >>> from keras_crsae.losses import reconstruction_loss
        >>> float(reconstruction_loss(ops.ones((2, 8, 1)), ops.zeros((2, 8, 1))))
        1.0
    """
    error, weight = weighted_error(target, reconstruction, mask, sample_weight, likelihood)
    return error / ops.maximum(weight, 1e-12)


def weighted_error(target: Tensor, reconstruction: Tensor, mask: Tensor | None = None,
                   sample_weight: Tensor | None = None,
                   likelihood: Likelihood | str = "gaussian") -> tuple[Tensor, Tensor]:
    """Numerator and denominator of ``reconstruction_loss``: training sums each over the devices of a batch."""
    loss = likelihoods.get(likelihood).loss(target, reconstruction)
    weight = ops.ones_like(loss) if mask is None else ops.broadcast_to(mask, ops.shape(loss))
    if sample_weight is not None:
        weight = weight * ops.reshape(sample_weight, (-1,) + (1,) * (len(loss.shape) - 1))
    return ops.sum(weight * loss), ops.sum(weight)
