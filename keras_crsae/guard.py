"""A non-finite loss stops training and reaches no weight."""

import keras
import numpy as np
import tensorflow as tf

from keras_crsae.replicas import number, total

STAGES = ("the dictionary stage (reconstruction_loss)", "the lambda stage (lambda_loss)", "the noise stage (sigma)")
_ADVICE = ("lower the learning rate of the dictionary or clip its gradients (clipnorm), and check the data's scale",
           "lower the learning rate of lambda_optimizer or strengthen GammaPrior(strength=...)",
           "lower sigma_rate, or check that the data hold noise at all")


def all_finite(*values):
    """Scalar bool: every entry of every tensor is finite."""
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(v)) for v in values])


def snapshot(variables):
    """Copies of variables' values, to go back to."""
    return [tf.identity(v.value) for v in variables]


def keep_or_undo(variables, before, finite, failed_stage):
    """Undo a step where a stage was not finite, and note the stage (1, 2, ...) in ``failed_stage``.

    After a failure every later step is undone as well, so that ``steps_per_execution`` and XLA, which see Python
    only between executions, leave the last good values. Values are selected, not branched on: that works under
    XLA and distribution strategies alike.

    Args:
        variables, before: what the step may change, and its ``snapshot``.
        finite: list of scalar bools, one a stage.
        failed_stage: float variable (), 0 while all is well.
    """
    failures = tf.stack([tf.cast(tf.logical_not(f), tf.float32) for f in finite])
    ok = tf.equal(total(failures), 0.0)  # one replica's failure is everybody's
    stage = tf.cast(tf.argmin(tf.cast(ok, tf.int32)) + 1, failed_stage.dtype)
    healthy = tf.logical_and(tf.reduce_all(ok), tf.equal(failed_stage.value, 0.0))
    first = tf.logical_and(tf.logical_not(tf.reduce_all(ok)), tf.equal(failed_stage.value, 0.0))
    failed_stage.assign(tf.where(first, stage, failed_stage.value))
    for variable, old in zip(variables, before, strict=True):
        variable.assign(tf.where(healthy, variable.value, old))


class StopOnNonFinite(keras.callbacks.Callback):
    """Raises FloatingPointError at the first batch with a non-finite loss; ``fit`` adds it by itself.

    Args:
        failed_stage: the variable that ``keep_or_undo`` writes.
    """

    def __init__(self, failed_stage):
        super().__init__()
        self.failed_stage = failed_stage
        self._epoch = self._first = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch, self._first = epoch, int(number(self.model.optimizer.iterations))

    def on_train_batch_end(self, batch, logs=None):
        if all(np.isfinite((logs or {}).get(k, 0.0)) for k in ("loss", "lambda_loss", "sigma")):
            return
        stage = int(number(self.failed_stage)) - 1
        if stage < 0:
            return
        # Failed steps are undone, the optimiser's counter with them: it stands at the last good batch.
        at = int(number(self.model.optimizer.iterations)) - self._first
        raise FloatingPointError(
            f"Training stopped: {STAGES[stage]} was not finite at batch {at} (counted from 0) of epoch "
            f"{self._epoch + 1}. The model keeps the weights from before that batch, all finite. To mend it: "
            f"{_ADVICE[stage]}; with tf.data or generators, check that batch for NaN or infinite values.")
