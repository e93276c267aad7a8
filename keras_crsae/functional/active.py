"""Event-driven encoding: work only where the signal holds events, and prove that the rest is at its optimum.

The optimum of 1/2 ||y - D z||^2 + sum_c limit_c ||z_c||_1 is where no coordinate would move: z = shrink(z + D^T (y -
D z), limit), filters having norm 1. Silence fulfils that with z = 0, so only the neighbourhoods of the coordinates
that would move are solved, all of them at once: the strongest coordinate of every stretch, far enough apart that
their neighbourhoods share no sample, and around each a window of code positions, solved as a small problem of its
own. All windows have the same Gram matrix, so one iteration on all of them is one matrix product. Then the residual
is updated and the condition looked at again everywhere, until it holds to a tolerance.

This is block coordinate descent by windows that do not meet, a batch form of locally greedy coordinate descent
(Moreau, Oudre, Vayatis, DICOD, 2018): each round lowers the objective, and where the condition holds the code is the
optimum that FISTA approaches. Where samples are missing the Gram matrix is larger than the true one, which keeps
every round a descent (majorisation) and the optimum the same.
"""

import numpy as np
import tensorflow as tf

from keras_crsae.functional.convolution import adjoint
from keras_crsae.functional.shrinkage import shrink
from keras_crsae.functional.solvers import momentum

#: The condition holds where no coordinate would move by more than this share of its limit.
TOLERANCE = 1e-3
#: Code values in one window, at most: the Gram matrix has the square of it.
_WINDOW_VALUES = 512
_SQUARINGS = 6
_UNROLLED = 10
#: Rounds at most: a tolerance below what float32 resolves must not run for ever.
_ROUNDS = 1000


def window_size(size, filters):
    """Code positions of a window, odd: about a fifth of a kernel's length, fewer with many filters."""
    reach = min(size // 10, (_WINDOW_VALUES // filters - 1) // 2)
    return 2 * max(reach, 0) + 1


def pick(score, threshold, spacing):
    """One position at most in each block of ``spacing``: its strongest, unless a stronger one is too near.

    Args:
        score: (batch, positions), how much each would move.
        threshold: least score worth a move.
        spacing: least distance of two picked positions of one signal.

    Returns:
        (picked, 2) int64: batch entry, position.
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
    entry = tf.where(wins)
    return tf.stack([entry[:, 0], tf.cast(tf.gather_nd(place, entry), tf.int64)], axis=1)


def largest_eigenvalue(gram):
    """Upper bound, within 5 %, of the largest eigenvalue of a Gram matrix: ||G^p||_F^(1/p), p = 2^6."""
    log_norm = tf.zeros((), gram.dtype)
    for i in range(_SQUARINGS + 1):
        norm = tf.norm(gram)
        log_norm += tf.math.log(norm) / 2.0**i
        gram = tf.matmul(gram / norm, gram / norm)
    return tf.exp(log_norm)


def window_correlation(kernel, width):
    """What a code in a window does to ``D^T D z`` around it.

    Args:
        kernel: (size, channels, filters).
        width: code positions of the window.

    Returns:
        (width, filters, width + 2 (size - 1), filters): inner product of the filter at a window's position with the
        filter at a position from size - 1 before the window to size - 1 after it.
    """
    size = kernel.shape[0]
    padded = tf.pad(tf.transpose(kernel, (2, 0, 1)), [[0, 0], [size - 1, size - 1], [0, 0]])
    lags = adjoint(padded, kernel, (1,))  # (filters, 2 size - 1, filters)
    lags = tf.pad(lags, [[0, 0], [width - 1, width - 1], [0, 0]])
    span = width + 2 * (size - 1)
    lag = tf.range(span)[None] - tf.range(width)[:, None] + width - 1
    return tf.transpose(tf.gather(lags, lag, axis=1), (1, 0, 2, 3))


def fista_on_windows(code, contraction, pull, threshold, shrinkage, iterations):
    """FISTA on many small problems with one Gram matrix G: x <- shrink(w (I - step G) + pull, threshold).

    The windows are small, so the count of operations decides: the gradient step is one product and one sum, the
    momentum comes from a table, and the loop turns once in ten iterations.

    Args:
        code: (windows, n), where to start.
        contraction: (n, n), I - step * G.
        pull: (windows, n), step * (D^T y of the window alone).
        threshold: (windows, n), step * limit; infinite where a position is closed.
        shrinkage: "soft" or "nonnegative_soft".
        iterations: FISTA iterations.

    Returns:
        (windows, n).
    """
    passes, rest = divmod(iterations, _UNROLLED)
    table = tf.constant(momentum(iterations), code.dtype)

    def steps(x, w, factors):
        for factor in factors:
            new = shrink(tf.matmul(w, contraction) + pull, threshold, shrinkage)
            x, w = new, new + factor * (new - x)
        return x, w

    x, w = steps(code, code, tf.unstack(table[:rest]))
    table = tf.reshape(table[rest:], (passes, _UNROLLED))
    return tf.while_loop(lambda i, x, w: i < passes,
                         lambda i, x, w: (i + 1, *steps(x, w, tf.unstack(table[i], num=_UNROLLED))), (0, x, w))[1]


def encode(signal, mask, kernel, limit, shrinkage, correlate, synthesise, iterations, tolerance=None):
    """Optimal code of ``signal`` by its events.

    Args:
        signal: (batch, time, channels).
        mask: None or 0/1 of the signal's shape.
        kernel: (size, channels, filters), filters of norm 1.
        limit: (filters,), or (1,) for all: lambda * sigma^2.
        shrinkage: "soft" or "nonnegative_soft".
        correlate: (batch, time, channels) -> (batch, positions, filters), ``D^T``.
        synthesise: its adjoint, ``D``.
        iterations: FISTA iterations on a window in one round.
        tolerance: None (TOLERANCE), or the share of its limit that a coordinate may still move.

    Returns:
        (batch, positions, filters).
    """
    size, filters = kernel.shape[0], kernel.shape[-1]
    width = window_size(size, filters)
    reach, spacing = width // 2, width + size - 1
    limit = limit * tf.ones((filters,), limit.dtype)
    wide = window_correlation(kernel, width)
    gram = tf.reshape(wide[:, :, size - 1:size - 1 + width], (width * filters, width * filters))
    wide = tf.reshape(wide, (width * filters, -1))
    step = 1.0 / largest_eigenvalue(gram)
    contraction = tf.eye(width * filters, dtype=gram.dtype) - step * gram
    # Masked samples stay out of everything by being zero in the residual.
    signal = signal if mask is None else mask * signal

    def places(picked, before, count):
        """Positions from ``before`` ahead of the picked ones, (picked, count, 2), and which of them exist."""
        offsets = tf.range(-before, count - before, dtype=tf.int64)
        positions = picked[:, 1:] + offsets
        entry = tf.broadcast_to(picked[:, :1], tf.shape(positions))
        inside = (positions >= 0) & (positions < last)
        return tf.stack([entry, tf.where(inside, positions, 0)], axis=-1), inside

    def score_of(code, correlation):
        """How far each position's strongest coordinate would move, (batch, positions)."""
        if shrinkage == "nonnegative_soft":  # the same as below, in half the passes over memory
            move = tf.maximum(correlation - limit, -code)
        else:
            move = shrink(code + correlation, limit, shrinkage) - code
        return tf.reduce_max(tf.abs(move), axis=-1)

    def solve(code, correlation, picked):
        """Solve the windows around the picked positions; returns the code and what changed in each window."""
        index, inside = places(picked, reach, width)
        # Positions past the ends of the code are closed.
        highest = step * tf.where(inside[..., None], limit, float("inf"))
        old = tf.where(inside[..., None], tf.gather_nd(code, index), 0.0)
        highest, flat_old, slope = (tf.reshape(a, (-1, width * filters))
                                    for a in (highest, old, tf.gather_nd(correlation, index)))
        pull = step * (slope + tf.matmul(flat_old, gram))
        new = fista_on_windows(flat_old, contraction, pull, highest, shrinkage, iterations)
        change = new - flat_old
        shaped = tf.boolean_mask(tf.reshape(change, (-1, width, filters)), inside)
        return tf.tensor_scatter_nd_add(code, tf.boolean_mask(index, inside), shaped), change

    def everywhere(code, correlation, score, picked):
        code, _ = solve(code, correlation, picked)
        made = synthesise(code)
        correlation = correlate(signal - (made if mask is None else mask * made))
        score = score_of(code, correlation)
        return code, correlation, score, pick(score, threshold, spacing)

    def nearby(code, correlation, score, picked):
        """One round whose cost is that of its windows: only what they reach is computed again."""
        code, change = solve(code, correlation, picked)
        index, inside = places(picked, reach + size - 1, width + 2 * (size - 1))
        spread = tf.reshape(tf.matmul(change, wide), (-1, width + 2 * (size - 1), filters))
        index, spread = tf.boolean_mask(index, inside), tf.boolean_mask(spread, inside)
        correlation = tf.tensor_scatter_nd_sub(correlation, index, spread)
        here = score_of(tf.gather_nd(code, index), tf.gather_nd(correlation, index))
        score = tf.tensor_scatter_nd_update(score, index, here)
        return code, correlation, score, pick(score, threshold, spacing)

    def rounds(code, correlation, score, picked):
        state = (code, correlation, score, picked)
        if mask is None:
            state = tf.while_loop(go_on, nearby, state, shape_invariants=shapes, maximum_iterations=_ROUNDS)
            # Rounding adds up over the rounds: the condition is proved on a correlation computed afresh.
            correlation = correlate(signal - synthesise(state[0]))
            score = score_of(state[0], correlation)
            return state[0], correlation, score, pick(score, threshold, spacing)
        return everywhere(*state)

    def go_on(code, correlation, score, picked):
        return tf.shape(picked)[0] > 0

    correlation = correlate(signal)
    # What a correlation's rounding alone may move is no reason for another round.
    rounding = 16.0 * np.finfo(correlation.dtype.as_numpy_dtype).eps * tf.reduce_max(tf.abs(correlation))
    threshold = tf.maximum(rounding, tf.reduce_min(limit) * (TOLERANCE if tolerance is None else tolerance))
    last = tf.shape(correlation, tf.int64)[1]
    code = tf.zeros_like(correlation)
    score = score_of(code, correlation)
    shapes = (code.shape, correlation.shape, score.shape, tf.TensorShape((None, 2)))
    return tf.while_loop(go_on, rounds, (code, correlation, score, pick(score, threshold, spacing)),
                         shape_invariants=shapes, maximum_iterations=_ROUNDS)[0]
