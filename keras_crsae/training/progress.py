"""Callbacks by which ``fit`` follows the order of batches: where training stands, and the end of a shortened epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import keras

from keras_crsae.data.batch_order import BatchOrder
from keras_crsae.training.distribution import number


class OrderOwner(Protocol):
    """What holds the order of the epoch that runs: the trainer."""

    order: BatchOrder


class TrackProgress(keras.callbacks.Callback):
    """Keeps the training state's ``progress`` and the trainer's ``order``; ``fit`` runs it before all others.

    Args:
        owner: the trainer.
        steps: batches of a whole epoch; None: unknown.
        skips: whether the data can begin in the middle of an epoch; where not, an interrupted epoch begins again.
    """

    def __init__(self, owner: OrderOwner, steps: int | None = None, skips: bool = True) -> None:
        super().__init__()
        self.owner, self.steps, self.skips, self.ended_epoch = owner, steps, skips, False
        self._train_function: Callable[..., Any] | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        state = self.model.training_state
        stored_epoch, step = state.position()
        # Another callback may have restored weights from the middle of this epoch.
        skip = step if stored_epoch == epoch and self.skips else 0
        self.owner.order = BatchOrder(int(number(state.order_seed)), epoch, skip)
        state.progress.assign([epoch, skip])
        self.ended_epoch = False
        if self.steps is not None and skip >= self.steps:  # saved behind the last batch: only the epoch's end is left
            self._train_function, self.model.train_function = self.model.train_function, self._no_step

    def _no_step(self, iterator: Any) -> dict[str, float]:
        """One call of Keras' loop in an epoch of which no batch is left."""
        for metric in self.model.metrics:
            metric.update_state(float("nan"))
        return {metric.name: float("nan") for metric in self.model.metrics}

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        order = self.owner.order
        self.model.training_state.progress.assign([order.epoch, order.skip + batch + 1])

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.model.training_state.progress.assign([epoch + 1, 0])
        self.release()
        if self.ended_epoch:  # before the others look: only they may end the training
            self.model.stop_training = False

    def release(self) -> None:
        """Give the model its training function back; also where training ended in the middle."""
        if self._train_function is not None:
            self.model.train_function, self._train_function = self._train_function, None


class EndEpoch(keras.callbacks.Callback):
    """Ends an epoch of which some batches were done before; ``fit`` runs it after all others.

    Keras counts on as many batches in every epoch and warns of data that end earlier. ``stop_training`` leaves its loop
    over batches; ``TrackProgress`` takes it back at the epoch's end, so that the next epoch begins.

    Args:
        progress: the ``TrackProgress`` of the same ``fit``.
        counted: whether Keras has the number of steps, too.
    """

    def __init__(self, progress: TrackProgress, counted: bool = True) -> None:
        super().__init__()
        self.progress, self.counted = progress, counted

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        skip, steps = self.progress.owner.order.skip, self.progress.steps
        if steps is None or not skip and self.counted:
            return
        if skip + batch + 1 >= steps and not self.model.stop_training:
            self.model.stop_training = self.progress.ended_epoch = True
