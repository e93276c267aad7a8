"""Priors on lambda, the rate of the code's prior: the loss of the M-step's second stage and its minimum.

The next prior is one class below, or in your own code, with ``@register_rate_prior("name")``.
"""

from __future__ import annotations

from typing import Any

from crsae_onnx.core.validation import as_positive
from keras import ops

from keras_crsae.problem.registry import Configured, Registry
from keras_crsae.typing import Tensor


class RatePrior(Configured):
    """-log p(lambda), added to the lambda loss: prior on lambda, one per filter or one for all.

    Attributes:
        mean: prior mean of lambda; None: the model's initial lambda.
    """

    mean: float | None = None

    def loss(self, lambda_reg: Tensor, norms: Tensor, positions: Tensor, mean: Tensor) -> Tensor:
        """Negative log posterior of lambda with the codes held fixed, a scalar in nats.

        Args:
            lambda_reg: (filters,), or (1,) when shared.
            norms: (filters,), batch mean of sum_i p(z_ci), p the code prior's penalty.
            positions: N_e, code positions a filter.
            mean: prior mean of lambda, of lambda's shape.
        """
        raise NotImplementedError

    def closed_form(self, norms: Tensor, positions: Tensor, mean: Tensor, shared: bool) -> Tensor | None:
        """Minimiser of ``loss``, (filters,), or (1,) when shared; None: unknown."""
        return None


registry = Registry("prior of lambda", RatePrior, default="gamma")
get = registry.get
"""The prior of lambda that an object, a registered name, a Keras config or None (the default) stands for."""
names = registry.names
"""Registered names of this kind, sorted."""
serialize = registry.serialize
"""What ``get_config`` of a model stores: the registered name, or the object's Keras config."""
register_rate_prior = registry.register
"""Class decorator ``register_rate_prior(name)``: names a prior of lambda of your own, also in saved models."""


@register_rate_prior("gamma")
class GammaPrior(RatePrior):
    """p(lambda) ~ lambda^(r - 1) exp(-delta lambda): Gamma prior on the rate lambda (arXiv 1904.08827, section III).

    With shape r and rate delta the loss is ``sum_c [lambda_c a_c - N_e log lambda_c - (r - 1) log lambda_c + delta
    lambda_c]``, a_c the batch mean of ||z_c||_1, and its minimum ``(N_e + r - 1) / (a_c + delta)``.

    Stated in code positions: ``shape = strength * N_e`` and ``rate = shape / mean``, so that a strength of 1
    weighs as much as one more batch-averaged code. A weak prior lets lambda run away until all codes are zero.

    Args:
        mean: prior mean of lambda; None: the model's initial lambda, one a filter.
        strength: weight against the data, in units of N_e.
        rate: overrides the rate (delta); its unit is that of ||z||_1.
        shape: overrides the shape (r).

    Example:
        >>> from keras_crsae import GammaPrior
        >>> GammaPrior(strength=2.0).shape_and_rate(mean=4.0, positions=100)
        (200.0, 50.0)
    """

    def __init__(self, mean: float | None = None, strength: float = 1.0, rate: float | None = None,
                 shape: float | None = None) -> None:
        self.mean = None if mean is None else as_positive(mean, "mean")
        self.strength = as_positive(strength, "strength")
        self.rate = None if rate is None else as_positive(rate, "rate")
        self.shape = None if shape is None else as_positive(shape, "shape")

    def shape_and_rate(self, mean: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Shape r and rate delta for ``positions`` code positions a filter and a prior mean."""
        if self.shape is not None:
            shape = self.shape
            return shape, (shape / mean if self.rate is None else self.rate)
        if self.rate is not None:
            return self.rate * mean, self.rate
        shape = self.strength * positions
        return shape, shape / mean

    def loss(self, lambda_reg: Tensor, norms: Tensor, positions: Tensor, mean: Tensor) -> Tensor:
        """See ``RatePrior``; the prior is counted once for each lambda.

        Example:
            >>> from keras import ops
            >>> from keras_crsae import GammaPrior
            >>> one = ops.ones(1)
            >>> float(GammaPrior(shape=1.0, rate=2.0).loss(one, norms=3.0 * one, positions=10, mean=one))
            5.0
        """
        shape, rate = self.shape_and_rate(mean, positions)
        norms, positions = _summed(norms, positions, lambda_reg.shape[0] == 1)
        return ops.sum(lambda_reg * (norms + rate) - (positions + shape - 1.0) * ops.log(lambda_reg))

    def closed_form(self, norms: Tensor, positions: Tensor, mean: Tensor, shared: bool) -> Tensor:
        """(N_e + r - 1) / (a_c + delta); shared: a_c and N_e summed over filters, the prior counted once."""
        shape, rate = self.shape_and_rate(mean, positions)
        norms, positions = _summed(norms, positions, shared)
        return (positions + shape - 1.0) / (norms + rate)

    def get_config(self) -> dict[str, Any]:
        return {"mean": self.mean, "strength": self.strength, "rate": self.rate, "shape": self.shape}


def _summed(norms: Tensor, positions: Tensor, shared: bool) -> tuple[Tensor, Tensor]:
    """Statistics of one lambda for all filters where it is shared."""
    return (ops.sum(norms, keepdims=True), positions * norms.shape[0]) if shared else (norms, positions)
