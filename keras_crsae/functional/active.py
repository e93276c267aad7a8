"""Event-driven encoding: solve only where the signal holds events, and prove that the rest is zero.

At the optimum of 1/2 ||y - D z||^2 + sum_c limit_c ||z_c||_1 every position with a zero code has
|D^T (y - D z)| <= limit (Karush-Kuhn-Tucker), and two positions a kernel's length apart share no sample. So the
positions where |D^T y| exceeds the limit, dilated, are solved alone; then the condition is checked at all other
positions, the set grows where it fails, and the stretches that grew are solved again, until it holds everywhere.

The stretches are laid end to end into one signal: a code position whose samples are not its own is closed, so
neighbours in the new order never meet, and one long signal is the shape that matrix products like.
"""

import tensorflow as tf

#: A zero position is accepted when its correlation exceeds the limit by less than this share of it.
SLACK = 1e-4


def exceeds(correlation, limit, shrinkage):
    """Positions, (batch, positions) bool, where some filter's correlation is beyond its limit."""
    strength = tf.abs(correlation) if shrinkage == "soft" else correlation
    return tf.reduce_any(strength > limit, axis=-1)


def dilate(flags, left, right):
    """True where a flag stands at most ``left`` entries later or ``right`` entries earlier; (batch, n) bool."""
    count = tf.cumsum(tf.pad(tf.cast(flags, tf.int32), [[0, 0], [right + 1, left]]), axis=1)
    return count[:, left + right + 1:] > count[:, :-(left + right + 1)]


def touched_runs(flags, marks):
    """``flags`` of those runs of True, in each row, that hold a mark; both (batch, n) bool."""
    starts = flags & ~tf.pad(flags[:, :-1], [[0, 0], [1, 0]])
    run = tf.cumsum(tf.reshape(tf.cast(starts, tf.int32), [-1]))
    hit = tf.math.unsorted_segment_max(tf.reshape(tf.cast(marks & flags, tf.int32), [-1]), run, run[-1] + 1)
    return flags & tf.reshape(tf.gather(hit, run) > 0, tf.shape(flags))


def encode(signal, mask, limit, shrinkage, size, correlate, synthesise, solve):
    """Code of ``signal`` by solving its active stretches.

    Args:
        signal: (batch, time, channels).
        mask: None or 0/1 of the signal's shape.
        limit: (filters,), lambda * sigma^2.
        shrinkage: "soft" or "nonnegative_soft".
        size: kernel size in samples.
        correlate: (batch, time, channels) -> (batch, positions, filters), ``D^T``.
        synthesise: its adjoint, ``D``.
        solve: (signal (1, n, channels), mask or None, open positions (1, n - size + 1, 1)) -> code.

    Returns:
        (batch, positions, filters).
    """
    # Wide margins solve much silence, narrow ones take more rounds: a quarter was fastest on spike recordings.
    reach = max(1, size // 4)
    observe = (lambda a: a) if mask is None else (lambda a: mask * a)
    samples = tf.shape(signal)[1]

    def at_samples(positions):
        return tf.pad(positions, [[0, 0], [0, size - 1]])

    def grow(flags):
        return dilate(flags, reach, reach)

    def body(code, active, todo):
        index = tf.where(dilate(at_samples(todo), 0, size - 1))
        opened = tf.cast(tf.gather_nd(at_samples(todo), index), signal.dtype)[None, :, None]
        made = solve(tf.gather_nd(signal, index)[None], None if mask is None else tf.gather_nd(mask, index)[None],
                     opened[:, :tf.shape(index)[0] - size + 1])
        made = tf.pad(made, [[0, 0], [0, size - 1], [0, 0]])[0]
        shape = tf.concat([tf.shape(signal)[:2], tf.shape(code)[2:]], 0)
        made = tf.scatter_nd(tf.cast(index, tf.int32), made, shape)[:, :samples - size + 1]
        code = tf.where(todo[..., None], made, code)
        correlation = correlate(observe(signal - synthesise(code)))
        violated = exceeds(correlation, limit * (1.0 + SLACK), shrinkage) & ~active
        grown = active | grow(violated)
        samples_used = dilate(at_samples(grown), 0, size - 1)
        again = touched_runs(samples_used, at_samples(grown & ~active))[:, :samples - size + 1] & grown
        return code, grown, again

    correlation = correlate(observe(signal))
    active = grow(exceeds(correlation, limit, shrinkage))
    code, _, _ = tf.while_loop(lambda code, active, todo: tf.reduce_any(todo), body,
                               (tf.zeros_like(correlation), active, active))
    return code
