"""Undo, count and report training steps with non-finite losses or exploding iterations."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import keras
import numpy as np

from keras_crsae.backend import tf
from keras_crsae.problem.likelihoods import Likelihood
from keras_crsae.training.distribution import number, total
from keras_crsae.training.progress import OrderOwner
from keras_crsae.training.state import WATCHED, TrainingState
from keras_crsae.typing import Tensor

#: What a non-finite batch does.
NONFINITE = ("stop", "skip")
#: A code whose residual holds so many times the energy of what it should explain: its iterations ran away.
EXPLODED = 4.0
#: Sigma is kept above this share of the data's root mean square: below it float32 holds no noise.
SIGMA_FLOOR = 1e-4
STAGES = ("the dictionary stage (reconstruction_loss)", "the lambda stage (lambda_loss)", "the noise stage (sigma)")
_ADVICE = ("lower the learning rate of the dictionary or clip its gradients (clipnorm), and check the data's scale",
           "lower the learning rate of lambda_optimizer or strengthen GammaPrior(strength=...)",
           "lower sigma_rate, or check that the data hold noise at all")


def all_finite(*values: Tensor) -> Tensor:
    """Scalar bool: every entry of every tensor is finite."""
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(v)) for v in values])


def snapshot(variables: Sequence[keras.Variable]) -> list[Tensor]:
    """Copies of variables' values, to go back to."""
    return [tf.identity(v.value) for v in variables]


def undo_unless_finite(variables: Sequence[keras.Variable], before: Sequence[Tensor], finite: Sequence[Tensor],
                       failed_stage: keras.Variable, forgiven: Tensor | bool = False) -> Tensor:
    """Undo a step where a stage was not finite, and note the stage (1, 2, ...) in ``failed_stage``.

    After a failure that is watched (``watch_failures``) every later step is undone as well, so that
    ``steps_per_execution`` and XLA, which see Python only between executions, leave the last good values. Where nobody
    watches, in a loop of one's own around ``train_step``, only the step itself is undone. Values are selected, not
    branched on: that works under XLA and distribution strategies alike.

    Args:
        variables: what the step may change.
        before: their ``snapshot``.
        finite: scalar bools, one a stage.
        failed_stage: float variable (), see ``TrainingState``.
        forgiven: scalar bool: the step is undone, and training goes on.

    Returns:
        Scalar bool: the step is kept.
    """
    failures = tf.stack([tf.cast(tf.logical_not(f), tf.float32) for f in finite])
    ok = tf.equal(total(failures), 0.0)  # one replica's failure is everybody's
    stage = tf.cast(tf.argmin(tf.cast(ok, tf.int32)) + 1, failed_stage.dtype)
    kept = tf.logical_and(tf.reduce_all(ok), tf.less_equal(failed_stage.value, 0.0))
    fatal = tf.logical_and(tf.less(failed_stage.value, 0.0),
                           tf.logical_not(tf.logical_or(tf.reduce_all(ok), forgiven)))
    failed_stage.assign(tf.where(fatal, stage, failed_stage.value))
    for variable, old in zip(variables, before, strict=True):
        variable.assign(tf.where(kept, variable.value, old))
    return kept


@contextlib.contextmanager
def watch_failures(state: TrainingState) -> Iterator[None]:
    """While it is open, ``state.failed_stage`` notes a step that is not finite, which stops those after it.

    Whatever ends it (an error, the user's interrupt, a callback), the failure ends with it.
    """
    state.failed_stage.assign(WATCHED)
    try:
        yield
    finally:
        state.failed_stage.assign(0.0)


def raise_failure(state: TrainingState, where: str) -> None:
    """FloatingPointError where a step failed since ``watch_failures`` was opened; ``where``: " at batch 3", say."""
    stage = int(number(state.failed_stage)) - 1
    if stage >= 0:
        raise FloatingPointError(
            f"Training stopped: {STAGES[stage]} was not finite{where}. The model keeps the weights from before that "
            f"batch, all finite. To mend it: {_ADVICE[stage]}; with tf.data or generators, check that batch for NaN or "
            "infinite values, or of counts for values that are none (negative, fractional). To train on without such "
            "batches: compile(nonfinite='skip').")


class StopOnNonFinite(keras.callbacks.Callback):
    """Raises FloatingPointError at the first batch with a non-finite loss; ``fit`` adds it by itself.

    With ``compile(nonfinite="skip")`` it does so after an epoch of which no batch was left.

    Args:
        state: the model's training state.
        owner: the trainer, whose ``order`` says how many batches of the epoch were done before.
    """

    def __init__(self, state: TrainingState, owner: OrderOwner) -> None:
        super().__init__()
        self.state, self.owner = state, owner
        self._epoch = self._first_step = self._batches = 0
        self._skipped_before = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch, self._first_step = epoch, int(number(self.model.optimizer.iterations))
        self._skipped_before, self._batches = number(self.state.skipped_batches), 0
        self.state.failed_stage.assign(WATCHED)  # a callback may have set weights that were taken before this `fit`

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._batches = batch + 1
        if all(np.isfinite((logs or {}).get(k, 0.0)) for k in ("loss", "lambda_loss", "sigma")):
            return
        # Failed steps are undone, the optimiser's counter with them: it stands at the last good batch.
        failed = int(number(self.model.optimizer.iterations)) - self._first_step + self.owner.order.skip
        raise_failure(self.state, f" at batch {failed} (counted from 0) of epoch {self._epoch + 1}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._batches and number(self.state.skipped_batches) - self._skipped_before >= self._batches:
            raise FloatingPointError(
                f"Training stopped: all {self._batches} batches of epoch {epoch + 1} were skipped, none had finite "
                "losses. The model keeps its last finite weights. Check the data for NaN or infinite values, and the "
                "learning rates.")


#: Counters of a training state -> the warning when one rose during ``fit``.
_COUNTER_WARNINGS = {
    "lambda_held": "lambda was held at half of lambda_max in {n} steps: a larger one would leave hardly any code. "
                   "Raise GammaPrior(strength=...) or {instead}.",
    "skipped_batches": "{n} batches were skipped because their losses were not finite. Check the data for NaN or "
                       "infinite values.",
    "step_rescues": "step_size={step:.3g} let the iterations explode in {n} batches, which were left out. It was "
                    "estimated anew, as 1 / L = {bound:.3g}; step_size='auto' does so from the start.",
    "sigma_held": "sigma was held at {floor:g} of the data's root mean square in {n} steps: the data hold hardly any "
                  "noise. Give sigma a number and omit sigma_learning.",
}


class ReportedModel(Protocol):
    """What a report on training reads of a model."""

    training_state: TrainingState
    encoder: Any
    likelihood: Likelihood
    lambda_learning: str | None

    @property
    def lambda_reg(self) -> Any: ...

    @property
    def sparse_rates(self) -> Any: ...

    @property
    def sigma(self) -> Any: ...

    @property
    def step_size(self) -> Any: ...


class FaultReport:
    """Warns once, at the end of a ``fit``, of each kind of fault that occurred in it.

    Args:
        model: the model, before the ``fit``.
    """

    def __init__(self, model: ReportedModel) -> None:
        self.model = model
        self.before = {name: number(getattr(model.training_state, name)) for name in _COUNTER_WARNINGS}

    def warn(self, sparsity: float) -> None:
        """Warn of what happened since; ``sparsity`` is that of the last epoch."""
        model, state, step = self.model, self.model.training_state, self.model.encoder.cell.step_size_init
        counted = model.likelihood.size_name is not None
        instead = "keep lambda where it began, lambda_learning=None" if counted else "lower sigma"
        for name, text in _COUNTER_WARNINGS.items():
            n = int(number(getattr(state, name)) - self.before[name])
            if n > 0:
                warnings.warn(text.format(n=n, step=0.0 if step == "auto" else step, bound=number(model.step_size),
                                          floor=SIGMA_FLOOR, instead=instead), stacklevel=5)
        rates, sigma = keras.ops.convert_to_numpy(model.sparse_rates), number(model.sigma)
        if sparsity == 0.0:
            ceiling = 2 * number(state.lambda_ceiling)  # half of lambda_max is what lambda is held at
            warnings.warn(
                f"All codes are zero: lambda = {rates.max():.3g} is too large for these counts. The first non-zero "
                f"code comes below lambda = {ceiling:.3g}; half of it is a good start." if counted else
                f"All codes are zero: lambda * sigma^2 = {rates.max() * sigma**2:.3g} is too large for these data. The "
                f"first non-zero code comes below lambda_max = {ceiling * sigma**2:.3g}, that is lambda below "
                f"{ceiling:.3g}; half of it is a good start.", stacklevel=5)
        bound = model.lambda_reg.constraint.bound
        if model.lambda_learning is not None and rates.min() <= 1.001 * bound:
            warnings.warn(f"lambda fell to its lower bound, {bound:g}: codes are no longer sparse. Against its own "
                          "noisy input lambda_learning='backprop' ends there; use 'em', or give clean targets.",
                          stacklevel=5)


def warn_of_identical_filters(filters: np.ndarray) -> None:
    """Warn of filters that are the same but for their sign: they get the same gradients and stay so.

    Args:
        filters: (*kernel_size, channels, filters), unit norms.
    """
    flat = filters.reshape(-1, filters.shape[-1]).astype(np.float64)
    flat = flat / np.maximum(np.linalg.norm(flat, axis=0), 1e-12)
    pairs = np.argwhere(np.triu(np.abs(flat.T @ flat) > 1 - 1e-6, 1))
    if len(pairs) and len(flat) > 1:
        a, b = pairs[0]
        warnings.warn(f"Filters {a} and {b} are identical, and {len(pairs)} pairs in all: they would learn the same. "
                      "Begin from other filters, or add the callback ReviveFilters.", stacklevel=5)
