"""Likelihoods of counts: Poisson and binomial with their canonical links.

y is the mean of the data, counts / size, where size is the exposure or the number of trials, and eta = D z + baseline.
In one form for both (and for the Gaussian, A = eta^2 / 2) the encoder minimises

    sum_i [A(eta_i) - y_i eta_i] + (1 / size) sum_c lambda_c p(z_c)

The dispersion 1 / size takes the place of sigma^2: lambda and "penalty weight = lambda sigma^2" mean the same
everywhere, and the variance of y is A''(eta) / size. (Tolooshams, Song, Temereanca, Ba, Convolutional dictionary
learning based auto-encoders for natural exponential-family distributions, arXiv 1907.03211; there lambda is ours over
the number of trials.)

Whoever calls has checked counts (``crsae_onnx.core.counts``) and divided (``problem.counts``). In sums a sample weighs
as much as its share of the signal's largest size.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from crsae_onnx.core import counts as count_data
from keras import ops

from keras_crsae.problem.likelihoods import Likelihood, register_likelihood
from keras_crsae.typing import Tensor

_SMALL_CHANGE = 0.3  # below it the series of a divergence is exact to 3e-5, above it nothing cancels in float32
_TINY = 1e-30


class CountLikelihood(Likelihood):
    """What Poisson and binomial share: size, dispersion, baseline.

    Args:
        size: positive number, or an array broadcastable to (*space, channels), one a sample; 0 in an array marks
            samples that were not observed.
    """

    #: Whether counts are at most the size, which is then a whole number.
    bounded: bool = False
    excess_cancels = False

    def __init__(self, size: Any) -> None:
        self.size = count_data.as_own_size(size, str(self.size_name), self.bounded)

    def dispersion(self, sigma: float) -> float:
        """1 / the largest size; ``sigma`` has no say."""
        return 1.0 / float(np.max(self.size))

    @abstractmethod
    def log_partition(self, eta: Tensor) -> Tensor:
        """A(eta): its derivative is the mean, its second derivative the variance of one trial."""

    @abstractmethod
    def link(self, mean: Tensor) -> Tensor:
        """eta of a mean."""

    def value(self, y: Tensor, eta: Tensor) -> Tensor:
        return self.log_partition(eta) - y * eta

    def residual(self, y: Tensor, eta: Tensor) -> Tensor:
        return y - self.mean(eta)

    def check_counts(self, counts: Any, size: Any = None, name: str = "signal", observed: Any = None) -> None:
        """Refuse what are no counts of this likelihood.

        Args:
            counts: array (batch, *space, channels).
            size: None (the constructor's), or that of these counts, see ``crsae_onnx.core.counts.as_size``.
            name: of the counts, for messages.
            observed: None, or 0/1 broadcastable to the counts; others are not looked at.

        Raises:
            ValueError: counts that are negative, fractional or more than the trials; a size that does not fit.
        """
        counts = np.asarray(counts)
        size = count_data.as_size(self.size if size is None else size, counts.shape, str(self.size_name),
                                  whole=self.bounded, per_signal=size is not None)
        count_data.check_counts(counts, size, str(self.size_name), self.bounded, name, observed)

    # Baseline: eta of the zero code

    def initial_baseline(self, y: Tensor, weight: Tensor | None = None, axes: Sequence[int] | None = None,
                         keepdims: bool = False) -> Tensor:
        """Link of the mean of y, which is held at half a count in all, or half a count below all trials.

        Args:
            y: (batch, *space, channels).
            weight: None, or the size of each sample, 0 where it is missing, broadcastable to y.
            axes: axes of the mean; None: all but the channels.
            keepdims: whether those axes stay, with length 1.

        Returns:
            (channels,) by default; 0 where nothing is observed.
        """
        axes = tuple(range(len(y.shape) - 1)) if axes is None else tuple(axes)
        weight = ops.broadcast_to(ops.cast(1.0 / self.dispersion(1.0) if weight is None else weight, y.dtype),
                                  ops.shape(y))
        total = ops.sum(weight, axis=axes, keepdims=keepdims)
        count = self._within(ops.sum(weight * y, axis=axes, keepdims=keepdims), total)
        seen = total > 0
        return ops.where(seen, self.link(ops.where(seen, count / ops.maximum(total, _TINY), 0.5)), 0.0)

    def _within(self, count: Tensor, total: Tensor) -> Tensor:
        """A count in all of which the baseline is finite."""
        return ops.maximum(count, 0.5)

    @abstractmethod
    def baseline_statistics(self, y: Tensor, eta: Tensor, weight: Tensor, axes: Sequence[int],
                            keepdims: bool = False) -> tuple[Tensor, ...]:
        """Sums that ``baseline_from`` needs; those of devices that share a batch are added.

        Args:
            y: (batch, *space, channels).
            eta: D z + the present baseline, of y's shape.
            weight: size of each sample, 0 where it is missing, broadcastable to y.
            axes: axes of the sums: those over which one baseline holds.
            keepdims: whether those axes stay, with length 1.
        """

    @abstractmethod
    def baseline_from(self, baseline: Tensor, statistics: tuple[Tensor, ...]) -> Tensor:
        """The next baseline: never worse for the code that is held, and as it was where nothing is observed."""

    def baseline_update(self, y: Tensor, eta: Tensor, baseline: Tensor, weight: Tensor, axes: Sequence[int],
                        keepdims: bool = False) -> Tensor:
        """``baseline_from`` of ``baseline_statistics``."""
        return self.baseline_from(baseline, self.baseline_statistics(y, eta, weight, axes, keepdims))

    @abstractmethod
    def log_likelihood(self, counts: Any, eta: Any, size: Any = None) -> np.ndarray:
        """Logarithm of the probability of each count, constants included; NumPy, float64, of the counts' shape.

        Args:
            counts: (batch, *space, channels), or any other shape.
            eta: natural parameter, baseline included, broadcastable to the counts.
            size: None (the constructor's), or that of these counts, see ``crsae_onnx.core.counts.as_size``.
        """

    def _as_float64(self, counts: Any, eta: Any, size: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        n, eta = (np.asarray(ops.convert_to_numpy(a), np.float64) for a in (counts, eta))
        size = count_data.as_size(self.size if size is None else size, n.shape, str(self.size_name),
                                  whole=self.bounded, per_signal=size is not None)
        return n, eta, np.asarray(size, np.float64)


def _log_factorial(n: np.ndarray) -> np.ndarray:
    values, places = np.unique(n, return_inverse=True)  # few counts occur many times
    logs = [math.inf if v < 0 else math.lgamma(v + 1.0) for v in values]  # impossible counts: log of 0
    return np.array(logs)[places].reshape(n.shape)


@register_likelihood("poisson")
class Poisson(CountLikelihood):
    """counts ~ Poisson(exposure e^eta): A = e^eta, y = counts / exposure, dispersion 1 / exposure.

    Args:
        exposure: what a rate is multiplied by to give the expected count: seconds a bin, trials that were added up,
            gain. A number, or an array broadcastable to (*space, channels); 0 in an array: not observed.

    Raises:
        ValueError: an exposure that is negative, infinite or NaN, or zero everywhere.

    Example:
        >>> import keras
        >>> from keras_crsae.problem import Poisson
        >>> y, eta = keras.ops.array([3.0]), keras.ops.log(keras.ops.array([2.0]))
        >>> round(float(Poisson().residual(y, eta)[0]), 5)       # 3 counts, 2 expected
        1.0
        >>> Poisson(exposure=4.0).dispersion(1.0)
        0.25
    """

    size_name = "exposure"
    onnx = "poisson"

    def __init__(self, exposure: Any = 1.0) -> None:
        super().__init__(exposure)

    def mean(self, eta: Tensor) -> Tensor:
        return ops.exp(eta)

    def variance(self, eta: Tensor) -> Tensor:
        return ops.exp(eta)

    def log_partition(self, eta: Tensor) -> Tensor:
        return ops.exp(eta)

    def link(self, mean: Tensor) -> Tensor:
        return ops.log(mean)

    def bregman(self, y: Tensor, eta: Tensor, change: Tensor) -> Tensor:
        """e^eta (e^change - 1 - change), by its series where the difference would cancel.

        The exported graph has the same form: ONNX has no expm1.
        """
        d = change
        series = 0.5 * ops.square(d) * (1.0 + d / 3.0 * (1.0 + d / 4.0 * (1.0 + d / 5.0)))
        return ops.exp(eta) * ops.where(ops.abs(d) < _SMALL_CHANGE, series, ops.exp(d) - 1.0 - d)

    def step_excess(self, y: Tensor, eta: Tensor, change: Tensor) -> Tensor:
        """d^2 / 2 e^(eta + d / 3 + d^2 / 36), d the change: nothing cancels, and one exponential is all that it takes.

        e^d - 1 - d = d^2 E[e^(S d)] / 2 for S in [0, 1] of density 2 (1 - s), whose mean is 1/3 and variance 1/18: the
        cumulants up to the second. Within 4 % for |d| <= 3, and it grows faster than the divergence beyond 10; the
        exponent is held at that of d = -6, its least.
        """
        d = ops.maximum(change, -6.0)
        return (0.5 * change) * change * ops.exp(eta + d * (d / 36.0 + 1.0 / 3.0))

    def excess_factor(self, largest: Tensor) -> Tensor:
        d = ops.relu(largest)
        return ops.exp(d * (d / 36.0 + 1.0 / 3.0))

    def start_curvature(self, y: Tensor, baseline: Tensor | float) -> Tensor:
        """Mean of the zero code, or half of the largest y: a first guess, which the solver corrects."""
        axes = tuple(range(1, len(y.shape)))
        zero = ops.exp(ops.cast(baseline, y.dtype))
        if len(zero.shape) < len(y.shape):  # one a channel; else one a signal, or a sample
            zero = ops.broadcast_to(zero, ops.shape(y[:, :1]))
        return ops.maximum(ops.max(zero, axis=axes), 0.5 * ops.max(y, axis=axes))

    def baseline_statistics(self, y: Tensor, eta: Tensor, weight: Tensor, axes: Sequence[int],
                            keepdims: bool = False) -> tuple[Tensor, ...]:
        weight = ops.broadcast_to(ops.cast(weight, y.dtype), ops.shape(y))
        # Not 0 * inf where a sample is missing.
        expected = ops.where(weight > 0, weight * ops.exp(eta), 0.0)
        return tuple(ops.sum(v, axis=tuple(axes), keepdims=keepdims) for v in (weight * y, expected))

    def baseline_from(self, baseline: Tensor, statistics: tuple[Tensor, ...]) -> Tensor:
        """The best one: log(counts / expected counts) is added; no counts at all are taken for half a count."""
        count, expected = statistics
        ratio = self._within(count, count) / ops.maximum(expected, _TINY)
        return baseline + ops.where(expected > 0, ops.log(ratio), 0.0)

    def dual_value(self, y: Tensor, u: Tensor) -> Tensor:
        """p - p log p, p = y - u: minus the conjugate p log p - p of e^eta."""
        p = ops.relu(y - u)
        return p - p * ops.log(ops.maximum(p, _TINY))

    def log_likelihood(self, counts: Any, eta: Any, size: Any = None) -> np.ndarray:
        n, eta, size = self._as_float64(counts, eta, size)
        seen = np.where(size > 0, size, 1.0)
        return n * (eta + np.log(seen)) - size * np.exp(eta) - _log_factorial(n)

    def get_config(self) -> dict[str, Any]:
        return {"exposure": count_data.size_config(self.size)}


@register_likelihood("binomial")
class Binomial(CountLikelihood):
    """counts ~ Binomial(trials, sigmoid(eta)): A = log(1 + e^eta), y = counts / trials, dispersion 1 / trials.

    A'' <= 1/4, so the step size is four times that of the Gaussian. One trial: 0/1 data, logistic (Bernoulli).

    Args:
        trials: the most that a count can be, a whole number: trials that were added up, bins of 1 ms in one bin. A
            number, or an array broadcastable to (*space, channels); 0 in an array: not observed.

    Raises:
        ValueError: trials that are negative or fractional, or zero everywhere.

    Example:
        >>> import keras
        >>> from keras_crsae.problem import Binomial
        >>> y, eta = keras.ops.array([0.8]), keras.ops.array([0.0])
        >>> round(float(Binomial(trials=25).residual(y, eta)[0]), 5)    # 20 of 25, half of them expected
        0.3
    """

    curvature = 0.25
    size_name = "trials"
    bounded = True
    onnx = "binomial"

    def __init__(self, trials: Any = 1) -> None:
        super().__init__(trials)

    def mean(self, eta: Tensor) -> Tensor:
        return ops.sigmoid(eta)

    def variance(self, eta: Tensor) -> Tensor:
        return ops.sigmoid(eta) * ops.sigmoid(-eta)

    def log_partition(self, eta: Tensor) -> Tensor:
        return ops.softplus(eta)

    def link(self, mean: Tensor) -> Tensor:
        return ops.log(mean) - ops.log(1.0 - mean)

    def bregman(self, y: Tensor, eta: Tensor, change: Tensor) -> Tensor:
        """softplus(eta + change) - softplus(eta) - sigmoid(eta) change without cancellation.

        It is the same for -eta and -change, so that eta is taken negative, where softplus keeps its digits; for small
        changes by the series of the cumulants.
        """
        eta, d = -ops.abs(eta), ops.where(eta > 0, -change, change)
        p = ops.sigmoid(eta)
        variance, skew = p * ops.sigmoid(-eta), 1.0 - 2.0 * p
        series = 0.5 * variance * ops.square(d) * (1.0 + d / 3.0 * (skew + d / 4.0 * (
            1.0 - 6.0 * variance + d / 5.0 * skew * (1.0 - 12.0 * variance))))
        exact = ops.softplus(eta + d) - ops.softplus(eta) - p * d
        return ops.where(ops.abs(d) < _SMALL_CHANGE, series, exact)

    def _within(self, count: Tensor, total: Tensor) -> Tensor:
        half = ops.minimum(0.5, 0.5 * total)
        return ops.clip(count, half, total - half)

    def baseline_statistics(self, y: Tensor, eta: Tensor, weight: Tensor, axes: Sequence[int],
                            keepdims: bool = False) -> tuple[Tensor, ...]:
        weight = ops.broadcast_to(ops.cast(weight, y.dtype), ops.shape(y))
        return tuple(ops.sum(v, axis=tuple(axes), keepdims=keepdims) for v in (
            weight * y, weight * self.mean(eta), weight * self.variance(eta), weight))

    def baseline_from(self, baseline: Tensor, statistics: tuple[Tensor, ...]) -> Tensor:
        """One damped Newton step, sign(g) log(1 + |g| / h), g and h the derivatives by the baseline.

        As |A'''| <= A'', A(eta + d) <= A(eta) + A'(eta) d + A''(eta) (e^|d| - |d| - 1). The step is the least of that
        bound, so the objective never rises; near its minimum it is Newton's.
        """
        count, expected, variance, total = statistics
        slope = self._within(count, total) - expected
        step = ops.sign(slope) * ops.log1p(ops.abs(slope) / ops.maximum(variance, _TINY))
        return baseline + ops.where(total > 0, step, 0.0)

    def dual_value(self, y: Tensor, u: Tensor) -> Tensor:
        """Entropy of p = y - u: minus the conjugate p log p + (1 - p) log(1 - p) of log(1 + e^eta)."""
        p = ops.minimum(ops.relu(y - u), 1.0)
        return -sum(q * ops.log(ops.maximum(q, _TINY)) for q in (p, 1.0 - p))

    def log_likelihood(self, counts: Any, eta: Any, size: Any = None) -> np.ndarray:
        n, eta, size = self._as_float64(counts, eta, size)
        choices = _log_factorial(size) - _log_factorial(n) - _log_factorial(size - n)
        return choices + n * eta - size * np.logaddexp(0.0, eta)

    def get_config(self) -> dict[str, Any]:
        return {"trials": count_data.size_config(self.size)}
