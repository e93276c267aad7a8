"""Small problems on windows of a code, all with one Gram matrix: what ``solvers.active_set`` solves in a round."""

from __future__ import annotations

import numpy as np
from crsae_onnx.core.active_windows import PASS

from keras_crsae.backend import tf
from keras_crsae.operators.convolution import adjoint
from keras_crsae.problem.code_priors import CodePrior
from keras_crsae.typing import Tensor


def strongest_apart(score: Tensor, threshold: Tensor, spacing: int) -> Tensor:
    """One position at most in each block of ``spacing``: its strongest, unless a stronger one is too near.

    Args:
        score: (batch, positions), how much each would move.
        threshold: least score worth a move.
        spacing: least distance of two selected positions of one signal.

    Returns:
        (selected, 2) int32: batch entry, position.
    """
    batch, positions = tf.shape(score)[0], tf.shape(score)[1]
    blocks = (positions + spacing - 1) // spacing
    score = tf.pad(score, [[0, 0], [0, blocks * spacing - positions]])
    score = tf.reshape(score, (batch, blocks, spacing))
    best = tf.reduce_max(score, axis=2)
    place = tf.argmax(score, axis=2, output_type=tf.int32) + spacing * tf.range(blocks)
    near = place[:, 1:] - place[:, :-1] < spacing
    loses_right = near & (best[:, 1:] > best[:, :-1])
    wins = (best > threshold) & ~tf.pad(loses_right, [[0, 0], [0, 1]]) & ~tf.pad(near & ~loses_right, [[0, 0], [1, 0]])
    entry = tf.cast(tf.where(wins), tf.int32)
    return tf.stack([entry[:, 0], tf.gather_nd(place, entry)], axis=1)


def window_correlation(kernel: Tensor, width: int, around: int) -> Tensor:
    """What a code in a window does to ``D^T D z`` around it.

    Args:
        kernel: (kernel_size, channels, filters).
        width: code positions of the window.
        around: positions on each side of it, kernel_size - 1 or more (further ones are not reached).

    Returns:
        (width, filters, width + 2 around, filters): inner product of the filter at a window's position with the
        filter at a position from ``around`` before the window to ``around`` after it.
    """
    size = kernel.shape[0]
    padded = tf.pad(tf.transpose(kernel, (2, 0, 1)), [[0, 0], [size - 1, size - 1], [0, 0]])
    lags = adjoint(padded, kernel, (1,))  # (filters, 2 size - 1, filters)
    more = width + around - size
    lags = tf.pad(lags, [[0, 0], [more, more], [0, 0]])
    lag = tf.range(width + 2 * around)[None] - tf.range(width)[:, None] + width - 1
    return tf.transpose(tf.gather(lags, lag, axis=1), (1, 0, 2, 3))


def movement(code: Tensor, correlation: Tensor, weight: Tensor, prior: CodePrior) -> Tensor:
    """How far each coordinate would move by itself: prox(code + correlation, weight) - code, for filters of norm 1."""
    return prior.prox(code + correlation, weight) - code


def solve_windows(code: Tensor, gram: Tensor, linear: Tensor, weight: Tensor, prior: CodePrior, iterations: int,
                  tolerance: Tensor, *, penalty: float = 0.5, relaxation: float = 1.6) -> Tensor:
    """Many small problems with one Gram matrix G: minimise 1/2 x G x - linear x + weight p(x) by ADMM.

    Boyd, Parikh, Chu, Peleato, Eckstein, Distributed optimization and statistical learning via ADMM, 2011, section
    6.4, written in v = x + u: z = prox(v, weight / penalty), then v moves towards the minimum of the quadratic part.
    With q = 2 z - v and penalty rho the relaxed step v + a (x - z) is
    q (a rho (G + rho)^-1 - 1) + a linear (G + rho)^-1 + (2 - a) z.

    Args:
        code: (windows, n), where to start.
        gram: (n, n), ones on the diagonal.
        linear: (windows, n), D^T y of the window alone.
        weight: (windows, n), the penalty weight; infinite where a position is closed.
        prior: prior of each value of the code.
        iterations: at most; whole passes of ``PASS`` are made.
        tolerance: the passes end when no coordinate would move by more.
        penalty, relaxation: rho and a, for Gram matrices with ones on the diagonal.

    Returns:
        (windows, n). Where the objective rose instead, which too few iterations may do, one plain gradient step.
    """
    one = tf.eye(gram.shape[0], dtype=gram.dtype)
    inverse = relaxation * tf.linalg.inv(gram + penalty * one)
    turn, drift = penalty * inverse - one, tf.matmul(linear, inverse)
    threshold, slope = weight / penalty, linear - tf.matmul(code, gram)

    def one_pass(i: Tensor, z: Tensor, v: Tensor, _: Tensor) -> tuple[Tensor, ...]:
        for _ in range(PASS):
            v = tf.matmul(z - (v - z), turn) + drift + (2.0 - relaxation) * z
            z = prior.prox(v, threshold)
        moved = movement(z, linear - tf.matmul(z, gram), weight, prior)
        return i + 1, z, v, tf.reduce_max(tf.abs(moved))

    def goes_on(i: Tensor, z: Tensor, v: Tensor, moved: Tensor) -> Tensor:
        return (i < -(-iterations // PASS)) & (moved > tolerance)

    solution = tf.while_loop(goes_on, one_pass, (0, code, code + slope / penalty, tf.constant(np.inf, gram.dtype)))[1]
    step = 1.0 / tf.reduce_max(tf.reduce_sum(tf.abs(gram), axis=1))
    before, after = (_objective(x, gram, linear, weight, prior) for x in (code, solution))
    rose = after > before + 1e-6 * tf.abs(before)
    return tf.where(rose[:, None], prior.prox(code + step * slope, step * weight), solution)


def _objective(x: Tensor, gram: Tensor, linear: Tensor, weight: Tensor, prior: CodePrior) -> Tensor:
    finite = tf.where(tf.math.is_finite(weight), weight, 0.0)  # closed positions hold 0
    return tf.reduce_sum(x * (0.5 * tf.matmul(x, gram) - linear) + prior.penalty(x, finite), axis=1)
