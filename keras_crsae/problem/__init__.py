"""What is minimised, one object each: likelihood, prior of the code, prior of lambda, measurement; and the objective.

Where the next one goes: a class in ``likelihoods``, ``code_priors``, ``rate_priors`` or ``measurements``, under a name
given by the decorator of its kind. ``tests/keras_crsae/problem/test_extension.py`` shows one of each in full.
"""

from keras_crsae.problem import code_priors, likelihoods, measurements, rate_priors
from keras_crsae.problem.code_priors import (
    CodePrior,
    Exponential,
    GroupSparse,
    Laplace,
    SignedByFilter,
    register_code_prior,
)
from keras_crsae.problem.count_likelihoods import Binomial, CountLikelihood, Poisson
from keras_crsae.problem.counts import pearson_dispersion
from keras_crsae.problem.likelihoods import Gaussian, Likelihood, register_likelihood
from keras_crsae.problem.matrix import Matrix
from keras_crsae.problem.measurements import Identity, Mask, Measurement, register_measurement
from keras_crsae.problem.null_values import null_lambda
from keras_crsae.problem.objective import Problem, dual_objective, lambda_max, objective
from keras_crsae.problem.own_measurement import OwnMeasurement
from keras_crsae.problem.rate_priors import GammaPrior, RatePrior, register_rate_prior
from keras_crsae.problem.sampling import Blur, Subsample

__all__ = ["Binomial", "Blur", "CodePrior", "CountLikelihood", "Exponential", "GammaPrior", "Gaussian", "GroupSparse",
           "Identity", "Laplace", "Likelihood", "Mask", "Matrix", "Measurement", "OwnMeasurement", "Poisson", "Problem",
           "RatePrior", "SignedByFilter", "Subsample", "code_priors", "dual_objective", "lambda_max", "likelihoods",
           "measurements", "null_lambda", "objective", "pearson_dispersion", "rate_priors", "register_code_prior",
           "register_likelihood", "register_measurement", "register_rate_prior"]


def __dir__() -> list[str]:
    return __all__
