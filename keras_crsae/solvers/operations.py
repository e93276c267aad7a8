"""What a solver that finds its own step sizes is given of a batch: dictionary, likelihood and prior of the code.

``u = D x`` and ``v = D w`` are kept by the solver, which moves them as it moves x and w, since D is linear: one
iteration applies D and D^T once, as one of fixed steps does.
"""

from __future__ import annotations

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
        >>> ops.convert_to_numpy(given.descend(zero, given.synthesise(zero))).ravel().tolist()
        [2.0, 2.0]
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

    def synthesise(self, code: Tensor) -> Tensor:
        """D x."""
        return self._synthesis(code)

    def descend(self, point: Tensor, synthesised: Tensor) -> Tensor:
        """prox(w / s + D^T Phi^T residual(y, Phi (D w + baseline)), penalty weight), ``point`` = w / s."""
        prior = self.problem.code_prior
        residual = self.problem.residual(self.signal, self._observed(synthesised))
        moved = self._rise(point, residual)
        if self.exists is not None:
            moved = self.exists * moved  # before the shrinkage: what is closed has no part in the norm of a group
        code = ops.relu(moved) if self._as_bias else prior.prox(moved, self.penalty_weight)
        return code if self.tail is None else proximal_step.write(code, self.tail)

    def excess(self, synthesised: Tensor, change: Tensor) -> Tensor:
        """How far the observed samples' values at D w + change lie above their tangent at D w, summed a signal.

        Samples beyond the signal, in the last block, have no part in it: no code reaches them, and their change is 0.
        """
        problem = self.problem
        if not problem.measurement.projection:
            change = problem.measurement.forward(change)
        eta = problem.predict(self._observed(synthesised))
        above = problem.likelihood.step_excess(self.signal, eta, self._observed(change))
        return self._sum(above if self._weight is None else self._weight * above)

    def energy(self, change: Tensor) -> Tensor:
        """||change||^2 of a change of the code, a number a signal."""
        return self._sum(ops.square(change))

    def choose(self, which: Tensor, new: Tensor, old: Tensor) -> Tensor:
        """``new`` for the signals where ``which``, a bool a signal, holds, ``old`` for the others."""
        return proximal_step.select_signals(ops.reshape(which, (-1,)), new, old)

    def _observed(self, values: Tensor) -> Tensor:
        return values if self._seen is None else ops.where(self._seen, values, 0.0)

    def _sum(self, values: Tensor) -> Tensor:
        return ops.sum(values, axis=self._axes, keepdims=True)
