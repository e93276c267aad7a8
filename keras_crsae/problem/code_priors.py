"""Priors on the code: the penalty that the encoder adds, and its proximal operator.

For a prior with density exp(-lambda p(z)) the encoder adds ``weight_c p(z)``, weight = lambda sigma^2, for each value z
of filter c's code, and its iteration shrinks by ``prox``.

The next prior is one class below, or in your own code, with ``@register_code_prior("name")``: ``prox``, ``penalty``
and ``dual_excess``.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_crsae.problem.registry import Registry
from keras_crsae.typing import Tensor


class CodePrior:
    """exp(-lambda p(z)), prior of the code's values, p a convex penalty with p(a z) = a p(z) for a > 0.

    Attributes:
        signed: whether codes of both signs occur.
        bias_form: whether prox(x, b) = relu(x - b), so that b may be the bias of a convolution.
        group_axes: axes of the code over which one penalty is shared; (): each value by itself.
        onnx: form in an exported graph; None: the exporter refuses.

    Example:
        >>> import keras
        >>> from keras_crsae.problem import Laplace
        >>> keras.ops.convert_to_numpy(Laplace().prox(keras.ops.array([-3.0, 0.5, 2.0]), 1.0)).tolist()
        [-2.0, 0.0, 1.0]
    """

    signed: bool = True
    bias_form: bool = False
    group_axes: tuple[int, ...] = ()
    onnx: str | None = None

    def prox(self, x: Tensor, threshold: Tensor) -> Tensor:
        """argmin_z (z - x)^2 / 2 + threshold p(z) for each value; 0 where the threshold is infinite.

        Args:
            x: (batch, *positions, filters).
            threshold: same unit as x, broadcastable to it, for example (filters,).
        """
        raise NotImplementedError

    def penalty(self, code: Tensor, weight: Tensor) -> Tensor:
        """weight p(code), elementwise, of the code's shape; infinite where the prior excludes the code."""
        raise NotImplementedError

    def dual_excess(self, correlation: Tensor) -> Tensor | None:
        """What pushes a code away from zero: zero is optimal where this is at most the penalty weight.

        It is max over z with p(z) = 1 of correlation z, the polar of the penalty, elementwise: the dual's feasible set
        is dual_excess(D^T u) <= weight, and prox(x, b) moves 0 by relu(dual_excess(x) - b).

        Args:
            correlation: D^T residual, of the code's shape.

        Returns:
            Tensor of its shape; None: unknown. The active-set solver, ``convergence`` and ``lambda_max`` then refuse.
        """
        return None

    def magnitude(self, code: Tensor) -> Tensor:
        """p(code), elementwise: its sum is what the rate lambda is estimated from."""
        return ops.abs(code)

    def get_config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> CodePrior:
        return cls(**config)


registry = Registry("code prior", CodePrior, default="nonnegative_soft")
get = registry.get
"""The code prior that an object, a registered name, a Keras config or None (the default) stands for."""
names = registry.names
"""Registered names of this kind, sorted."""
serialize = registry.serialize
"""What ``get_config`` of a model stores: the registered name, or the object's Keras config."""
register_code_prior = registry.register
"""Class decorator ``register_code_prior(name)``: names a code prior of your own, also in saved models."""


@register_code_prior("soft")
class Laplace(CodePrior):
    """p(z) = |z|, prox(x, b) = relu(x - b) - relu(-x - b): Laplace prior, codes of both signs.

    The prox is the two-sided ReLU with a bias (arXiv 1904.08827, section II).

    Example:
        >>> import keras
        >>> from keras_crsae.problem import Laplace
        >>> keras.ops.convert_to_numpy(Laplace().dual_excess(keras.ops.array([-3.0, 0.5]))).tolist()
        [3.0, 0.5]
    """

    onnx = "soft"

    def prox(self, x: Tensor, threshold: Tensor) -> Tensor:
        return ops.relu(x - threshold) - ops.relu(-x - threshold)

    def penalty(self, code: Tensor, weight: Tensor) -> Tensor:
        return weight * ops.abs(code)

    def dual_excess(self, correlation: Tensor) -> Tensor:
        return ops.abs(correlation)


@register_code_prior("nonnegative_soft")
class Exponential(CodePrior):
    """p(z) = z for z >= 0, else infinite; prox(x, b) = relu(x - b): exponential prior, non-negative codes.

    Example:
        >>> import keras
        >>> from keras_crsae.problem import Exponential
        >>> keras.ops.convert_to_numpy(Exponential().prox(keras.ops.array([-3.0, 0.5, 2.0]), 1.0)).tolist()
        [0.0, 0.0, 1.0]
    """

    signed = False
    bias_form = True
    onnx = "nonnegative_soft"

    def prox(self, x: Tensor, threshold: Tensor) -> Tensor:
        return ops.relu(x - threshold)

    def penalty(self, code: Tensor, weight: Tensor) -> Tensor:
        return ops.where(code < 0, float("inf"), weight * code)

    def dual_excess(self, correlation: Tensor) -> Tensor:
        return correlation
