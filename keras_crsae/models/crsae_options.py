"""Options of ``CRsAE`` after their checks."""

from __future__ import annotations

from typing import Any

from crsae_onnx.core.validation import as_positive
from keras import ops

from keras_crsae.problem import code_priors, rate_priors
from keras_crsae.problem.code_priors import CodePrior
from keras_crsae.problem.rate_priors import RatePrior


def as_sigma_rate(rate: float) -> float:
    """``sigma_rate`` after its checks."""
    if as_positive(rate, "sigma_rate") > 1:
        raise ValueError(f"`sigma_rate` must lie in (0, 1]. Received: sigma_rate={rate!r}")
    return as_positive(rate, "sigma_rate")


def as_rate_prior(spec: Any, lambda_learning: str | None) -> RatePrior:
    """The prior of lambda that ``spec`` stands for."""
    prior, one = rate_priors.get(spec), ops.ones(1)
    if lambda_learning == "em_closed_form" and prior.closed_form(one, 1.0, one, shared=False) is None:
        raise ValueError(f"lambda_learning='em_closed_form' needs the minimum of the loss of lambda, and the prior "
                         f"{type(prior).__name__} has no `closed_form`. Use lambda_learning='em'.")
    return prior


def as_code_prior(code_prior: Any, shrinkage: str | None, default: str) -> CodePrior:
    """The prior that ``code_prior`` (object or name) or its short form ``shrinkage`` (name) stands for."""
    if code_prior is None:
        return code_priors.get(default if shrinkage is None else shrinkage)
    if shrinkage is not None and code_priors.serialize(code_priors.get(code_prior)) != shrinkage:
        raise ValueError("`shrinkage` is a short form of `code_prior`: give one of them. "
                         f"Received: shrinkage={shrinkage!r}, code_prior={code_prior!r}")
    return code_priors.get(code_prior)
