"""Learning on counts: the error of the rate that the exact unbiased inverse gives, not that of transformed counts."""

from __future__ import annotations

from keras import ops

from keras_crsae.backend import tf
from keras_crsae.losses import weighted_error
from keras_crsae.models.cycle_spinning import CycleSpinning
from keras_crsae.problem.anscombe import ZERO, inverse_anscombe_tensor
from keras_crsae.training.inputs import Batch
from keras_crsae.typing import Tensor


class RateError(CycleSpinning):
    """Forward pass of the first stage for transformed counts: mean of (rate / peak - clean)^2.

    Batches are those of ``data.streams.photon_crops``: the signal is (A(n) - A(0)) sigma with
    sigma = 1 / (A(peak) - A(0)), the target the clean image in [0, 1]. The model denoises the signal without its mean;
    what it gives is brought back by the exact unbiased inverse of the Anscombe transform, so that the errors of all
    gray levels count alike, as they do in PSNR.

    Args:
        model, shifts: see ``CycleSpinning``.
    """

    def __call__(self, batch: Batch, training: bool) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if batch.sigma is None:
            raise ValueError("A model that learns on counts needs batches {'signal': transformed counts, 'sigma': "
                             "sigma}, as `data.streams.photon_crops` gives them.")
        mean = ops.mean(batch.signal, axis=(1, 2, 3), keepdims=True)
        code, smooth = self.reconstruct(batch._replace(signal=batch.signal - mean), training)
        rates = rates_in_units_of_peak(smooth + mean, batch.sigma)
        return code, weighted_error(batch.target, rates, batch.observed, batch.weight)


def rates_in_units_of_peak(signal: Tensor, sigma: Tensor) -> Tensor:
    """rate / peak of transformed counts in the unit of ``photon_crops``.

    Args:
        signal: (batch, height, width, channels).
        sigma: (batch,).
    """
    level = tf.reshape(tf.cast(sigma, signal.dtype), (-1, 1, 1, 1))
    white = ZERO + 1.0 / level  # A(peak)
    peak = tf.square(white / 2.0) - 3.0 / 8.0
    return inverse_anscombe_tensor(ZERO + signal / level) / peak
