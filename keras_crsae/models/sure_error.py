"""Learning from noisy images alone: Stein's unbiased estimate of the squared error in place of the error itself."""

from __future__ import annotations

from keras import ops

from keras_crsae.backend import tf
from keras_crsae.losses import sure
from keras_crsae.models.cycle_spinning import CycleSpinning, SpinningModel
from keras_crsae.training.inputs import Batch
from keras_crsae.typing import Tensor

#: Length of the step of the divergence, in units of the noise. Of a small CDLNet, 40 batches: at .01 (CDLNet's authors
#: have .001 in [0, 1]) gradients are 4.3 times as long as those of the error itself, since the few coefficients of a
#: code that lie so near to their threshold count 1 / step; at .1 1.5 times. At .3 the loss is 20 % too high.
STEP_OVER_SIGMA = 0.1


class SureError(CycleSpinning):
    """Forward pass of the first stage for images whose clean form is unknown: Monte-Carlo SURE; see ``losses.sure``.

    The denoiser is that of ``denoise``: the mean of the image is kept and the model sees the rest. Its divergence is
    taken along one random +-1 image a step, drawn from the step's number. The noise is white and Gaussian, of the
    batch's ``sigma``, else of ``sigma``, else of the model's.

    Args:
        model, shifts: see ``CycleSpinning``.
        sigma: standard deviation of the noise where a batch brings none, in its unit; None: the model's.
    """

    def __init__(self, model: SpinningModel, shifts: int, sigma: float | None = None) -> None:
        super().__init__(model, shifts)
        self.sigma = sigma

    def __call__(self, batch: Batch, training: bool) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        signal, dtype = batch.signal, batch.signal.dtype
        known = self.model.sigma.value if self.sigma is None else self.sigma
        sigma = ops.broadcast_to(tf.cast(known, dtype), tf.shape(signal)[:1]) \
            if batch.sigma is None else tf.cast(batch.sigma, dtype)
        sigma = tf.reshape(sigma, (-1, 1, 1, 1))
        probe = self._probe(tf.shape(signal), dtype, training)
        probe = probe if batch.observed is None else probe * batch.observed
        mean = ops.mean(probe, axis=(1, 2, 3), keepdims=True)
        step = STEP_OVER_SIGMA * tf.where(sigma > 0.0, sigma, 1.0)  # 0: the padding of a replica without images
        twice = {name: None if value is None else tf.concat([value, value], axis=0) for name, value in
                 (("sigma", batch.sigma), ("observed", batch.observed), ("target", batch.target))}
        # One batch of both: the graph of the iterations stands once.
        both = batch._replace(signal=tf.concat([signal, signal + step * (probe - mean)], axis=0), **twice)
        code, smooth = self.reconstruct(both, training)
        smooth, moved = tf.split(smooth, 2)
        error = sure(signal, smooth, moved + step * mean, probe, step, sigma)
        weight = ops.ones_like(error) if batch.observed is None else ops.broadcast_to(batch.observed, ops.shape(error))
        if batch.weight is not None:
            weight = weight * tf.reshape(batch.weight, (-1, 1, 1, 1))
        return code, (ops.sum(weight * error), ops.sum(weight))

    def _probe(self, shape: Tensor, dtype: tf.DType, training: bool) -> Tensor:
        """Random image of +-1, whose variance of the divergence is less than that of a Gaussian one."""
        number = tf.cast(self.model.optimizer.iterations.value, tf.int32) if training else tf.constant(-1)
        signs = tf.random.stateless_uniform(shape, tf.stack([number, (self.model.seed or 0) + 1]), 0, 2, tf.int32)
        return tf.cast(2 * signs - 1, dtype)
