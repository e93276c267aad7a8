"""One iteration of the encoder under Keras' recurrent-cell contract, and the parameters that it needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from crsae_onnx.core.validation import as_positive
from keras import ops

from keras_crsae.constraints import AboveBound
from keras_crsae.layers.conv_dictionary import ConvDictionary
from keras_crsae.layers.dense_filters import check_data, with_dense_filters
from keras_crsae.layers.measured_coding import check_measurement
from keras_crsae.layers.precision import layer_policy
from keras_crsae.problem import code_priors, likelihoods, measurements, own_measurement
from keras_crsae.problem.code_priors import CodePrior
from keras_crsae.problem.likelihoods import Likelihood
from keras_crsae.problem.measurements import Identity
from keras_crsae.problem.objective import Problem
from keras_crsae.solvers.base import Descend
from keras_crsae.solvers.fista import FISTA
from keras_crsae.solvers.proximal_step import descent
from keras_crsae.typing import Tensor

#: Relative distance from 1 / L above which a step size belongs to other filters: rounding stays below.
_MOST_ROUNDING = 1e-4


@keras.saving.register_keras_serializable(package="keras_crsae")
class SparseCodingCell(keras.layers.Layer):
    """x <- prox(w + step D^T residual(y, D w), lambda sigma^2 step), then FISTA's momentum.

    Holds ``lambda_reg``, ``sigma`` and ``step_size``; shares the dictionary (arXiv 1904.08827, algorithm 1).

    Args:
        dictionary: ``ConvDictionary``.
        code_prior: object of ``problem.code_priors`` or its name, "nonnegative_soft" or "soft".
        likelihood: object of ``problem.likelihoods`` or its name.
        lambda_init: rate of the code's prior, a number or one a filter.
        lambda_shared: one lambda for all filters.
        sigma: noise standard deviation, in the signal's unit; for counts the likelihood's own dispersion, sigma^2 =
            1 / size, takes its place.
        step_size: number, or "auto": 1 / L, L the largest eigenvalue of D^T D times the likelihood's curvature, which
            is taken as 1 where it has no bound: the encoder then finds the steps of each signal (``Backtracking``).
        measurement: None, or an object of ``problem.measurements``: Phi of data y = Phi D z, for ``SparseCoding``; L is
            then the largest eigenvalue of (Phi D)^T Phi D.
        dense_filters: how many of the dictionary's filters, the last ones, are dense: their lambda is 0, and their
            codes have both signs whatever ``code_prior``, which is that of the others.
        dense_penalty: None, or the weight r of a penalty r/2 ||x||^2 of the dense filters' code x.
        one_position: whether all signals are as long as the filters, so that "auto" is the step size of a matrix, many
            times longer; other signals are then refused. For a plain ``ConvDictionary``.

    Where the likelihood is one of counts the cell holds ``baseline``, eta of the zero code, (channels,), not trainable.

    Call: ``cell(signal, [x, w, t]) -> code, [x, w, t]`` with signal (batch, *space, channels),
    x and w (batch, *positions, filters), t (batch, 1).

    Raises:
        ValueError: unknown prior or likelihood, a step size that is not positive; on a call, step_size="auto" where the
            likelihood's curvature has no bound.

    Example:
        >>> import keras
        >>> from keras_crsae.layers import ConvDictionary, SparseCodingCell
        >>> cell = SparseCodingCell(ConvDictionary(filters=3, kernel_size=9))
        >>> signal = keras.ops.ones((2, 100, 1))
        >>> cell.build(signal.shape)
        >>> code, states = cell(signal, cell.get_initial_state(signal=signal))
        >>> tuple(code.shape), len(states)
        ((2, 92, 3), 3)
    """

    def __init__(self, dictionary: ConvDictionary, code_prior: CodePrior | str = "nonnegative_soft",
                 likelihood: Likelihood | str = "gaussian", lambda_init: Any = 1.0, lambda_shared: bool = False,
                 sigma: float = 1.0, step_size: Any = "auto", dtype: Any = None, measurement: Any = None,
                 dense_filters: int = 0, dense_penalty: float | None = None, one_position: bool = False,
                 **kwargs: Any) -> None:
        super().__init__(dtype=layer_policy(dtype), **kwargs)
        self.code_prior, self.likelihood = code_priors.get(code_prior), likelihoods.get(likelihood)
        self.sparse_prior, self.dense_filters = self.code_prior, int(dense_filters)
        self.dense_penalty = None if dense_penalty is None else as_positive(dense_penalty, "dense_penalty")
        self.measurement = own_measurement.get(measurement)
        if self.dense_filters or self.dense_penalty is not None:
            check_data(self.likelihood, self.measurement)
            self.code_prior = with_dense_filters(self.sparse_prior, dictionary, self.dense_filters, self.dense_penalty)
        self.code_prior.check(dictionary.filters, dictionary.rank)
        check_measurement(self.measurement, dictionary, self.likelihood)
        if step_size != "auto" and not step_size > 0:
            raise ValueError(f"`step_size` must be 'auto' or a positive number. Received: {step_size!r}")
        self.dictionary = dictionary
        self.lambda_init, self.lambda_shared = lambda_init, lambda_shared
        self.sigma_init, self.step_size_init = sigma, step_size
        self.one_position = one_position
        self._space: tuple[int | None, ...] | None = None
        self._seen: np.ndarray | None = None  # the kernel that the step size was last compared with

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if not self.dictionary.built:
            self.dictionary.set_channels(input_shape[-1] or 1)
            self.dictionary.build()
        self._space = tuple(self.measurement.signal_space(input_shape[1:-1]))
        zeros = 0 if self.lambda_shared else self.dense_filters
        count = 1 if self.lambda_shared else self.dictionary.filters - zeros
        self.lambda_reg = self.add_weight(name="lambda_reg", shape=(count + zeros,), initializer="ones",
                                          constraint=AboveBound(zeros=zeros) if zeros else AboveBound())
        first = ops.broadcast_to(ops.cast(self.lambda_init, self.lambda_reg.dtype), (count,))
        self.lambda_reg.assign(ops.pad(first, [(0, zeros)]) if zeros else first)
        self.sigma = self.add_weight(name="sigma", shape=(), trainable=False,
                                     initializer=keras.initializers.Constant(
                                         math.sqrt(self.likelihood.dispersion(self.sigma_init))))
        self.step_size = self.add_weight(name="step_size", shape=(), trainable=False, initializer="ones")
        self.baseline: keras.Variable | None = None
        if self.likelihood.size_name is not None:
            self.baseline = self.add_weight(name="baseline", shape=(self.dictionary.channels,), trainable=False,
                                            initializer="zeros")
        self.refresh_step_size()

    @property
    def one_position(self) -> bool:
        """Whether all signals are as long as the filters; setting it sets the step size of a built cell anew."""
        return self._one_position

    @one_position.setter
    def one_position(self, value: bool) -> None:
        if value and type(self.dictionary) is not ConvDictionary:
            raise ValueError("`one_position` is for a plain ConvDictionary. "
                             f"Received: {type(self.dictionary).__name__}")
        self._one_position = bool(value)
        if self.built:
            self.refresh_step_size()

    def check_space(self, space: Sequence[int | None]) -> None:
        """ValueError for signals of other sizes than the filters where the step size is that of one position."""
        size = self.dictionary.kernel_size
        if self.one_position and self.step_size_init == "auto" and any(
                n not in (None, k) for n, k in zip(space, size, strict=True)):
            raise ValueError(f"This encoder is for signals as long as its filters, {size} samples, as its classifier "
                             "was built for: its step size is that of a matrix, with which others diverge. Received: "
                             f"{tuple(space)} samples. For these, make a model of the same filters: "
                             "CRsAE.from_config(model.get_config()), then set_dictionary(model.dictionary.kernel).")

    def safe_step_size(self) -> Tensor | None:
        """1 / L, with which no iteration diverges; None where the likelihood's curvature has no bound."""
        curvature = self.likelihood.curvature
        return None if curvature is None else 1.0 / (curvature * self.largest_eigenvalue())

    def largest_eigenvalue(self) -> Tensor:
        """Upper bound of the largest eigenvalue of (Phi D)^T Phi D; of a stack of matrices, of each of them."""
        dictionary = self.dictionary
        if self.measurement.is_mask:
            return dictionary.largest_eigenvalue(**{"one_position": True} if self.one_position else {})
        return self.measurement.largest_eigenvalue(dictionary.unit_kernel(), dictionary.strides,
                                                   dictionary.largest_eigenvalue)

    @property
    def finds_steps(self) -> bool:
        """Whether no step size is known to be safe, so that the encoder finds one for each signal."""
        return self.step_size_init == "auto" and self.likelihood.curvature is None

    def _auto_step_size(self) -> Tensor:
        """1 / L, the curvature taken as 1 where it has no bound."""
        safe = self.safe_step_size()
        return 1.0 / self.largest_eigenvalue() if safe is None else safe

    def first_step(self, signal: Tensor, observed: Tensor | None, baseline: Tensor | None) -> Tensor:
        """Step size with which a search for steps begins, scalar or (batch,).

        Args:
            signal: (batch, *space, channels).
            observed: None, or weights in [0, 1] of the signal's shape.
            baseline: None (0), or eta of the zero code, broadcastable to the signal.
        """
        step = ops.cast(ops.stop_gradient(self.step_size.value), signal.dtype)
        if not self.finds_steps:
            return step
        weighted = signal if observed is None else observed * signal
        curvature = self.likelihood.start_curvature(weighted, 0.0 if baseline is None else baseline)
        return step / ops.stop_gradient(curvature)

    def refresh_step_size(self) -> None:
        """Set the step size to 1 / L of the present dictionary (or to the user's number)."""
        self.step_size.assign(self._auto_step_size() if self.step_size_init == "auto" else self.step_size_init)

    def restore_constraints(self) -> None:
        """Filters on their constraint and a step size of 1 / L, where others changed the filters.

        Training sees to both after each step. Averages of weights, ``set_weights`` and ``kernel.assign`` leave filters
        of other norms and the step size of those before. Values that fit up to rounding stay as they are. For
        inference, outside of graphs; while the filters are the same as at the last call it compares them only.
        """
        kernel = self.dictionary.constrain_kernel()
        if kernel is self._seen:
            return
        self._seen = kernel
        if self.step_size_init != "auto":
            return
        safe = self._auto_step_size()
        right, present = (float(ops.convert_to_numpy(v)) for v in (safe, self.step_size))
        if math.isfinite(right) and not abs(present - right) <= _MOST_ROUNDING * right:
            self.step_size.assign(safe)

    def note_kernel(self) -> None:
        """Take the present filters and step size for right, as a step of training leaves them."""
        self._seen = self.dictionary.note_kernel()

    @property
    def state_size(self) -> list[tuple[int | None, ...]]:
        shape = (*self.dictionary.code_space(self._space), self.dictionary.filters)
        return [shape, shape, (1,)]

    @property
    def output_size(self) -> tuple[int | None, ...]:
        return self.state_size[0]

    def get_initial_state(self, batch_size: int | None = None, signal: Tensor | None = None) -> list[Tensor]:
        """Zero code, zero extrapolated point, t = 1; sizes from ``signal`` where it is given."""
        if signal is None:
            space, batch, dtype = self._space, batch_size, self.compute_dtype
        else:
            batch, *space = ops.shape(signal)[:-1]
            space, dtype = self.measurement.signal_space(space), signal.dtype
        shape = (batch, *self.dictionary.code_space(space), self.dictionary.filters)
        return list(FISTA().init(ops.zeros(shape, dtype=dtype)))

    def penalty_weight(self, sigma: Tensor | None = None, dispersion: Tensor | None = None) -> Tensor:
        """Weight of the l1 norm, lambda sigma^2, in the signal's unit: (filters,) or (batch, 1, ..., filters).

        Of dense filters it is ``dense_penalty``, or 0, a number without unit.

        Args:
            sigma: None, or a noise level of the call, scalar or (batch,). lambda * sigma is then kept: the weight is
                lambda * self.sigma * sigma, as if the signal were scaled to the model's sigma and back.
            dispersion: None, or sigma^2 of the call, scalar or (batch,). lambda is then kept: the weight is
                lambda * dispersion, as trials or exposures of a call's own ask for.
        """
        return self._penalty_weight(sigma, dispersion, 1.0)

    def threshold(self, sigma: Tensor | None = None, dispersion: Tensor | None = None) -> Tensor:
        """Bias of the shrinkage, ``penalty_weight(sigma, dispersion) * step_size``."""
        return self._penalty_weight(sigma, dispersion, self.step_size)

    @property
    def dense_weight(self) -> float:
        """Weight of the dense filters' quadratic penalty, 0 where they have none."""
        return self.dense_penalty or 0.0

    def _penalty_weight(self, sigma: Tensor | None, dispersion: Tensor | None, factor: Tensor) -> Tensor:
        if self.dense_filters:
            dense = ops.cast(np.arange(self.dictionary.filters) >= self.dictionary.filters - self.dense_filters,
                             self.lambda_reg.dtype)
            return (1.0 - dense) * self._l1_weight(sigma, dispersion, factor) + dense * self.dense_weight * factor
        return self._l1_weight(sigma, dispersion, factor)

    def _l1_weight(self, sigma: Tensor | None, dispersion: Tensor | None, factor: Tensor) -> Tensor:
        if dispersion is not None:
            return self.lambda_reg * factor * self._of_signals(dispersion)
        scale = self.lambda_reg * self.sigma * factor
        return scale * (self.sigma if sigma is None else self._of_signals(sigma))

    def _of_signals(self, values: Tensor) -> Tensor:
        """A number, or one a signal (batch,), as it broadcasts to a code."""
        level: Tensor = ops.cast(values, self.sigma.dtype)
        return ops.reshape(level, (-1,) + (1,) * (self.dictionary.rank + 1)) if len(level.shape) == 1 else level

    def call(self, inputs: Tensor, states: list[Tensor], descend: Descend | None = None,
             factor: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """One iteration of FISTA; ``descend``: the step of the caller, see ``solvers.proximal_step.descent``."""
        if descend is None and self.finds_steps:
            raise ValueError(f"step_size='auto' needs a bound of the likelihood's curvature, and "
                             f"{type(self.likelihood).__name__} has none. Use SparseCoding, which finds a step size "
                             "for each signal, or give `step_size` a number, small enough for the largest second "
                             "derivative that occurs.")
        state = FISTA().step(tuple(states), descend or self.descent(inputs), factor)
        return state[0], list(state)

    def descent(self, signal: Tensor) -> Callable[[Tensor], Tensor]:
        """The step w -> prox(w + step D^T residual(y, D w)) on a signal of whole strides."""
        if not isinstance(self.measurement, Identity):
            raise ValueError(f"One iteration by hand is for data that are signals: use SparseCoding with the "
                             f"measurement {self.measurement!r}.")
        kernel, step, threshold = (ops.cast(v, signal.dtype) for v in (
            self.dictionary.unit_kernel(), ops.stop_gradient(self.step_size.value), self.threshold()))
        baseline = None if self.baseline is None else ops.cast(self.baseline.value, signal.dtype)
        return descent(Problem(self.likelihood, self.code_prior, baseline=baseline), signal, kernel,
                       self.dictionary.strides, step, threshold)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(),
                "dictionary": _shared(self.dictionary),
                "code_prior": code_priors.serialize(self.sparse_prior),
                "likelihood": likelihoods.serialize(self.likelihood), "lambda_init": self.lambda_init,
                "lambda_shared": self.lambda_shared, "sigma": self.sigma_init,
                "dense_filters": self.dense_filters, "dense_penalty": self.dense_penalty,
                "step_size": self.step_size_init, "measurement": measurements.serialize(self.measurement),
                "one_position": self.one_position}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SparseCodingCell:
        config = dict(config)
        config["dictionary"] = keras.saving.deserialize_keras_object(config["dictionary"])
        return cls(**config)


def _shared(layer: ConvDictionary) -> dict[str, Any]:
    """Config of a layer that a model may hold as a layer of its own, too, as one that decodes.

    Keras marks an object that occurs twice in a model's config, but loses the mark of what a layer's own config holds,
    and has no public function that sets it; with the mark, loading gives one dictionary again. A test notices if the
    mark changes.
    """
    return {**keras.saving.serialize_keras_object(layer), "shared_object_id": id(layer)}
