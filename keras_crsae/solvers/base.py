"""What a solver is: how the encoder's objective is minimised, apart from what is minimised.

A solver has an initial state and a step; it sees neither dictionary nor prior, only the function ``descend``, or, where
it finds its step sizes itself, the ``Operations`` of a batch. The next solver is one class in this folder, or in your
own code, with ``@register_solver("name")``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from keras import ops

from keras_crsae.problem.registry import Configured, Registry
from keras_crsae.typing import Tensor

#: Tensors that one iteration hands to the next; the code comes first, see ``Solver.code``.
State = tuple[Tensor, ...]
#: w -> prox(w - step * gradient(w)), see ``solvers.proximal_step.descent``.
Descend = Callable[[Tensor], Tensor]


class Operations(Protocol):
    """What a solver that finds its own step sizes is given: dictionary, likelihood and prior of a batch.

    Numbers of a signal have the shape (batch, 1, ..., 1); see ``solvers.operations``.
    """

    @property
    def first_step(self) -> Tensor:
        """Step size to begin with."""
        ...

    @property
    def signal(self) -> Tensor:
        """(batch, *space, channels)."""
        ...

    def start(self) -> Tensor:
        """eta = Phi (D 0 + baseline), of the signal's shape."""
        ...

    def synthesise(self, code: Tensor) -> Tensor:
        """Phi D x."""
        ...

    def change(self, back: Tensor, eta: Tensor, step: Tensor) -> Tensor:
        """prox(w - s gradient(w), s penalty weight) - w for a step size s, given ``back`` = -w and eta at w."""
        ...

    def is_within(self, eta: Tensor, change: Tensor, allowed: Tensor) -> Tensor:
        """Whether the data term at eta + change lies at most ``allowed`` above its tangent at eta, a bool a signal."""
        ...

    def is_surely_within(self, eta: Tensor, change: Tensor, allowed: Tensor) -> Tensor:
        """``is_within``, or what implies it and costs less."""
        ...

    def steepest(self, eta: Tensor, moves: Tensor) -> Tensor | None:
        """Bound of the curvature at eta along code values that ``moves``, a bool each; None: unknown."""
        ...

    def energy(self, change: Tensor) -> Tensor:
        """||change||^2 of a change of the code, a number a signal."""
        ...

    def choose(self, which: Tensor, new: Tensor, old: Tensor) -> Tensor:
        """``new`` for the signals where ``which``, a bool a signal, holds, ``old`` for the others."""
        ...


class Solver(Configured):
    """Iterations x_0, x_1, ... towards the minimiser, as ``init`` and ``step``.

    Attributes:
        exports: whether its iterations can be written into an exported graph: each is prox(w - step * gradient(w)) and
            the extrapolation of ``momentum``.
        active: whether inference works on the active parts of a signal alone (``solvers.active_set``); ``init`` and
            ``step`` are then those of training.
        adaptive: whether it finds a step size for each signal: ``step`` is then given ``Operations`` in place of
            ``descend``, iterations begin with ``begin``, and ``momentum`` is what the class makes of it.

    Example:
        >>> from keras import ops
        >>> from keras_crsae.solvers import FISTA
        >>> solver = FISTA()
        >>> state = solver.init(ops.zeros((1, 5, 2)))
        >>> float(solver.step(state, lambda w: ops.relu(w - (w - 3.0) - 1.0))[0][0, 0, 0])
        2.0
    """

    exports: bool = True
    active: bool = False
    adaptive: bool = False

    def init(self, code: Tensor) -> State:
        """State of a first code, (batch, *positions, filters)."""
        raise NotImplementedError

    def begin(self, code: Tensor, problem: Operations) -> State:
        """State of the code 0 where the solver is ``adaptive``, in place of ``init``."""
        raise NotImplementedError

    def step(self, state: State, descend: Any, factor: Tensor | None = None) -> State:
        """The next state.

        Args:
            state: ``init(code)``, or an earlier step's.
            descend: w -> prox(w - step * gradient(w)); ``Operations`` where the solver is ``adaptive``.
            factor: this step's entry of ``momentum``, where the caller has it; a number, or a tensor.
        """
        raise NotImplementedError

    def refresh(self, state: State, problem: Operations) -> State:
        """The same state with running sums computed anew, where an ``adaptive`` solver keeps any."""
        return state

    def momentum(self, iterations: int) -> list[float]:
        """Extrapolation after each of ``iterations`` steps from the beginning: x + factor (x - x_last)."""
        raise NotImplementedError

    def code(self, state: State) -> Tensor:
        """The code of a state: its first entry, unless overridden."""
        return state[0]

    def shift(self, state: State, change: Tensor) -> State:
        """The state where the baseline has risen by ``change``: the same, unless it holds values of eta."""
        return state

    def change(self, before: State, after: State) -> Tensor:
        """Largest ||x - x_before|| / ||x|| over the batch, a scalar; 0 for codes that stay zero.

        What ``tolerance`` is compared with: of one iteration, and of ten where the solver is ``adaptive``.
        """
        code, last = self.code(after), self.code(before)
        axes = list(range(1, len(code.shape)))
        moved, size = (ops.sum(ops.square(a), axis=axes) for a in (code - last, code))
        return ops.sqrt(ops.max(moved / ops.maximum(size, 1e-30)))


registry = Registry("solver", Solver, default="fista")
get = registry.get
"""The solver that an object, a registered name, a Keras config or None (the default) stands for."""
names = registry.names
"""Registered names of this kind, sorted."""
serialize = registry.serialize
"""What ``get_config`` of a model stores: the registered name, or the object's Keras config."""
register_solver = registry.register
"""Class decorator ``register_solver(name)``: names a solver of your own, also in saved models."""
