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
        (picked, 2) int32: batch entry, position.
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
    reach, margin = width // 2, width // 2 + size - 1
    limit = limit * tf.ones((filters,), limit.dtype)
    wide = window_correlation(kernel, width)
    gram = tf.reshape(wide[:, :, size - 1:size - 1 + width], (width * filters, width * filters))
    wide = tf.reshape(wide, (width * filters, -1))
    step = 1.0 / largest_eigenvalue(gram)
    contraction = tf.eye(width * filters, dtype=gram.dtype) - step * gram
    # Masked samples stay out of everything by being zero in the residual.
    signal = signal if mask is None else mask * signal
    correlation = correlate(signal)
    batch, positions = tf.shape(correlation)[0], tf.shape(correlation)[1]
    length = positions + 2 * margin

    # Code and correlation live as rows (batch * length, filters), with a margin of closed positions around every
    # signal, so that a window and what it reaches are plain ranges of rows.
    def as_rows(array):
        return tf.reshape(tf.pad(array, [[0, 0], [margin, margin], [0, 0]]), (-1, filters))

    def from_rows(rows):
        return tf.reshape(rows, (batch, length, filters))[:, margin:margin + positions]

    def is_open(rows):
        place = rows % length
        return (place >= margin) & (place < margin + positions)

    def around(picked, far):
        return picked[:, None] + tf.range(-far, far + 1)

    def score_of(code, correlation):
        """How far each position's strongest coordinate would move."""
        if shrinkage == "nonnegative_soft":  # the same as below, in half the passes over memory
            return tf.reduce_max(tf.abs(tf.maximum(correlation - limit, -code)), axis=-1)
        return tf.reduce_max(tf.abs(shrink(code + correlation, limit, shrinkage) - code), axis=-1)

    def next_picks(score):
        entry, place = tf.unstack(pick(tf.reshape(score, (batch, length)), threshold, width + size - 1), num=2, axis=1)
        return entry * length + place

    def solve(code, correlation, picked):
        """Solve the windows around the picked rows; returns the code and what changed in each window."""
        index = around(picked, reach)
        highest = step * tf.where(is_open(index)[..., None], limit, float("inf"))
        highest, old, slope = (tf.reshape(a, (-1, width * filters))
                               for a in (highest, tf.gather(code, index), tf.gather(correlation, index)))
        new = fista_on_windows(old, contraction, step * (slope + tf.matmul(old, gram)), highest, shrinkage, iterations)
        change = new - old
        code = tf.tensor_scatter_nd_add(code, tf.reshape(index, (-1, 1)), tf.reshape(change, (-1, filters)))
        return code, change

    def nearby(code, correlation, score, picked):
        """One round whose cost is that of its windows: only what they reach is computed again."""
        code, change = solve(code, correlation, picked)
        index = tf.reshape(around(picked, margin), (-1, 1))
        correlation = tf.tensor_scatter_nd_sub(correlation, index, tf.reshape(tf.matmul(change, wide), (-1, filters)))
        here = score_of(tf.gather_nd(code, index), tf.gather_nd(correlation, index))
        here = tf.where(is_open(index[:, 0]), here, 0.0)
        score = tf.tensor_scatter_nd_update(score, index, here)
        return code, correlation, score, next_picks(score)

    def everywhere(code, correlation, score, picked):
        """One round with missing samples: what a window reaches depends on where it stands."""
        code, _ = solve(code, correlation, picked)
        correlation = as_rows(correlate(signal - mask * synthesise(from_rows(code))))
        score = tf.where(is_open(tf.range(batch * length)), score_of(code, correlation), 0.0)
        return code, correlation, score, next_picks(score)

    # What the rounding of a correlation alone may move is no reason for another round.
    rounding = 16.0 * np.finfo(correlation.dtype.as_numpy_dtype).eps * tf.reduce_max(tf.abs(correlation))
    threshold = tf.maximum(rounding, tf.reduce_min(limit) * (TOLERANCE if tolerance is None else tolerance))
    strength = tf.abs(correlation) if shrinkage == "soft" else correlation
    score = tf.nn.relu(tf.reduce_max(strength - limit, axis=-1))  # of the zero code
    score = tf.reshape(tf.pad(score, [[0, 0], [margin, margin]]), (-1,))
    correlation = as_rows(correlation)
    code, _, _, _ = tf.while_loop(
        lambda code, correlation, score, picked: tf.shape(picked)[0] > 0, nearby if mask is None else everywhere,
        (tf.zeros_like(correlation), correlation, score, next_picks(score)), maximum_iterations=_ROUNDS,
        shape_invariants=(*(tf.TensorShape((None, filters)),) * 2, tf.TensorShape((None,)), tf.TensorShape((None,))))
    return from_rows(code)
