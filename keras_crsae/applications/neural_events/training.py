"""Training of the encoder on bins that are hidden from it: kernels, lambda and baseline learn to predict them.

A kernel of one bin explains every spike by itself and predicts nothing, so that kernels of single-trial spikes do not
collapse, as they do where the model is trained to describe the bins that it has seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np

from keras_crsae.applications.neural_events.parameters import EventParameters
from keras_crsae.backend import tf
from keras_crsae.layers import SparseCoding
from keras_crsae.typing import Tensor

#: Smallest log lambda.
_LEAST_LOG_LAMBDA = -9.0


class Signals(NamedTuple):
    """What the encoder takes."""

    means: np.ndarray  #: (signals, bins, channels) float32, counts over their largest possible value (or 1)
    offset: np.ndarray  #: the same shape and type, eta of the known part of the rate
    owner: np.ndarray  #: (signals, channels) int, the neuron of each channel
    support: np.ndarray | None  #: (signals, positions, kernels) 0/1, or None


class HiddenBinsTraining:
    """Adam on the kernels, log lambda and the baseline, by the likelihood of hidden bins, through the encoder.

    Args:
        encoder: built; its dictionary, lambda and step size change.
        neurons: number of baselines.
        parameters: ``batch_size``, ``learning_rate``, ``hidden_share``, ``smoothness``.

    Attributes:
        history: mean negative log likelihood of a hidden bin, a step.
    """

    def __init__(self, encoder: SparseCoding, neurons: int, parameters: EventParameters) -> None:
        self.encoder, self.parameters = encoder, parameters
        self.history: list[float] = []
        self.kernel: keras.Variable = encoder.cell.dictionary.kernel
        self.log_lambda = keras.Variable(np.zeros(encoder.cell.lambda_reg.shape, np.float32), name="log_lambda")
        self.level = keras.Variable(np.zeros(neurons, np.float32), name="baseline")
        self.learns_kernels = keras.Variable(1.0, trainable=False, name="learns_kernels")
        self.optimizer = keras.optimizers.Adam(parameters.learning_rate)
        self.variables = [self.kernel, self.log_lambda, self.level]
        self.optimizer.build(self.variables)
        self.random = tf.random.Generator.from_seed(0)
        # Traced once, whatever the trials; nothing in it is for autograph, whose conversion takes as long as the trace.
        self.step = tf.function(self._step, reduce_retracing=True, autograph=False)

    def begin(self, kernel: np.ndarray, lambda_reg: float, baseline: np.ndarray, seed: int) -> None:
        """Start anew from these values."""
        self.history, self.rng = [], np.random.default_rng(seed)
        self.random.reset_from_seed(seed)
        self.kernel.assign(kernel)
        self.log_lambda.assign(keras.ops.full(self.log_lambda.shape, np.log(lambda_reg)))
        self.encoder.cell.lambda_reg.assign(keras.ops.full(self.log_lambda.shape, lambda_reg))
        self.level.assign(np.asarray(baseline, np.float32))
        self.encoder.cell.refresh_step_size()

    @property
    def baseline(self) -> np.ndarray:
        """(neurons,) eta to be added to the offset."""
        return keras.ops.convert_to_numpy(self.level).astype(np.float64)

    def run(self, signals: Signals, steps: int, kernels: bool = True, progress: Callable[[float], object] | None = None
            ) -> None:
        """Take steps, the learning rate falling to zero along a cosine.

        Args:
            signals: training data.
            steps: number of batches.
            kernels: False keeps the kernels.
            progress: gets the fraction done.
        """
        for variable in self.optimizer.variables:  # moments of an earlier part belong to other kernels
            variable.assign(keras.ops.zeros_like(variable))
        self.learns_kernels.assign(float(kernels))
        count, size = len(signals.means), self.parameters.batch_size
        for number in range(steps):
            self.optimizer.learning_rate = self.parameters.learning_rate * 0.5 * (1 + np.cos(np.pi * number / steps))
            rows = self.rng.choice(count, size, replace=count < size)  # batches of one size, for one trace
            batch = [None if part is None else tf.constant(part[rows]) for part in signals]
            self.history.append(float(self.step(*batch)))
            if progress is not None:
                progress((number + 1) / steps)

    def _step(self, means: Tensor, offset: Tensor, owner: Tensor, support: Tensor | None) -> Tensor:
        cell = self.encoder.cell
        seen = tf.cast(self.random.uniform(tf.shape(means)) >= self.parameters.hidden_share, means.dtype)
        with tf.GradientTape() as tape:
            baseline = offset + tf.gather(self.level.value, owner)[:, None, :]
            loss = hidden_loss(self.encoder, means, baseline, seen, support)
            total = loss + self.parameters.smoothness * roughness(cell.dictionary.unit_kernel())
        lambda_reg = cell.lambda_reg.value
        kernel, rate, level = tape.gradient(total, [self.kernel.value, lambda_reg, self.level.value],
                                            unconnected_gradients="zero")
        # Adam's step of a gradient that is zero, its moments being zero, is zero.
        self.optimizer.apply([self.learns_kernels.value * kernel, lambda_reg * rate, level], self.variables)
        self.log_lambda.assign(tf.maximum(self.log_lambda.value, _LEAST_LOG_LAMBDA))
        cell.lambda_reg.assign(tf.exp(self.log_lambda.value))
        cell.refresh_step_size()
        return loss


def hidden_loss(encoder: SparseCoding, means: Tensor, baseline: Tensor, seen: Tensor, support: Tensor | None) -> Tensor:
    """Mean negative log likelihood of the bins where ``seen`` is 0, given the code of the others."""
    code = encoder(means, mask=seen, baseline=baseline, support=support, training=True)
    eta = encoder.cell.dictionary(code)[:, :means.shape[1]] + baseline
    hidden = 1.0 - seen
    return tf.reduce_sum(hidden * encoder.cell.likelihood.value(means, eta)) / tf.maximum(tf.reduce_sum(hidden), 1.0)


def roughness(kernel: Tensor) -> Tensor:
    """Sum of the squared differences of neighbouring kernel bins, mean over kernels."""
    return tf.reduce_sum(tf.square(kernel[1:] - kernel[:-1])) / float(kernel.shape[-1])
