"""What training reads of the model that owns it."""

from __future__ import annotations

from typing import Any, Protocol

import keras

from keras_crsae.backend import tf
from keras_crsae.layers import ConvDictionary, SparseCoding
from keras_crsae.problem.code_priors import CodePrior
from keras_crsae.problem.likelihoods import Likelihood
from keras_crsae.problem.measurements import Measurement
from keras_crsae.problem.rate_priors import RatePrior
from keras_crsae.training.inputs import SignalLayout
from keras_crsae.training.state import TrainingState
from keras_crsae.typing import Tensor


class TrainableModel(Protocol):
    """What the trainer reads of the model that owns it; no more than this."""

    rank: int
    kernel_size: tuple[int, ...]
    seed: int | None
    built: bool
    compiled: bool
    dictionary: ConvDictionary
    decoder: ConvDictionary
    encoder: SparseCoding
    training_state: TrainingState
    optimizer: keras.optimizers.Optimizer
    lambda_optimizer: keras.optimizers.Optimizer
    code_prior: CodePrior
    likelihood: Likelihood
    measurement: Measurement
    lambda_learning: str | None
    lambda_shared: bool
    lambda_prior: RatePrior
    sigma_learning: bool
    sigma_rate: float
    baseline_learning: bool
    baseline_scope: str
    refit_distance: int | None
    dense_filters: int
    #: Whether the iteration converges for step sizes of 1 / L, so that one that explodes can be estimated anew.
    converges_at_inverse_norm: bool
    #: Whether lambda has a prior: without one the second stage is left out.
    has_rate_prior: bool

    @property
    def dictionary_variables(self) -> list[keras.Variable]: ...

    @property
    def lambda_reg(self) -> Any: ...

    @property
    def sparse_rates(self) -> Tensor: ...

    def assign_rates(self, rates: Tensor) -> None: ...

    def sparse_part(self, code: Tensor) -> Tensor: ...

    @property
    def layout(self) -> SignalLayout: ...

    @property
    def sigma(self) -> Any: ...

    @property
    def baseline(self) -> Any: ...

    @property
    def step_size(self) -> Any: ...

    @property
    def weights(self) -> list[keras.Variable]: ...

    @property
    def variable_dtype(self) -> str: ...

    @property
    def distribute_strategy(self) -> tf.distribute.Strategy: ...

    def code_and_eta(self, signal: Tensor, training: bool = False, **options: Any) -> tuple[Tensor, Tensor]: ...

    def build(self, input_shape: tuple[int | None, ...]) -> None: ...

    def check_built(self) -> None: ...

    def restore_constraints(self) -> None: ...
