"""What is minimised: likelihood, prior of the code, prior of lambda, measurement, objective."""

from keras_crsae.problem.rate_priors import GammaPrior

__all__ = ["GammaPrior"]
