"""What training keeps between batches besides the model's parameters."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_crsae.typing import Tensor

#: ``failed_stage`` while a ``fit`` or ``train_on_batch`` runs and no step has failed.
WATCHED = -1.0


@keras.saving.register_keras_serializable(package="keras_crsae")
class TrainingState(keras.layers.Layer):
    """Named variables of training, saved with the model by their names.

    Attributes:
        prior_mean: (rates,), mean of the Gamma prior on lambda.
        lambda_ceiling: (), half of the largest lambda with a non-zero code in any batch; lambda is held below it.
        adapted: (), 1 once ``adapt`` has taken first values from data.
        failed_stage: (), the stage (1, 2, 3) that was not finite in the ``fit`` or ``train_on_batch`` that runs;
            WATCHED (-1): none yet; 0: neither runs, and a step that fails does not stop those after it. It is not
            loaded from files.
        lambda_held, skipped_batches, step_rescues, sigma_held: (), numbers of steps in which lambda was held at its
            ceiling, a batch was left out, the step size was estimated anew, sigma was held at its floor.
        order_seed: (), seed of the order of batches; -1 before the first ``fit``.
        progress: (2,), epoch and the batches of it that are done.

    Args:
        rates: number of lambdas.

    Example:
        >>> from keras_crsae.training.state import TrainingState
        >>> state = TrainingState(rates=3)
        >>> state.build((None,))
        >>> float(state.adapted), tuple(state.progress.shape)
        (0.0, (2,))
    """

    prior_mean: Tensor
    lambda_ceiling: Tensor
    lambda_held: Tensor
    adapted: Tensor
    failed_stage: Tensor
    skipped_batches: Tensor
    step_rescues: Tensor
    sigma_held: Tensor
    order_seed: Tensor
    progress: Tensor

    def __init__(self, rates: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rates = int(rates)

    def build(self, input_shape: Any = None) -> None:
        shapes = {"prior_mean": (self.rates,), "progress": (2,)}
        first = {"prior_mean": 1.0, "order_seed": -1.0}
        for name in ("prior_mean", "lambda_ceiling", "lambda_held", "adapted", "failed_stage", "skipped_batches",
                     "step_rescues", "sigma_held", "order_seed", "progress"):
            setattr(self, name, self.add_weight(
                name=name, shape=shapes.get(name, ()), trainable=False,
                initializer=keras.initializers.Constant(first.get(name, 0.0))))

    def call(self, inputs: Any) -> Any:
        return inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape)

    @property
    def lasting(self) -> list[Tensor]:
        """Variables that the undoing of a step leaves as they are: counters, and where training stands."""
        return [self.failed_stage, self.order_seed, self.progress, self.skipped_batches, self.step_rescues]

    def position(self) -> tuple[int, int]:
        """Epoch, and the batches of it that are done."""
        epoch, step = (int(n) for n in ops.convert_to_numpy(self.progress))
        return epoch, step

    def save_own_variables(self, store: MutableMapping[str, np.ndarray]) -> None:
        for variable in self.weights:
            store[variable.name] = ops.convert_to_numpy(variable)

    def load_own_variables(self, store: MutableMapping[str, np.ndarray]) -> None:
        names = {variable.name for variable in self.weights}
        if set(store.keys()) != names:
            raise ValueError(f"The training state of the file has the variables {sorted(store.keys())}. Expected "
                             f"{sorted(names)}: the file is damaged or comes from another version.")
        for variable in self.weights:
            if variable is not self.failed_stage:  # of the run that saved, not of this one
                variable.assign(store[variable.name])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rates": self.rates}
