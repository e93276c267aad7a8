"""The Gamma prior on lambda and the closed form of the second M-step (arXiv 1904.08827, section III)."""

import keras
from crsae_onnx.core.validation import as_positive


@keras.saving.register_keras_serializable(package="keras_crsae")
class GammaPrior:
    """Gamma prior on the rate lambda of the code's Laplace (or exponential) prior.

    Stated in code positions: ``shape = strength * N_e`` and ``rate = shape / mean``, so that a strength of 1
    weighs as much as one more batch-averaged code. A weak prior lets lambda run away until all codes are zero.

    Args:
        mean: prior mean of lambda; None: the model's initial lambda, one a filter.
        strength: weight against the data, in units of N_e.
        rate: overrides the rate (delta); its unit is that of ||z||_1.
        shape: overrides the shape (r).

    Example:
        >>> GammaPrior(strength=2.0).shape_and_rate(mean=4.0, positions=100)
        (200.0, 50.0)
    """

    def __init__(self, mean=None, strength=1.0, rate=None, shape=None):
        for name, value in (("mean", mean), ("strength", strength), ("rate", rate), ("shape", shape)):
            if value is not None:
                value = as_positive(value, name)
            setattr(self, name, value)

    def shape_and_rate(self, mean, positions):
        """Shape r and rate delta for ``positions`` code positions a filter and a prior mean."""
        if self.shape is not None:
            shape = self.shape
            return shape, (shape / mean if self.rate is None else self.rate)
        if self.rate is not None:
            return self.rate * mean, self.rate
        shape = self.strength * positions
        return shape, shape / mean

    def get_config(self):
        return {"mean": self.mean, "strength": self.strength, "rate": self.rate, "shape": self.shape}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def closed_form_lambda(norms, positions, shape, rate, shared):
    """Minimiser of the lambda loss.

    Args:
        norms: (filters,), batch mean of ||z_c||_1.
        positions: N_e, code positions a filter.
        shape, rate: Gamma prior, scalars or (filters,).
        shared: one lambda for all filters; the prior is then counted once.

    Returns:
        (filters,), or (1,) when shared: (N_e + r - 1) / (a_c + delta).
    """
    from keras import ops

    if shared:
        norms, positions = ops.sum(norms, keepdims=True), positions * norms.shape[0]
    return (positions + shape - 1.0) / (norms + rate)
