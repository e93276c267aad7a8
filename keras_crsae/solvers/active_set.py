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

Code and correlation are kept in rows of some positions, and a window is two whole rows: what is read and written
costs by the row. A window is solved by the alternating direction method of multipliers, which needs a third of
FISTA's iterations there: neighbouring positions are much alike, and one inverse serves all windows.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_crsae.operators.convolution import adjoint
from keras_crsae.problem.code_priors import shrink

#: The condition holds where no coordinate would move by more than this share of its limit.
TOLERANCE = 1e-3
#: Rows in a window, and code values in it, at most: the Gram matrix has the square of them.
_WINDOW_ROWS, _WINDOW_VALUES = 2, 512
#: ADMM's penalty and over-relaxation, for Gram matrices with ones on the diagonal.
_PENALTY, _RELAXATION = 0.5, 1.6
#: Iterations between two looks at the windows' own condition, and the least that make sense in a round.
_PASS, _LEAST = 10, 50
#: Rounds at most: a tolerance below what float32 resolves must not run for ever.
_ROUNDS = 1000


def row_size(size, filters):
    """Code positions of a row: a power of two, at most a fifth of a kernel's length, fewer with many filters."""
    most = max(1, min(size // 5, _WINDOW_VALUES // (_WINDOW_ROWS * filters)))
    return 2 ** (most.bit_length() - 1)


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


def window_correlation(kernel, width, around):
    """What a code in a window does to ``D^T D z`` around it.

    Args:
        kernel: (size, channels, filters).
        width: code positions of the window.
        around: positions looked at on each side of it, size - 1 or more (further ones are not reached).

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


def movement(code, correlation, limit, shrinkage):
    """How far each coordinate would move by itself: shrink(code + correlation, limit) - code, for filters of norm 1."""
    return shrink(code + correlation, limit, shrinkage) - code


def admm_on_windows(code, gram, pull, limit, shrinkage, iterations, tolerance):
    """Many small problems with one Gram matrix G: minimise 1/2 x G x - pull x + limit |x| by ADMM.

    Boyd, Parikh, Chu, Peleato, Eckstein, Distributed optimization and statistical learning via ADMM, 2011, section
    6.4, written in v = x + u: z = shrink(v, limit / penalty), then v moves towards the minimum of the quadratic part.
    With p = 2 z - v the relaxed step v + a (x - z) is p (a rho (G + rho)^-1 - 1) + a pull (G + rho)^-1 + (2 - a) z.

    Args:
        code: (windows, n), where to start.
        gram: (n, n), ones on the diagonal.
        pull: (windows, n), D^T y of the window alone.
        limit: (windows, n); infinite where a position is closed.
        shrinkage: "soft" or "nonnegative_soft".
        iterations: at most; whole passes of 10 are made.
        tolerance: the passes end when no coordinate would move by more.

    Returns:
        (windows, n). Where the objective rose instead, which too few iterations may do, one plain gradient step.
    """
    one = tf.eye(gram.shape[0], dtype=gram.dtype)
    inverse = _RELAXATION * tf.linalg.inv(gram + _PENALTY * one)
    turn, drift = _PENALTY * inverse - one, tf.matmul(pull, inverse)
    threshold, slope = limit / _PENALTY, pull - tf.matmul(code, gram)

    def one_pass(i, z, v, _):
        for _ in range(_PASS):
            v = tf.matmul(z - (v - z), turn) + drift + (2.0 - _RELAXATION) * z
            z = shrink(v, threshold, shrinkage)
        moved = movement(z, pull - tf.matmul(z, gram), limit, shrinkage)
        return i + 1, z, v, tf.reduce_max(tf.abs(moved))

    made = tf.while_loop(lambda i, z, v, moved: (i < -(-iterations // _PASS)) & (moved > tolerance), one_pass,
                         (0, code, code + slope / _PENALTY, tf.constant(np.inf, gram.dtype)))[1]

    def objective(x):
        return tf.reduce_sum(x * (0.5 * tf.matmul(x, gram) - pull) + tf.math.multiply_no_nan(limit, tf.abs(x)), axis=1)

    step = 1.0 / tf.reduce_max(tf.reduce_sum(tf.abs(gram), axis=1))
    before, after = objective(code), objective(made)
    rose = after > before + 1e-6 * tf.abs(before)
    return tf.where(rose[:, None], shrink(code + step * slope, step * limit, shrinkage), made)


class Rows(NamedTuple):
    """Code positions of all signals in rows, with a margin of closed rows before and after each signal's own."""

    size: int          #: positions of a row
    margin: int        #: closed rows before a signal's first
    filters: int
    length: object     #: rows of one signal, margins and all
    positions: object  #: code positions of one signal

    def split(self, array):
        """(batch, length * size, filters) -> (batch * length, size * filters)."""
        return tf.reshape(array, (-1, self.size * self.filters))

    def join(self, rows):
        """The code positions of rows, (batch, positions, filters)."""
        start = self.margin * self.size
        return tf.reshape(rows, (-1, self.length * self.size, self.filters))[:, start:start + self.positions]

    def limit(self, index, limit):
        """Limits of the rows at ``index`` (n,), infinite where a position is closed: (n, size * filters)."""
        place = (index % self.length - self.margin)[:, None] * self.size + tf.range(self.size)
        is_open = (place >= 0) & (place < self.positions)
        return self.split(tf.where(is_open[..., None], limit, np.inf))


def encode(signal, mask, kernel, limit, shrinkage, correlate, synthesise, iterations, tolerance=None):
    """Optimal code of ``signal`` by its events.

    Args:
        signal: (batch, time, channels).
        mask: None or 0/1 of the signal's shape.
        kernel: (size, channels, filters), filters of norm 1.
        limit: (filters,), or (1,) for all: lambda * sigma^2.
        shrinkage: "soft" or "nonnegative_soft".
        correlate: (batch, any time, channels) -> (batch, time - size + 1, filters), ``D^T``.
        synthesise: its adjoint, ``D``.
        iterations: iterations on a window in one round, at most (50 where it is less); they end earlier when the
            window's own condition holds.
        tolerance: None (TOLERANCE), or the share of its limit that a coordinate may still move.

    Returns:
        (batch, positions, filters).
    """
    size, filters = kernel.shape[0], kernel.shape[-1]
    grain = row_size(size, filters)
    values, reach = _WINDOW_ROWS * grain * filters, -(-(size - 1) // grain)
    limit = limit * tf.ones((filters,), limit.dtype)
    wide = window_correlation(kernel, _WINDOW_ROWS * grain, reach * grain)
    gram = tf.reshape(wide[:, :, reach * grain:(reach + _WINDOW_ROWS) * grain], (values, values))
    wide = tf.reshape(wide, (values, -1))

    # Masked samples stay out of everything by being zero in the residual.
    signal = signal if mask is None else mask * signal
    batch, time = tf.shape(signal)[0], tf.shape(signal)[1]
    margin, positions = reach + _WINDOW_ROWS, time - size + 1
    multiple = max(32, grain)  # whole blocks of the folded dictionary, whose tail would cost a copy
    total = (positions + 2 * margin * grain + multiple - 1) // multiple * multiple
    rows = Rows(grain, margin, filters, total // grain, positions)

    def correlation_of(residual):
        before = margin * grain
        return rows.split(correlate(tf.pad(residual, [[0, 0], [before, total - before - positions], [0, 0]])))

    def score_of(index, code, correlation):
        """How far the strongest coordinate of each row at ``index`` would move."""
        moved = movement(code, correlation, rows.limit(index, limit), shrinkage)
        return tf.reduce_max(tf.abs(moved), axis=1)

    def next_picks(score):
        picked = pick(tf.reshape(score, (batch, rows.length)), threshold, reach + _WINDOW_ROWS)
        return picked[:, 0] * rows.length + picked[:, 1]

    def around(picked, before, after):
        return tf.reshape(picked[:, None] + tf.range(-before, after), (-1,))

    def solve(code, correlation, picked):
        """Solve the windows that start at the picked rows; returns the code and what changed in each window."""
        index = around(picked, 0, _WINDOW_ROWS)
        old, slope, highest = (tf.reshape(a, (-1, values)) for a in (
            tf.gather(code, index), tf.gather(correlation, index), rows.limit(index, limit)))
        new = admm_on_windows(old, gram, slope + tf.matmul(old, gram), highest, shrinkage, max(iterations, _LEAST),
                              0.5 * threshold)
        code = tf.tensor_scatter_nd_update(code, index[:, None], tf.reshape(new, (-1, grain * filters)))
        return code, new - old

    def nearby(code, correlation, score, picked):
        """One round whose cost is that of its windows: only what they reach is computed again."""
        code, change = solve(code, correlation, picked)
        index = around(picked, reach, reach + _WINDOW_ROWS)
        reached = tf.reshape(tf.matmul(change, wide), (-1, grain * filters))
        correlation = tf.tensor_scatter_nd_sub(correlation, index[:, None], reached)  # a row may be reached twice
        here = score_of(index, tf.gather(code, index), tf.gather(correlation, index))
        score = tf.tensor_scatter_nd_update(score, index[:, None], here)
        return code, correlation, score, next_picks(score)

    def everywhere(code, correlation, score, picked):
        """One round with missing samples: what a window reaches depends on where it stands."""
        code, _ = solve(code, correlation, picked)
        correlation = correlation_of(signal - mask * synthesise(rows.join(code)))
        score = score_of(tf.range(batch * rows.length), code, correlation)
        return code, correlation, score, next_picks(score)

    correlation = correlation_of(signal)
    # What the rounding of a correlation alone may move is no reason for another round.
    largest = tf.maximum(tf.reduce_max(correlation), -tf.reduce_min(correlation))
    rounding = 16.0 * np.finfo(correlation.dtype.as_numpy_dtype).eps * largest
    threshold = tf.maximum(rounding, tf.reduce_min(limit) * (TOLERANCE if tolerance is None else tolerance))
    score = first_score(rows, correlation, limit, shrinkage)
    code, _, _, _ = tf.while_loop(
        lambda code, correlation, score, picked: tf.shape(picked)[0] > 0, nearby if mask is None else everywhere,
        (tf.zeros_like(correlation), correlation, score, next_picks(score)), maximum_iterations=_ROUNDS,
        shape_invariants=(*(tf.TensorShape((None, grain * filters)),) * 2, *(tf.TensorShape((None,)),) * 2))
    return rows.join(code)


def first_score(rows, correlation, limit, shrinkage):
    """How far each row's strongest coordinate would move from the zero code, (batch * length,).

    Limits of closed positions are left out of the one pass over everything: those are whole rows, which are set to
    0, and in each signal's last open row, which is computed again.
    """
    strength = tf.abs(correlation) if shrinkage == "soft" else correlation
    score = tf.reduce_max(tf.nn.bias_add(strength, -tf.tile(limit, (rows.size,))), axis=1)
    last = rows.margin + (rows.positions - 1) // rows.size
    place = tf.range(rows.length)
    score = tf.where((place >= rows.margin) & (place < last), tf.nn.relu(tf.reshape(score, (-1, rows.length))), 0.0)
    index = tf.range(last, tf.size(score), rows.length)
    ends = movement(0.0, tf.gather(correlation, index), rows.limit(index, limit), shrinkage)
    return tf.tensor_scatter_nd_update(tf.reshape(score, (-1,)), index[:, None], tf.reduce_max(tf.abs(ends), axis=1))
