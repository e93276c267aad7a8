"""Options of a model of counts, checked before data arrive, and the values that it takes from counts (NumPy)."""

from __future__ import annotations

from typing import Any

import numpy as np
from crsae_onnx.core.validation import as_positive_int
from keras import ops

from keras_crsae.problem import likelihoods
from keras_crsae.problem.likelihoods import Likelihood
from keras_crsae.training.counts import SIZE_NAMES, Means, as_call_size, as_means, given_size, with_size
from keras_crsae.typing import BaselineScope

_SCOPES = ("channel", "shared", "signal")


def as_likelihood(spec: Any, trials: Any = None, exposure: Any = None) -> Likelihood:
    """The likelihood that ``spec`` stands for, with the size that is given beside it.

    Raises:
        ValueError: an unknown name, a size that the likelihood does not have, or one that an object brings along.

    Example:
        >>> from keras_crsae.models.count_options import as_likelihood
        >>> as_likelihood("binomial", trials=25).size
        25
    """
    likelihood = likelihoods.get(spec)
    size = given_size(likelihood, trials, exposure)
    if size is None:
        return likelihood
    if not isinstance(spec, str):
        name = next(n for n, v in zip(SIZE_NAMES, (trials, exposure), strict=True) if v is not None)
        raise ValueError(f"The likelihood {type(likelihood).__name__} brings its {name} along: give `{name}` to it, or "
                         f"give its name in place of the object. Received: both an object and `{name}`")
    return with_size(likelihood, likelihood.size_name, size)


def check_noise(likelihood: Likelihood, sigma: Any, sigma_learning: bool, active: bool,
                gaussian_model: str | None = None) -> None:
    """ValueError for options that are about Gaussian noise, where the likelihood is another one.

    Args:
        likelihood, sigma, sigma_learning, active: of the model.
        gaussian_model: None, or the name of a class of models that take no counts.
    """
    if likelihood.quadratic:
        return
    name, counts = type(likelihood).__name__, likelihood.size_name is not None
    if counts and gaussian_model is not None:
        raise ValueError(f"{gaussian_model} is for Gaussian noise. Use CRsAE for counts, or, for images, "
                         f"applications.denoising.denoise(counts, noise='poisson'). Received: likelihood={name}")
    known = f"the variance of {name} counts follows from their mean and `{likelihood.size_name}`" if counts else \
        "they measure Gaussian noise"
    if sigma == "estimate" or sigma_learning:
        raise ValueError(f"sigma='estimate' and sigma_learning do not exist here: {known}. "
                         + ("Omit them; model.overdispersion(counts) says whether the counts vary more than that. "
                            if counts else "Give `sigma` a number and sigma_learning=False. ")
                         + f"Received: likelihood={name}")
    if counts and sigma != 1.0:
        raise ValueError(f"`sigma` does not exist here: {known}. Omit it. Received: sigma={sigma!r}")
    if active:
        raise ValueError(f"active=True solves with the Gaussian likelihood alone. Use active=False. Received: "
                         f"likelihood={name}")


def as_baseline(likelihood: Likelihood, baseline: Any, scope: BaselineScope,
                learning: bool) -> tuple[Any, BaselineScope, bool]:
    """``baseline`` as "estimate", a number or a list, its scope, and whether it is learned, after their checks."""
    if scope not in _SCOPES:
        raise ValueError(f"`baseline_scope` must be one of {_SCOPES}. Received: {scope!r}")
    estimated = isinstance(baseline, str) and baseline == "estimate"
    if likelihood.size_name is None:
        if not estimated or scope != "channel":
            raise ValueError(f"A baseline belongs to counts, and the likelihood is {type(likelihood).__name__}: its "
                             "data have none. Subtract their mean, or use likelihood='poisson' or 'binomial'.")
        return "estimate", scope, False
    if not estimated:
        try:
            values = np.asarray(baseline, np.float64)
        except (TypeError, ValueError):
            values = np.asarray(np.nan)
        if values.ndim > 1 or not values.size or not np.isfinite(values).all():
            raise ValueError("`baseline` must be 'estimate', a number or one a channel: eta of the zero code, "
                             f"log(rate) for Poisson, log(p / (1 - p)) for binomial counts. Received: {baseline!r}")
        if scope == "shared" and values.ndim and (values != values[0]).any():
            raise ValueError("baseline_scope='shared' has one baseline for all channels, and `baseline` gives several. "
                             f"Received: baseline={baseline!r}")
        baseline = values.tolist()
    if scope == "signal" and not estimated:
        raise ValueError("baseline_scope='signal' finds the baseline of each signal with its code: omit `baseline`, or "
                         f"use baseline_scope='channel'. Received: baseline={baseline!r}")
    return baseline, scope, bool(learning) and scope != "signal"


def as_refit_distance(distance: Any, gradient: str) -> int | None:
    """``refit_distance`` after its check."""
    if distance is None:
        return None
    if gradient != "decoder":
        raise ValueError("`refit_distance` lets the filters learn from events that are found in the code, through "
                         f"which no gradient passes. Use gradient='decoder'. Received: gradient={gradient!r}")
    return as_positive_int(distance, "refit_distance")


def of_channels(baseline: Any, channels: int) -> np.ndarray:
    """A baseline as float32 (channels,), or a ValueError."""
    values = np.asarray(baseline, np.float32)
    if values.ndim and values.shape not in ((1,), (channels,)):
        raise ValueError(f"`baseline` must be a number or one for each of {channels} channels. Received: {values.size} "
                         "numbers")
    return np.broadcast_to(values, (channels,))


def adapted_counts(likelihood: Likelihood, data: np.ndarray, mask: np.ndarray | None, trials: Any,
                   exposure: Any) -> Means | None:
    """Counts, after their checks, as NumPy means with a dispersion of each signal; None: the data are no counts."""
    size = given_size(likelihood, trials, exposure)
    if likelihood.size_name is None:
        return None
    size = as_call_size(likelihood, likelihood.size if size is None else size, data.shape, own=size is None)
    likelihood.check_counts(data, size, "data", mask)
    means = as_means(likelihood, ops.convert_to_tensor(data), size, mask)
    return Means(*(None if a is None else ops.convert_to_numpy(a) for a in means))


def estimate(likelihood: Likelihood, counts: Means, shared: bool) -> np.ndarray:
    """Baseline of the mean of counts, (channels,)."""
    y = ops.convert_to_tensor(counts.signal)
    weight = ops.reshape(ops.convert_to_tensor(counts.size), (-1,) + (1,) * (len(y.shape) - 1))
    weight = weight if counts.observed is None else weight * counts.observed
    axes = tuple(range(len(y.shape) - (0 if shared else 1)))
    return of_channels(ops.convert_to_numpy(likelihood.initial_baseline(y, weight, axes)), y.shape[-1])


def above_baseline(likelihood: Likelihood, counts: Means, baseline: np.ndarray) -> np.ndarray:
    """What first filters are cut from: means without that of the zero code, 0 where nothing is observed."""
    above = counts.signal - ops.convert_to_numpy(likelihood.mean(ops.convert_to_tensor(baseline)))
    return above if counts.observed is None else np.where(counts.observed > 0, above, 0.0)
