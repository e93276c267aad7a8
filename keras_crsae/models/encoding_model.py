"""What the encoding of signals reads of the model that owns it."""

from __future__ import annotations

from typing import Any, Protocol

from keras_crsae.layers import ConvDictionary, SparseCoding
from keras_crsae.problem.code_priors import CodePrior
from keras_crsae.problem.likelihoods import Likelihood
from keras_crsae.problem.measurements import Measurement
from keras_crsae.training.inputs import SignalLayout
from keras_crsae.typing import Tensor


class EncodingModel(Protocol):
    """What the encoding reads of the model that owns it; no more than this."""

    rank: int
    filters: int
    dense_filters: int
    kernel_size: tuple[int, ...]
    built: bool
    dictionary: ConvDictionary
    decoder: ConvDictionary
    encoder: SparseCoding
    jit_compile: bool
    code_prior: CodePrior
    likelihood: Likelihood
    measurement: Measurement

    @property
    def layout(self) -> SignalLayout: ...

    @property
    def baseline(self) -> Any: ...

    @property
    def compute_dtype(self) -> str: ...

    @property
    def variable_dtype(self) -> str: ...

    def build(self, input_shape: tuple[int | None, ...]) -> None: ...

    def crop(self, reconstruction: Tensor, signal: Tensor) -> Tensor: ...

    def code_and_eta(self, signal: Tensor, training: bool = False, **options: Any) -> tuple[Tensor, Tensor]: ...

    def check_built(self) -> None: ...

    def restore_constraints(self) -> None: ...
