"""Proximal gradient methods as init and step. They know neither dictionary nor prior.

``descend(w)`` returns the shrunk gradient step from w, prox(w - step * gradient(w)).
FISTA: Beck and Teboulle 2009; unrolled as an encoder in arXiv 1904.08827, algorithm 1.
"""

import math

from keras import ops


def ista_init(code):
    """State of ISTA: the code alone."""
    return (code,)


def ista_step(state, descend):
    """x <- prox(x - step * gradient(x))."""
    (x,) = state
    return (descend(x),)


def fista_init(code):
    """State of FISTA: code x, extrapolated point w, momentum scalar t (one a batch entry, shape (batch, 1))."""
    return code, code, ops.ones((ops.shape(code)[0], 1), dtype=code.dtype)


def fista_step(state, descend, factor=None):
    """One FISTA iteration from (x, w, t); the code is x, never w.

    Args:
        state: ``fista_init(code)`` or an earlier step's.
        descend: w -> prox(w - step * gradient(w)), for example ``functional.descent``.
        factor: this step's (t_k - 1) / t_{k+1} where the caller has it (``momentum``), t then stays as it is; None:
            computed from t.

    Returns:
        The next (x, w, t).

    Example:
        >>> state = fista_init(ops.zeros((1, 5, 2)))
        >>> code, _, _ = fista_step(state, lambda w: ops.relu(w - (w - 3.0) - 1.0))
        >>> float(code[0, 0, 0])
        2.0
    """
    x, w, t = state
    x_next = descend(w)
    if factor is not None:
        return x_next, x_next + factor * (x_next - x), t
    t_next = (1.0 + ops.sqrt(1.0 + 4.0 * ops.square(t))) / 2.0
    factor = (t - 1.0) / t_next
    for _ in range(len(x.shape) - 2):
        factor = ops.expand_dims(factor, -1)
    return x_next, x_next + factor * (x_next - x), t_next


def momentum(iterations):
    """FISTA's factors (t_k - 1) / t_{k+1}, k = 0 ... iterations - 1, as a list of floats."""
    factors, t = [], 1.0
    for _ in range(iterations):
        t_next = (1.0 + math.sqrt(1.0 + 4.0 * t * t)) / 2.0
        factors.append((t - 1.0) / t_next)
        t = t_next
    return factors
