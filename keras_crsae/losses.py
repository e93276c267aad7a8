"""Losses of the first stage of the M-step; that of the second is the rate prior's (``problem.rate_priors``)."""

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


def sure(signal: Tensor, denoised: Tensor, moved: Tensor, probe: Tensor, step: Tensor | float,
         sigma: Tensor | float) -> Tensor:
    """Stein's unbiased estimate of the squared error of a denoiser f, which needs no clean signal.

    (y - f(y))^2 - sigma^2 + 2 sigma^2 b (f(y + step b) - f(y)) / step, elementwise; for y = x + noise its mean over
    samples, noise and b is that of (f(y) - x)^2. The last term is the divergence of f by one random probe b (Ramani,
    Blu and Unser, IEEE TIP 2008; as a loss: Soltanayev and Chun, NeurIPS 2018, arXiv 1803.01314).

    Args:
        signal: y, with white Gaussian noise.
        denoised: f(y).
        moved: f(y + step b).
        probe: b, of independent values of mean 0 and variance 1.
        step: short against the noise, broadcastable to signal.
        sigma: standard deviation of the noise, broadcastable to signal.

    Returns:
        Tensor of the signal's shape, in its unit squared; single values may be negative.

    Example:
        >>> from keras import ops
        >>> from keras_crsae.losses import sure
        >>> y, b = ops.array([1.0, -2.0]), ops.array([1.0, -1.0])
        >>> float(ops.mean(sure(y, 0.5 * y, 0.5 * (y + 0.25 * b), b, 0.25, sigma=1.0)))  # (2.5 / 4) - 1 + 2 * 0.5
        0.625
    """
    divergence = probe * (moved - denoised) / step
    return ops.square(signal - denoised) - ops.square(sigma) + 2.0 * ops.square(sigma) * divergence
