"""Counts at the door of a model: the size that divides them, their checks, and the means that the encoder works on.

What counts and sizes are accepted, and how they are divided, is written in ``problem.counts``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from crsae_onnx.core.counts import as_size
from crsae_onnx.core.signals import refuse_other_containers
from keras import ops

from keras_crsae.problem import counts as count_data
from keras_crsae.problem.likelihoods import Likelihood
from keras_crsae.typing import Tensor

#: What counts may be divided by: options of calls, and keys of batches that are dicts.
SIZE_NAMES = ("trials", "exposure")
_ROUNDING = 1e-3  # as in ``problem.counts``: counts from proportions in float32 are whole up to this


class Means(NamedTuple):
    """What the encoder works on: of data that are no counts, the data themselves."""

    signal: Tensor  #: (batch, *space, channels): counts / size
    observed: Tensor | None  #: None, or weights in [0, 1] of the signal's shape
    dispersion: Tensor | None  #: None (the model's own), or (batch,): 1 / largest size
    size: Tensor | None  #: None (the same for all), or (batch,): the largest size, by which losses weigh the signals


def given_size(likelihood: Likelihood, trials: Any = None, exposure: Any = None) -> Any:
    """What a call divides its counts by; None: the likelihood's own size.

    Raises:
        ValueError: the likelihood's data are divided by the other one, or by none.

    Example:
        >>> from keras_crsae.problem import Poisson
        >>> from keras_crsae.training.counts import given_size
        >>> given_size(Poisson(), exposure=2.0), given_size(Poisson())
        (2.0, None)
    """
    for name, value in zip(SIZE_NAMES, (trials, exposure), strict=True):
        if value is not None and likelihood.size_name != name:
            raise ValueError(_unfit_size(likelihood, name))
    return trials if exposure is None else exposure


def _unfit_size(likelihood: Likelihood, name: str) -> str:
    kind = type(likelihood).__name__
    if likelihood.size_name is None:
        other = "binomial" if name == "trials" else "poisson"
        return f"`{name}` is what counts are divided by, and data of the {kind} likelihood are no counts. Omit it, " \
               f"or choose likelihood={other!r}."
    return f"Counts of the {kind} likelihood are divided by `{likelihood.size_name}`, not by `{name}`. " \
           f"Give `{likelihood.size_name}`."


def refuse_sigma(likelihood: Likelihood, sigma: Any) -> None:
    """ValueError where a call gives a noise level to counts, which have none."""
    if sigma is not None and likelihood.size_name is not None:
        size = likelihood.size_name
        raise ValueError(f"Counts have no noise level: their variance follows from their mean and `{size}`. Omit "
                         f"`sigma`, and give `{size}` where it differs from the model's.")


def with_size(likelihood: Likelihood, size_name: str | None, size: Any) -> Likelihood:
    """A likelihood of the same class with a size of its own."""
    return type(likelihood)(**{**likelihood.get_config(), str(size_name): size})


def as_call_size(likelihood: Likelihood, size: Any, shape: tuple[int, ...], own: bool = False) -> np.ndarray:
    """The size of a call as float32 with as many axes as the counts, its first one the batch.

    Args:
        likelihood: of the model.
        size: a number, one a signal (batch,), or one a sample.
        shape: of the counts, (batch, *space, channels).
        own: whether it is the likelihood's own size, of which an array has no batch.

    Raises:
        ValueError: it does not fit, or holds no sizes.

    Example:
        >>> from keras_crsae.problem import Binomial
        >>> from keras_crsae.training.counts import as_call_size
        >>> as_call_size(Binomial(), 25, (2, 100, 1)).shape
        (2, 1, 1)
    """
    name = str(likelihood.size_name)
    refuse_other_containers(size, name)
    whole = getattr(likelihood, "bounded", False)
    array = as_size(size, shape, name, whole=whole, per_signal=not own).astype(np.float32)
    array = array.reshape((1,) * len(shape)) if not array.ndim else array
    return np.broadcast_to(array, (shape[0], *array.shape[1:]))


def as_means(likelihood: Likelihood, counts: Tensor, size: Tensor | None = None,
             observed: Tensor | None = None) -> Means:
    """What the encoder works on.

    Args:
        likelihood: of the model.
        counts: (batch, *space, channels), floats.
        size: None (the likelihood's own), or the size of these counts: a number, (batch,), or with as many axes as
            they have.
        observed: None, or 0/1 of their shape.

    Returns:
        ``Means``. A count that cannot be (negative, a fraction, more than there were trials) is NaN, and so is what is
        computed from it: inside a graph nothing can be refused.
    """
    if likelihood.size_name is None:
        return Means(counts, observed, None, None)
    divisor = _divisor(likelihood, counts, size)
    found = count_data.means(_possible(likelihood, counts, divisor), divisor, observed)
    if size is None and not len(divisor.shape):
        return Means(found.y, found.observed, None, None)
    return Means(found.y, found.observed, found.dispersion, 1.0 / found.dispersion)


def divided(likelihood: Likelihood, expected: Tensor, size: Tensor | None = None,
            observed: Tensor | None = None) -> Tensor:
    """Expected counts, which need not be whole, divided as ``as_means`` divides."""
    return count_data.means(expected, _divisor(likelihood, expected, size), observed).y


def _divisor(likelihood: Likelihood, counts: Tensor, size: Tensor | None) -> Tensor:
    """A number, or with as many axes as the counts."""
    divisor = ops.convert_to_tensor(likelihood.size, dtype=counts.dtype) if size is None else \
        ops.cast(size, counts.dtype)
    axes = len(divisor.shape)
    if axes == 0:
        return divisor
    if size is not None and axes == 1:
        return ops.reshape(divisor, (-1,) + (1,) * (len(counts.shape) - 1))
    return ops.reshape(divisor, (1,) * (len(counts.shape) - axes) + tuple(ops.shape(divisor)))


def _possible(likelihood: Likelihood, counts: Tensor, size: Tensor) -> Tensor:
    """Counts, NaN where they cannot be."""
    possible = ops.logical_and(counts >= 0, ops.abs(counts - ops.round(counts)) <= _ROUNDING)
    if getattr(likelihood, "bounded", False):
        possible = ops.logical_and(possible, counts <= size + _ROUNDING)
    return ops.where(possible, counts, float("nan"))
