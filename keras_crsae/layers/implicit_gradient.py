"""The gradient of a converged code, from its conditions of optimality in place of the iterations that found it.

On the support S of the optimum, D_S^T (y - D z) = w_S sign(z_S), w the penalty weight, and S stays as it is under small
changes of the signal, the filters and w. Differentiated, that gives dz_S = (D_S^T D_S)^{-1} d(D_S^T (y - D z) - w_S
sign(z_S)), z held constant in the right-hand side, and dz = 0 outside of S. Memory and time of the gradient do not grow
with the iterations (Mairal, Bach, Ponce, Task-driven dictionary learning, arXiv 1009.5358, proposition 1).
"""

from __future__ import annotations

from collections.abc import Callable

from keras import ops

from keras_crsae.backend import custom_gradient, tf
from keras_crsae.layers.folded_problem import FoldedProblem
from keras_crsae.layers.sparse_coding_cell import SparseCodingCell
from keras_crsae.operators.convolution import adjoint, synthesis
from keras_crsae.typing import Tensor

#: Conjugate-gradient steps at most, and the share of the first squared residual at which a signal is done.
MOST_STEPS, _ENOUGH = 100, 1e-12
#: Curvature d^T G d / d^T d, filters of norm 1, below which a direction is not followed. A code that has not converged
#: may hold more values than the signal has samples: the system has then no solution, and the steps would run away.
_LEAST_CURVATURE = 1e-3
_TINY = 1e-30


def check_implicit(cell: SparseCodingCell, optimum: bool) -> None:
    """ValueError for an encoder whose code has no implicit gradient.

    Args:
        cell: of the encoder.
        optimum: whether what it returns is the code alone that the iterations end with, by one dictionary.
    """
    if not cell.likelihood.quadratic or cell.code_prior.group_axes:
        raise ValueError("gradient='implicit' differentiates the conditions of optimality of a Gaussian likelihood "
                         "with a penalty of each value by itself. Use gradient='unrolled'. Received: "
                         f"likelihood={type(cell.likelihood).__name__}, code_prior={type(cell.code_prior).__name__}")
    if not optimum:
        raise ValueError("gradient='implicit' is that of the optimum alone: omit return_sequences, top_k and analysis, "
                         "or use gradient='unrolled'.")


def with_implicit_gradient(problem: FoldedProblem, code: Tensor) -> Tensor:
    """The code with the gradient of the optimum to signal, filters and penalty weight, whatever found it.

    Args:
        problem: quadratic likelihood, penalty of each value by itself; as the iterations ran on it.
        code: (batch, *positions, filters) of the problem. The gradient is exact where the code is the optimum and
            the squared singular values of D_S are above 1e-3; what lies along smaller ones is left out in part.

    Returns:
        Tensor of code's values and shape.
    """
    t, code = problem.tensors, ops.stop_gradient(code)
    step = t.step_size
    if len(ops.shape(step)):  # one a signal
        step = ops.reshape(step, (-1,) + (1,) * (len(t.signal.shape) - 1))
    weight = t.threshold / step

    @custom_gradient
    def attached(signal: Tensor, kernel: Tensor, weight: Tensor) -> tuple[Tensor, Callable[[Tensor], list[Tensor]]]:
        support = ops.cast(ops.not_equal(code, 0.0), code.dtype)

        def gram(change: Tensor) -> Tensor:  # D_S^T Phi^T Phi D_S
            zero = ops.zeros_like(signal)
            return -support * adjoint(problem.problem().residual(zero, synthesis(change, kernel, problem.strides)),
                                      kernel, problem.strides)

        def backward(upstream: Tensor) -> list[Tensor]:
            direction = solve(gram, support * upstream)
            with tf.GradientTape() as tape:
                tape.watch([signal, kernel, weight])
                residual = problem.problem().residual(signal, synthesis(code, kernel, problem.strides))
                penalty = problem.code_prior.penalty(code, weight) / tf.where(code == 0, tf.ones_like(code), code)
                value = tf.reduce_sum(direction * (adjoint(residual, kernel, problem.strides) - penalty))
            return tape.gradient(value, [signal, kernel, weight], unconnected_gradients="zero")

        return ops.copy(code), backward

    return attached(t.signal, t.kernel, weight)


def solve(gram: Callable[[Tensor], Tensor], right: Tensor, steps: int = MOST_STEPS) -> Tensor:
    """x with gram(x) = right for each signal of a batch, by conjugate gradients.

    Args:
        gram: symmetric positive semidefinite map of (batch, ...) to its shape, that of each signal by itself.
        right: (batch, ...).
        steps: at most. A signal's solution stays as it is once its residual has fallen to 1e-6 of its first, or where
            ``gram`` hardly changes the direction of the next step.

    Returns:
        Tensor of right's shape.

    Example:
        >>> import numpy as np
        >>> from keras import ops
        >>> from keras_crsae.layers.implicit_gradient import solve
        >>> matrix = np.array([[2.0, 1.0], [1.0, 3.0]], "float32")
        >>> found = solve(lambda x: ops.matmul(x, matrix), np.array([[3.0, 4.0]], "float32"))
        >>> np.round(ops.convert_to_numpy(found), 5).tolist()
        [[1.0, 1.0]]
    """
    right = ops.convert_to_tensor(right)
    axes = tuple(range(1, len(right.shape)))

    def total(values: Tensor) -> Tensor:
        return ops.sum(values, axis=axes, keepdims=True)

    enough = _ENOUGH * total(ops.square(right))

    def body(found: Tensor, residual: Tensor, direction: Tensor, power: Tensor) -> tuple[Tensor, ...]:
        image = gram(direction)
        curvature = total(direction * image)
        goes_on = (power > enough) & (curvature > _LEAST_CURVATURE * total(ops.square(direction)))
        step = ops.where(goes_on, power / (curvature + _TINY), 0.0)
        found, residual = found + step * direction, residual - step * image
        new = total(ops.square(residual))
        goes_on = goes_on & (new > enough)
        direction = ops.where(goes_on, residual + new / (power + _TINY) * direction, 0.0)
        return found, residual, direction, ops.where(goes_on, new, 0.0)

    start = (ops.zeros_like(right), right, right, total(ops.square(right)))
    return ops.while_loop(lambda found, residual, direction, power: ops.any(power > enough), body, start,
                          maximum_iterations=steps)[0]
