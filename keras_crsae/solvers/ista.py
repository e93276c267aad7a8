"""ISTA: proximal gradient descent (Daubechies, Defrise, De Mol 2004; Beck and Teboulle 2009, section 3)."""

from __future__ import annotations

from keras_crsae.solvers.base import Descend, Solver, State, register_solver
from keras_crsae.typing import Tensor


@register_solver("ista")
class ISTA(Solver):
    """x_{k+1} = prox(x_k - step * gradient(x_k)); the objective falls as 1 / k.

    Example:
        >>> from keras_crsae.solvers import ISTA
        >>> ISTA().momentum(3)
        [0.0, 0.0, 0.0]
    """

    def init(self, code: Tensor) -> State:
        """The code alone."""
        return (code,)

    def step(self, state: State, descend: Descend, factor: Tensor | None = None) -> State:
        return (descend(state[0]),)

    def momentum(self, iterations: int) -> list[float]:
        return [0.0] * iterations
