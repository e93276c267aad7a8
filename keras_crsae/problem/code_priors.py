"""Proximal operators of the prior on the code: the (two-sided) ReLU with a bias."""

from keras import ops


def soft(x, threshold):
    """Two-sided: relu(x - b) - relu(-x - b), the prox of ``b |x|`` (Laplace prior)."""
    return ops.relu(x - threshold) - ops.relu(-x - threshold)


def nonnegative_soft(x, threshold):
    """One-sided: relu(x - b), the prox of ``b x`` on x >= 0 (exponential prior)."""
    return ops.relu(x - threshold)


SHRINKAGES = {"soft": soft, "nonnegative_soft": nonnegative_soft}


def shrink(x, threshold, kind):
    """Shrink ``x`` by ``threshold``, the proximal step of the encoder (arXiv 1904.08827, section II).

    Args:
        x: (batch, *positions, filters).
        threshold: same unit as x, broadcastable to it, for example (filters,).
        kind: a key of SHRINKAGES, "soft" or "nonnegative_soft".

    Returns:
        Tensor of x's shape.

    Example:
        >>> np.asarray(shrink(ops.array([-3.0, 0.5, 2.0]), 1.0, "soft")).tolist()
        [-2.0, 0.0, 1.0]
    """
    return SHRINKAGES[kind](x, threshold)
