"""How the objective is minimised: a solver is an initial state and a step.

Where the next one goes: a class in this folder, under a name given by ``register_solver``.
"""

from keras_crsae.solvers.active_set import ActiveSet
from keras_crsae.solvers.backtracking import Backtracking
from keras_crsae.solvers.base import Solver, get, names, register_solver, serialize
from keras_crsae.solvers.fista import FISTA
from keras_crsae.solvers.ista import ISTA

__all__ = ["FISTA", "ISTA", "ActiveSet", "Backtracking", "Solver", "get", "names", "register_solver", "serialize"]


def __dir__() -> list[str]:
    return __all__
