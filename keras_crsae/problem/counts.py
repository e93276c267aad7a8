"""How counts become means, and how much more they vary than their model says. What is accepted: ``core.counts``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from crsae_onnx.core.counts import as_size
from keras import ops

from keras_crsae.typing import Tensor

if TYPE_CHECKING:
    from keras_crsae.problem.count_likelihoods import CountLikelihood

_TINY = 1e-30


class Means(NamedTuple):
    """What the encoder works on."""

    y: Tensor  #: counts / size, of the counts' shape
    observed: Tensor | None  #: None, or the weight of each sample in [0, 1], of the counts' shape
    dispersion: Tensor  #: 1 / largest size of each signal, (batch,)

    @property
    def weight(self) -> Tensor:
        """Size of each sample, 0 where it is missing; broadcastable to y. See ``Poisson.baseline_statistics``."""
        per_signal = ops.reshape(1.0 / self.dispersion, (-1,) + (1,) * (len(self.y.shape) - 1))
        return per_signal if self.observed is None else self.observed * per_signal


def means(counts: Tensor, size: Tensor, observed: Tensor | None = None) -> Means:
    """Counts divided by their size, and what each sample weighs.

    Args:
        counts: (batch, *space, channels), floating.
        size: exposure or trials, broadcastable to the counts and with as many axes, or a number.
        observed: None or 0/1 of the counts' shape; what is missing may hold any finite value.

    Example:
        >>> from keras import ops
        >>> from keras_crsae.problem.counts import means
        >>> found = means(ops.array([[[5.0], [1.0]]]), 10.0)
        >>> ops.convert_to_numpy(found.y).ravel().tolist(), found.observed is None
        ([0.5, 0.10000000149011612], True)
    """
    size = ops.convert_to_tensor(size, dtype=counts.dtype)
    ndim, batch = len(counts.shape), ops.shape(counts)[0]
    if all(n == 1 for n in size.shape[1:]):  # the same for all samples of a signal
        per_signal = ops.broadcast_to(ops.reshape(size, (-1,)), (batch,))
        y = counts / ops.maximum(size, _TINY)
        if observed is not None:
            y = ops.where(observed > 0, y, 0.0)
        return Means(y, observed, 1.0 / ops.maximum(per_signal, _TINY))
    size = ops.broadcast_to(size, ops.shape(counts))
    if observed is not None:
        size = ops.where(observed > 0, size, 0.0)
    largest = ops.max(size, axis=tuple(range(1, ndim)), keepdims=True)
    y = ops.where(size > 0, counts / ops.maximum(size, _TINY), 0.0)
    return Means(y, size / ops.maximum(largest, _TINY), 1.0 / ops.maximum(ops.reshape(largest, (-1,)), _TINY))


def pearson_dispersion(likelihood: CountLikelihood, counts: Any, eta: Any, size: Any = None, nonzeros: int = 0,
                       observed: Any = None) -> float:
    """Pearson's estimate of over-dispersion: 1 where counts vary as the likelihood says, more where they vary more.

        sum_i size_i (y_i - A'(eta_i))^2 / A''(eta_i) / (N - number of non-zero code values)

    (McCullagh and Nelder, Generalized Linear Models, 1989, section 4.5.) It is reported, not fed back.

    Args:
        likelihood: of the counts.
        counts, eta: (batch, *space, channels); eta with the baseline.
        size: None (the likelihood's), or that of these counts, see ``core.counts.as_size``.
        nonzeros: non-zero values of the code.
        observed: None or 0/1 broadcastable to the counts.

    Returns:
        float; NaN where no sample is left.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.problem import Poisson
        >>> from keras_crsae.problem.counts import pearson_dispersion
        >>> rate = np.full((4, 5000, 1), 2.0)
        >>> counts = np.random.default_rng(0).poisson(rate)
        >>> round(pearson_dispersion(Poisson(), counts, np.log(rate)), 1)
        1.0
    """
    counts = np.asarray(ops.convert_to_numpy(counts), np.float64)
    size = as_size(likelihood.size if size is None else size, counts.shape, str(likelihood.size_name),
                   per_signal=size is not None)
    size = np.broadcast_to(size, counts.shape)
    seen = size > 0 if observed is None else (size > 0) & (np.broadcast_to(observed, counts.shape) > 0)
    eta = ops.convert_to_tensor(np.broadcast_to(ops.convert_to_numpy(eta), counts.shape)[seen], "float64")
    mean, variance = (np.asarray(ops.convert_to_numpy(f(eta))) for f in (likelihood.mean, likelihood.variance))
    n, size = counts[seen], size[seen]
    total = np.sum((n - size * mean) ** 2 / np.maximum(size * variance, _TINY))
    left = n.size - int(nonzeros)
    return float(total / left) if left > 0 else math.nan
