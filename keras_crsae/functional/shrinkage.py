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
    """Shrink ``x`` by ``threshold`` (broadcast over filters); ``kind`` is a key of SHRINKAGES."""
    return SHRINKAGES[kind](x, threshold)
