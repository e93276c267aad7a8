"""Options of ``CRsAE`` after their checks."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
from crsae_onnx.core.validation import as_positive
from keras import ops

from keras_crsae.models.measured_adaptation import check_sigma
from keras_crsae.operators.rank_one import nearest_rank_one
from keras_crsae.problem import code_priors, own_measurement, rate_priors
from keras_crsae.problem.code_priors import CodePrior
from keras_crsae.problem.likelihoods import Likelihood
from keras_crsae.problem.measurements import Identity, Measurement
from keras_crsae.problem.rate_priors import GammaPrior, RatePrior
from keras_crsae.training.two_stage_trainer import THROUGH_ENCODER

#: Share of a filter's energy that a rank-one dictionary may lose without a word: rounding of float32 stays below.
_MOST_LOST = 1e-3
#: Of lambda's prior for counts. Nearly all of their codes are zero, so that EM raises lambda as far as the prior lets
#: it, and filters get worse by it: ``benchmarks.counts_recovery --case lambda``.
STRENGTH_OF_COUNTS = 10.0

LAMBDA_LEARNING = ("em", "em_closed_form", "em_through_code", "backprop", "bias", None)


def check_learning(lambda_learning: str | None, gradient: str, likelihood: Likelihood) -> None:
    """ValueError for a way to learn lambda that does not exist, or not with this gradient or likelihood."""
    if lambda_learning not in LAMBDA_LEARNING:
        raise ValueError(f"`lambda_learning` must be one of {LAMBDA_LEARNING}. Received: {lambda_learning!r}")
    if lambda_learning in ("bias", "em_through_code") and likelihood.size_name is not None:
        raise ValueError(f"lambda_learning={lambda_learning!r} is for Gaussian noise. Use 'em', 'em_closed_form', "
                         "'backprop' or None for counts.")
    if lambda_learning in THROUGH_ENCODER and gradient == "decoder":
        raise ValueError(f"lambda_learning={lambda_learning!r} needs a gradient through the encoder, and "
                         "gradient='decoder' holds the code constant. Use gradient='unrolled' or 'truncated', or other "
                         "learning.")


def check_dtype(policy: keras.DTypePolicy) -> None:
    """ValueError for a dtype policy whose variables, or float16 compute, are too coarse for lambda and losses."""
    if policy.variable_dtype not in ("float32", "float64") or policy.compute_dtype == "float16":
        raise ValueError("CRsAE keeps lambda, step size and losses in float32: use the dtype policy 'float32', "
                         f"'float64' or 'mixed_bfloat16'. Received: dtype={policy.name!r}")


def as_initializer(initializer: Any, seed: int | None) -> Any:
    """Keras initialiser of the filters; None: random normal from the seed."""
    return keras.initializers.get(initializer) or keras.initializers.RandomNormal(seed=seed)


def as_step_size(step_size: Any) -> str | float:
    """``step_size`` as "auto" or a positive number."""
    return step_size if isinstance(step_size, str) and step_size == "auto" else as_positive(step_size, "step_size")


def as_sigma_rate(rate: float) -> float:
    """``sigma_rate`` after its checks."""
    if as_positive(rate, "sigma_rate") > 1:
        raise ValueError(f"`sigma_rate` must lie in (0, 1]. Received: sigma_rate={rate!r}")
    return as_positive(rate, "sigma_rate")


def as_rate_prior(spec: Any, lambda_learning: str | None, likelihood: Likelihood) -> RatePrior:
    """The prior of lambda that ``spec`` stands for; None: a Gamma prior, for counts a strong one."""
    of_counts = spec is None and likelihood.size_name is not None
    prior = GammaPrior(strength=STRENGTH_OF_COUNTS) if of_counts else rate_priors.get(spec)
    one = ops.ones(1)
    if lambda_learning == "em_closed_form" and prior.closed_form(one, 1.0, one, shared=False) is None:
        raise ValueError(f"lambda_learning='em_closed_form' needs the minimum of the loss of lambda, and the prior "
                         f"{type(prior).__name__} has no `closed_form`. Use lambda_learning='em'.")
    return prior


def as_kernel_rank(kernel_rank: Any, refused_by: str | None) -> int | None:
    """``kernel_rank`` after its checks; ``refused_by``: class of models whose filters are free, or None."""
    if kernel_rank is None:
        return None
    if isinstance(kernel_rank, bool) or kernel_rank != 1:
        raise ValueError("`kernel_rank` must be None (filters of any rank) or 1 (a map over channels times a time "
                         f"course). Received: kernel_rank={kernel_rank!r}")
    if refused_by is not None:
        raise ValueError(f"kernel_rank=1 is for CRsAE. Received: kernel_rank=1 with {refused_by}, whose filters have "
                         "norms, or copies, of their own.")
    return 1


def warn_of_lost_energy(filters: np.ndarray) -> None:
    """Warn where filters are not of rank one, so that a dictionary of rank one takes others, their nearest."""
    lost = 1.0 - nearest_rank_one(filters).share
    if lost.max() > _MOST_LOST:
        warnings.warn(f"The model's filters are of rank one (kernel_rank=1), and these are not: it takes the nearest. "
                      f"Filter {int(lost.argmax())} loses {lost.max():.1%} of its energy, the mean filter "
                      f"{lost.mean():.1%}. Use kernel_rank=None to keep them as they are.", stacklevel=3)


def as_code_prior(code_prior: Any, shrinkage: str | None, default: str) -> CodePrior:
    """The prior that ``code_prior`` (object or name) or its short form ``shrinkage`` (name) stands for."""
    if code_prior is None:
        return code_priors.get(default if shrinkage is None else shrinkage)
    if shrinkage is not None and code_priors.serialize(code_priors.get(code_prior)) != shrinkage:
        raise ValueError("`shrinkage` is a short form of `code_prior`: give one of them. "
                         f"Received: shrinkage={shrinkage!r}, code_prior={code_prior!r}")
    return code_priors.get(code_prior)


def as_measurement(spec: Any, sigma: Any, plain_model: str | None = None) -> Measurement:
    """The measurement that ``spec`` stands for.

    Args:
        spec: object, name, or None.
        sigma: of the model.
        plain_model: None, or the name of a class of models whose data are signals.
    """
    measurement = own_measurement.get(spec)
    if plain_model is not None and not isinstance(measurement, Identity):
        raise ValueError(f"{plain_model} has no choice of `measurement`: its data are images. Use CRsAE(measurement=), "
                         f"with the filters of a {plain_model} where you have one. Received: {measurement!r}")
    check_sigma(measurement, sigma)
    return measurement
