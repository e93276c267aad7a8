"""Averaged weights (``use_ema`` of Keras' optimisers, ``SwapEMAWeights``): at the right place, with norm 1, 1 / L anew.

The average of unit vectors is shorter than 1, and the step size belongs to the filters that it was computed from.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from keras_crsae.training.distribution import number


class RestoreConstraints(keras.callbacks.Callback):
    """Filters on the unit sphere and a step size of 1 / L wherever callbacks may have swapped weights.

    ``fit``, ``evaluate`` and ``predict`` run it after the user's callbacks.
    """

    def _restore(self) -> None:
        self.model.restore_constraints()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._restore()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._restore()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._restore()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._restore()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        self._restore()

    def on_predict_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._restore()

    def on_predict_end(self, logs: dict[str, Any] | None = None) -> None:
        self._restore()


def with_constraints(callbacks: Any) -> Any:
    """The user's callbacks of ``evaluate`` or ``predict``, followed by ``RestoreConstraints``."""
    if not callbacks or isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks  # the list of a `fit` has it
    return [*(callbacks if isinstance(callbacks, list | tuple) else [callbacks]), RestoreConstraints()]


@contextlib.contextmanager
def weight_averages(model: Any) -> Iterator[None]:
    """For the time of one ``fit``, leave out Keras' own last step of averages; ``FinishAverages`` takes it.

    Keras pairs the averages of ``optimizer`` with the model's trainable weights by their place, and lambda, which has
    an optimiser of its own, stands among them.
    """
    optimizer = model.optimizer
    if not getattr(optimizer, "use_ema", False):
        yield
        return
    optimizer.finalize_variable_values = lambda variables: None
    try:
        yield
    finally:
        del optimizer.finalize_variable_values


class FinishAverages(keras.callbacks.Callback):
    """At the end of ``fit``, the averages of optimisers with ``use_ema`` become the values of their variables.

    ``fit`` runs it before the user's callbacks, so that these find the averages at the end of training.
    """

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        model, averaged = self.model, False
        for optimizer, variables in ((model.optimizer, model.dictionary_variables),
                                     (model.lambda_optimizer, [model.lambda_reg])):
            if getattr(optimizer, "use_ema", False) and number(optimizer.iterations):  # before a step they are zeros
                type(optimizer).finalize_variable_values(optimizer, variables)  # see `weight_averages`
                averaged = True
        if averaged:
            model.restore_constraints()
        else:
            model.note_training()
