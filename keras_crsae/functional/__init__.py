"""Pure functions of tensors: operators, shrinkage, solvers, step size. No state, no layers."""

from keras_crsae.functional.convolution import adjoint, code_length, signal_length, synthesis
from keras_crsae.functional.descent import descent
from keras_crsae.functional.shrinkage import SHRINKAGES, shrink
from keras_crsae.functional.solvers import fista_init, fista_step, ista_init, ista_step
from keras_crsae.functional.step_size import largest_eigenvalue

__all__ = [
    "SHRINKAGES", "adjoint", "code_length", "descent", "fista_init", "fista_step", "ista_init", "ista_step",
    "largest_eigenvalue", "shrink", "signal_length", "synthesis",
]
