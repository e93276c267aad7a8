"""Likelihoods: how the data y follow from the natural parameter eta = D z.

The encoder minimises ``sum_i value(y_i, eta_i) + sum_c weight_c penalty(z_c)``. A likelihood says what ``value`` is,
its derivative, and what is known of it; iteration, losses, certificate and export read it from here alone. Those of
counts stand in ``count_likelihoods``.

The next likelihood is one class, here or in your own code, with ``@register_likelihood("name")``: ``value``,
``residual``, ``curvature``, and ``dual_value`` where the convex conjugate is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_crsae.problem.registry import Configured, Registry
from keras_crsae.typing import Tensor


class Likelihood(Configured):
    """sum_i value(y_i, eta_i): the negative log likelihood of y given eta, up to a factor and terms of y alone.

    ``value`` is convex in eta. All methods act elementwise on tensors of any equal shape, (batch, *space, channels)
    in the encoder, and on any floating dtype (the certificate computes in float64).

    Attributes:
        curvature: least upper bound of the second derivative of ``value`` by eta. 1 / (curvature L), L the largest
            eigenvalue of D^T D, is then a safe step size. None: there is no bound.
        quadratic: whether ``value`` is (y - eta)^2 / 2. The active-set solver, noise estimation and the refit of
            amplitudes on their support need that.
        excess_cancels: whether ``step_excess`` is a difference of values, whose rounding a search for steps allows for.
        onnx: form in an exported graph; None: the exporter refuses.
        size_name: None, or what data that are counts are divided by: "exposure" or "trials". y is then the mean of
            the data, counts / size, and eta holds a baseline.
        size: that divisor, a number or an array broadcastable to (*space, channels).

    Example:
        >>> import keras
        >>> from keras_crsae.problem import Gaussian
        >>> y, eta = keras.ops.array([3.0]), keras.ops.array([1.0])
        >>> float(Gaussian().value(y, eta)[0]), float(Gaussian().residual(y, eta)[0])
        (2.0, 2.0)
    """

    curvature: float | None = None
    quadratic: bool = False
    excess_cancels: bool = True
    onnx: str | None = None
    size_name: str | None = None
    size: Any = 1.0

    def mean(self, eta: Tensor) -> Tensor:
        """Mean of y given eta, the inverse link; the identity unless overridden."""
        return eta

    def value(self, y: Tensor, eta: Tensor) -> Tensor:
        """Negative log likelihood of each sample, of y's shape."""
        raise NotImplementedError

    def residual(self, y: Tensor, eta: Tensor) -> Tensor:
        """Minus the derivative of ``value`` by eta, of y's shape."""
        raise NotImplementedError

    def variance(self, eta: Tensor) -> Tensor | None:
        """Second derivative of ``value`` by eta; times the dispersion it is the variance of y. None: unknown."""
        return None

    def loss(self, y: Tensor, eta: Tensor) -> Tensor:
        """What ``reconstruction_loss`` averages over the observed samples: ``value``, unless overridden."""
        return self.value(y, eta)

    def bregman(self, y: Tensor, eta: Tensor, change: Tensor) -> Tensor:
        """``value`` at eta + change above its tangent at eta; at most curvature change^2 / 2."""
        return self.value(y, eta + change) - self.value(y, eta) + self.residual(y, eta) * change

    def step_excess(self, y: Tensor, eta: Tensor, change: Tensor) -> Tensor:
        """``bregman``, or what is close to it and costs less: a step of a search for step sizes is accepted by it."""
        return self.bregman(y, eta, change)

    def excess_factor(self, largest: Tensor) -> Tensor | None:
        """Factor by which half of variance(eta) change^2 bounds ``step_excess`` for changes up to ``largest``.

        It spares most steps the sum of ``step_excess``. None: that is always taken.
        """
        return None

    def start_curvature(self, y: Tensor, baseline: Tensor | float) -> Tensor:
        """Second derivative that the first step of a search assumes, one a signal, (batch,).

        Args:
            y: (batch, *space, channels).
            baseline: eta of the zero code, broadcastable to y.
        """
        return ops.full(ops.shape(y)[:1], 1.0 if self.curvature is None else self.curvature, dtype=y.dtype)

    def dispersion(self, sigma: float) -> float:
        """The sigma^2 by which the objective weighs lambda: penalty weight = lambda sigma^2.

        Args:
            sigma: what the user gave, the noise standard deviation. A likelihood whose dispersion is known by itself
                (one over the number of trials) returns that.
        """
        return sigma * sigma

    def initial_baseline(self, y: Tensor, weight: Tensor | None = None, axes: Sequence[int] | None = None,
                         keepdims: bool = False) -> Tensor | float:
        """eta of the zero code, broadcastable to y; 0 unless overridden."""
        return 0.0

    def check_counts(self, counts: Any, size: Any = None, name: str = "signal", observed: Any = None) -> None:
        """Refuse data that are no counts; nothing where the likelihood has none."""

    def dual_value(self, y: Tensor, u: Tensor) -> Tensor | None:
        """Minus the convex conjugate of ``value`` at -u, elementwise; None: unknown, and ``convergence`` refuses.

        With u = residual(y, eta) its sum, u scaled into the dual's feasible set, bounds the optimum from below.
        """
        return None

    def dual_scale(self, y: Tensor, residual: Tensor) -> Tensor:
        """Factor of the residual with the largest dual value where nothing restricts it, one a signal, (batch,).

        1 unless overridden; factors in [0, 1] must be allowed.
        """
        return ops.ones(ops.shape(y)[:1], dtype=y.dtype)


registry = Registry("likelihood", Likelihood, default="gaussian")
get = registry.get
"""The likelihood that an object, a registered name, a Keras config or None (the default) stands for."""
names = registry.names
"""Registered names of this kind, sorted."""
serialize = registry.serialize
"""What ``get_config`` of a model stores: the registered name, or the object's Keras config."""
register_likelihood = registry.register
"""Class decorator ``register_likelihood(name)``: names a likelihood of your own, also in saved models."""


@register_likelihood("gaussian")
class Gaussian(Likelihood):
    """value = (y - eta)^2 / 2: white Gaussian noise, y = eta + v, v ~ N(0, sigma^2) (arXiv 1904.08827, section II).

    The value is times sigma^2, so that the penalty weight is lambda sigma^2 in the data's unit. Conjugate:
    -f*(-u) = y u - u^2 / 2.

    Example:
        >>> import keras
        >>> from keras_crsae.problem import Gaussian
        >>> y = keras.ops.array([3.0])
        >>> float(Gaussian().dual_value(y, y)[0])    # at u = y: the value of eta = 0
        4.5
    """

    curvature = 1.0
    quadratic = True
    excess_cancels = False
    onnx = "gaussian"

    def value(self, y: Tensor, eta: Tensor) -> Tensor:
        return 0.5 * ops.square(y - eta)

    def residual(self, y: Tensor, eta: Tensor) -> Tensor:
        return y - eta

    def variance(self, eta: Tensor) -> Tensor:
        return ops.ones_like(eta)

    def loss(self, y: Tensor, eta: Tensor) -> Tensor:
        """The squared error, twice ``value``: its mean is in the data's unit squared."""
        return ops.square(y - eta)

    def bregman(self, y: Tensor, eta: Tensor, change: Tensor) -> Tensor:
        return 0.5 * ops.square(change)

    def dual_value(self, y: Tensor, u: Tensor) -> Tensor:
        return y * u - 0.5 * ops.square(u)

    def dual_scale(self, y: Tensor, residual: Tensor) -> Tensor:
        """Vertex of the parabola that the dual is along the residual."""
        axes = tuple(range(1, len(y.shape)))
        return ops.sum(y * residual, axis=axes) / ops.maximum(ops.sum(ops.square(residual), axis=axes), 1e-30)
