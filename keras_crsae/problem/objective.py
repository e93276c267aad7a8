"""How far a code is from the optimum of 1/2 ||y - D z||^2 + sum_c limit_c ||z_c||_1, proved by duality.

The dual problem is to maximise 1/2 ||y||^2 - 1/2 ||y - u||^2 over u with |D_c^T u| <= limit_c (D_c^T u <= limit_c
for non-negative codes). A scaled residual is such a u, so its dual value bounds the optimum from below (Kim, Koh,
Lustig, Boyd, Gorinevsky, An interior-point method for large-scale l1-regularized least squares, 2007, section III).
"""

import tensorflow as tf


def objective(residual, code, limit):
    """Value of the objective for each signal, (batch,) float64.

    Args:
        residual: observed part of y - D z, (batch, *space, channels).
        code: (batch, *positions, filters).
        limit: lambda * sigma^2, (filters,) or broadcastable to the code.
    """
    return 0.5 * _sum(tf.square(residual)) + _sum(limit * tf.abs(code))


def dual_objective(signal, residual, correlation, limit, shrinkage):
    """Lower bound of the optimum for each signal, (batch,) float64.

    Args:
        signal: observed samples, 0 elsewhere, (batch, *space, channels).
        residual: observed part of y - D z.
        correlation: D^T residual, (batch, *positions, filters).
        limit: lambda * sigma^2, (filters,) or broadcastable to the code.
        shrinkage: "soft" or "nonnegative_soft".
    """
    two_sided = shrinkage == "soft"
    excess = tf.reduce_max((tf.abs(correlation) if two_sided else correlation) / limit,
                           axis=list(range(1, len(correlation.shape))))
    largest = 1.0 / tf.maximum(tf.cast(excess, tf.float64), 1e-30)
    # Along the residual the dual is a parabola; its vertex, moved into the feasible interval.
    vertex = _sum(signal * residual) / tf.maximum(_sum(tf.square(residual)), 1e-30)
    scale = tf.clip_by_value(vertex, -largest if two_sided else tf.zeros_like(largest), largest)
    return scale * _sum(signal * residual) - 0.5 * tf.square(scale) * _sum(tf.square(residual))


def _sum(array):
    """Sum over all but the batch axis, in float64: a long recording's noise energy swallows float32 digits."""
    return tf.reduce_sum(tf.cast(array, tf.float64), axis=list(range(1, len(array.shape))))
