"""What a solver that finds its own step sizes is given of a batch: dictionary, likelihood and prior of the code.

eta = D w + baseline is kept by the solver, which moves it as it moves w, since D is linear: one iteration applies D and
D^T once, as one of fixed steps does.
"""

from __future__ import annotations

import keras
from keras import ops

from keras_crsae.problem.objective import Problem
from keras_crsae.solvers import proximal_step
from keras_crsae.solvers.proximal_step import Tail
from keras_crsae.typing import Shape, Tensor


class SignalOperations:
    """D, the proximal gradient step and the sums of each signal, for a step size a signal.

    Args:
        problem: likelihood, code prior, measurement Phi, baseline.
        signal: (batch, *space, channels).
        kernel: (*kernel_size, channels, filters).
        strides: one int an axis; space must be whole strides.
        first_step: (batch,), or one number an entry: step size to begin with.
        penalty_weight: lambda sigma^2, (filters,), or broadcastable to the code.
        exists: None, or 0/1 broadcastable to the code: 0 where it stays 0.
        tail, in_place: see ``proximal_step.descent``.

    Numbers of a signal have the shape (batch, 1, ..., 1).

    Example:
        >>> from keras import ops
        >>> from keras_crsae.problem import Exponential, Gaussian, Problem
        >>> from keras_crsae.solvers.operations import SignalOperations
        >>> filters, zero = ops.ones((3, 1, 1)), ops.zeros((1, 2, 1))
        >>> given = SignalOperations(Problem(Gaussian(), Exponential()), ops.ones((1, 4, 1)), filters, (1,),
        ...                          ops.array([0.5]), ops.array([1.0]))
        >>> ops.convert_to_numpy(given.change(zero, given.start(), given.first_step)).ravel().tolist()
        [1.0, 1.0]
    """

    def __init__(self, problem: Problem, signal: Tensor, kernel: Tensor, strides: Shape, first_step: Tensor,
                 penalty_weight: Tensor, *, exists: Tensor | None = None, tail: Tail | None = None,
                 in_place: bool = False) -> None:
        self.problem, self.signal, self.kernel, self.strides = problem, signal, kernel, strides
        self.penalty_weight, self.exists, self.tail = penalty_weight, exists, tail
        numbers = (ops.shape(signal)[0],) + (1,) * (len(signal.shape) - 1)
        self.first_step = ops.broadcast_to(ops.reshape(first_step, (-1, *numbers[1:])), numbers)
        self._axes = tuple(range(1, len(signal.shape)))
        observed = problem.measurement.observed
        self._weight = None if observed is None else ops.cast(observed, signal.dtype)
        # In a gap of the data D w may be anything, also where its exponential overflows: 0 * inf must not occur.
        self._seen = self._weight > 0 if self._weight is not None and problem.measurement.projection else None
        plain = proximal_step.is_plain(strides)
        self._synthesis = proximal_step.synthesis_of(kernel, strides, plain)
        self._as_bias = problem.code_prior.bias_form and len(penalty_weight.shape) == 1
        self._rise = proximal_step.ascent(kernel, strides, plain, in_place, penalty_weight if self._as_bias else None)

    def start(self) -> Tensor:
        """eta = Phi (D 0 + baseline), of the signal's shape."""
        return self.problem.predict(ops.zeros_like(self.signal))

    def synthesise(self, code: Tensor) -> Tensor:
        """Phi D x; 0 in gaps of the data, where eta so stays as it began: elsewhere it could overflow."""
        measurement, eta = self.problem.measurement, self._synthesis(code)
        if not measurement.projection:
            return measurement.forward(eta)
        return eta if self._seen is None else ops.where(self._seen, eta, 0.0)

    def change(self, back: Tensor, eta: Tensor, step: Tensor) -> Tensor:
        """prox(w + s D^T Phi^T residual(y, eta), s penalty weight) - w for a step size s and ``back`` = -w."""
        prior = self.problem.code_prior
        residual = self.problem.measurement.adjoint(self.problem.likelihood.residual(self.signal, eta))
        rise = step * self._rise(None, residual)
        if self.exists is not None:
            rise = self.exists * rise  # before the shrinkage: what is closed has no part in the norm of a group
        change = ops.maximum(rise, back) if self._as_bias else prior.change(rise, back, step * self.penalty_weight)
        return change if self.tail is None else proximal_step.write(change, self.tail)

    def is_within(self, eta: Tensor, change: Tensor, allowed: Tensor) -> Tensor:
        """Whether the observed samples' values at eta + change lie at most ``allowed`` above their tangent at eta.

        A bool a signal, by the sum. Samples beyond the signal, in the last block, have no part in it: no code reaches
        them, and their change is 0.
        """
        likelihood = self.problem.likelihood
        excess = self._sum(self._weighted(likelihood.step_excess(self.signal, eta, change)))
        return excess <= (allowed + self._rounding(eta) if likelihood.excess_cancels else allowed)

    def _rounding(self, eta: Tensor) -> Tensor:
        """What rounding may add to a difference of the data term's values, a number a signal."""
        value = ops.abs(self.problem.likelihood.value(self.signal, eta))
        return 2.0 * keras.config.epsilon() * self._sum(self._weighted(value))

    def is_surely_within(self, eta: Tensor, change: Tensor, allowed: Tensor) -> Tensor:
        """``is_within``, or what implies it and costs less."""
        likelihood = self.problem.likelihood
        factor = likelihood.excess_factor(ops.max(change, axis=self._axes, keepdims=True))
        if factor is None:
            return self.is_within(eta, change, allowed)
        curved = self._sum(self._weighted(likelihood.variance(eta) * change) * change)
        return (0.5 * factor) * curved <= allowed

    def steepest(self, eta: Tensor, moves: Tensor) -> Tensor | None:
        """Bound of the largest eigenvalue of D_S^T A''(eta) D_S, S the values that ``moves``; None: A'' is unknown.

        It is the largest row sum of |D_S| |D_S|^T A''(eta), as A''^(1/2) D_S D_S^T A''^(1/2) has the same eigenvalue.
        Where large values of A'' stand alone it is that eigenvalue itself. It costs as much as the step.
        """
        variance = self.problem.likelihood.variance(eta)
        if variance is None:
            return None
        kernel, plain = ops.abs(ops.stop_gradient(self.kernel)), proximal_step.is_plain(self.strides)
        variance = ops.stop_gradient(self._weighted(variance))
        spread = proximal_step.ascent(kernel, self.strides, plain, False)(None, variance)
        spread = ops.where(moves, spread, 0.0)
        rows = proximal_step.synthesis_of(kernel, self.strides, plain)(spread)
        return ops.max(rows if self._seen is None else ops.where(self._seen, rows, 0.0), axis=self._axes, keepdims=True)

    def energy(self, change: Tensor) -> Tensor:
        """||change||^2 of a change of the code, a number a signal."""
        return self._sum(ops.square(change))

    def choose(self, which: Tensor, new: Tensor, old: Tensor) -> Tensor:
        """``new`` for the signals where ``which``, a bool a signal, holds, ``old`` for the others."""
        return proximal_step.select_signals(ops.reshape(which, (-1,)), new, old)

    def _weighted(self, values: Tensor) -> Tensor:
        return values if self._weight is None else self._weight * values

    def _sum(self, values: Tensor) -> Tensor:
        return ops.sum(values, axis=self._axes, keepdims=True)
