"""The second stage and the noise part of the M-step, without state (arXiv 1904.08827, section III).

Sums run over the replicas that share a batch (``training.distribution``).
"""

from __future__ import annotations

from keras import ops

from keras_crsae.layers.conv_dictionary import ConvDictionary
from keras_crsae.operators.ridge import ridge_fit
from keras_crsae.problem import code_priors, likelihoods
from keras_crsae.problem.code_priors import CodePrior
from keras_crsae.problem.count_likelihoods import CountLikelihood
from keras_crsae.problem.likelihoods import Likelihood
from keras_crsae.problem.objective import null_residual
from keras_crsae.training.distribution import highest, total
from keras_crsae.training.inputs import Batch
from keras_crsae.typing import Tensor

_REFIT_STEPS = 20


def code_norms(code: Tensor, sample_weight: Tensor | None = None,
               code_prior: CodePrior | str = "soft") -> tuple[Tensor, Tensor]:
    """Statistics that lambda needs: (weighted) batch mean of sum_i p(z_ci) (||z_c||_1), and N_e.

    Args:
        code: (batch, *positions, filters).
        sample_weight: None or (batch,).
        code_prior: object or name whose penalty p is.

    Returns:
        norms (filters,) and positions (), float.
    """
    axes = tuple(range(1, len(code.shape) - 1))
    norms = ops.sum(code_priors.get(code_prior).magnitude(code), axis=axes)
    positions = 1
    for axis in axes:
        positions = positions * ops.shape(code)[axis]
    weight = ops.ones_like(norms[:, :1]) if sample_weight is None else ops.reshape(sample_weight, (-1, 1))
    norms, count = total([ops.sum(weight * norms, axis=0), ops.sum(weight)])
    return norms / ops.maximum(count, 1e-12), ops.cast(positions, code.dtype)


def half_lambda_max(signal: Tensor, dictionary: ConvDictionary, sigma: Tensor, mask: Tensor | None = None,
                    code_prior: CodePrior | str = "soft", likelihood: Likelihood | str = "gaussian",
                    dispersion: Tensor | None = None, baseline: Tensor | None = None) -> Tensor:
    """Ceiling of lambda: half of the smallest rate with an all-zero code, max |D^T y| / (2 sigma^2).

    Filters of either sign count, whatever the prior: a filter may still turn round while it learns. Infinite where the
    code prior has no ``dual_excess``.

    Args:
        signal: (batch, *space, channels); counts divided by their size.
        dictionary: ``ConvDictionary``.
        sigma: noise standard deviation.
        mask: None, or the weight of each sample.
        code_prior, likelihood: object or name.
        dispersion: None (sigma^2), or 1 / size of each signal, (batch,), for counts.
        baseline: eta of the zero code for counts; None: from the mean a channel.
    """
    prior = code_priors.get(code_prior)
    correlation = dictionary.adjoint(null_residual(signal, likelihoods.get(likelihood), mask, baseline, dispersion))
    most = half_largest_excess(correlation, prior)
    return most / ops.square(sigma) if dispersion is None else most


def half_largest_excess(correlation: Tensor, prior: CodePrior) -> Tensor:
    """Half of the largest dual excess of correlations with filters of either sign, on all replicas."""
    excess, turned = prior.dual_excess(correlation), prior.dual_excess(-correlation)
    if excess is None or turned is None:
        return ops.cast(float("inf"), correlation.dtype)
    excess = ops.maximum(excess, turned)
    # A replica may be left without any signal by the last batch of an epoch: then 0, not -infinity.
    return 0.5 * highest(ops.maximum(ops.max(excess, initial=0.0), 0.0))


def best_baseline(batch: Batch, eta: Tensor, baseline: Tensor, likelihood: CountLikelihood, shared: bool) -> Tensor:
    """Baseline of the counts of a batch for codes that are held, or a step towards it; see ``CountLikelihood``.

    Args:
        batch: of means.
        eta: D z + baseline, of the signal's shape.
        baseline: the present one, (channels,).
        likelihood: of the model.
        shared: whether it is the same for all channels.
    """
    weight = ops.full((1,) * len(eta.shape), 1.0 / likelihood.dispersion(1.0), dtype=eta.dtype)
    for by_signal in (batch.size, batch.weight):
        if by_signal is not None:
            by_signal = ops.reshape(by_signal, (-1,) + (1,) * (len(eta.shape) - 1))
            weight = by_signal if by_signal is batch.size else weight * by_signal
    weight = weight if batch.observed is None else weight * batch.observed
    axes = tuple(range(len(eta.shape) - (0 if shared else 1)))
    sums = total(list(likelihood.baseline_statistics(batch.signal, eta, weight, axes)))
    return ops.broadcast_to(likelihood.baseline_from(ops.max(baseline) if shared else baseline, tuple(sums)),
                            ops.shape(baseline))


def refit_on_support(signal: Tensor, code: Tensor, dictionary: ConvDictionary, mask: Tensor | None = None,
                     steps: int = _REFIT_STEPS, ridge: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Least-squares amplitudes of a code on its own support, by conjugate gradients.

    The shrinkage biases a code's amplitudes towards zero; a noise estimate from it would hold that bias.

    Args:
        signal: (batch, *space, channels), of whole strides (``SparseCoding.pad_to_strides``).
        code: (batch, *positions, filters).
        dictionary: ``ConvDictionary``.
        mask: None or 0/1 of signal's shape.
        steps: conjugate-gradient steps.
        ridge: None, or the weight of a penalty ridge/2 z^2, (filters,).

    Returns:
        Refitted code, residual (zero at missing samples), number of observed samples, number of non-zeros.
    """
    observed = ops.ones_like(signal) if mask is None else mask
    support = ops.cast(ops.not_equal(code, 0.0), code.dtype)
    code, _ = ridge_fit(signal, dictionary.synthesis, lambda residual: support * dictionary.adjoint(residual),
                        0.0 if ridge is None else ridge, observed, steps, start=code)
    residual = observed * (signal - dictionary.synthesis(code))
    return code, residual, ops.sum(observed), ops.sum(support)


def noise_variance(signal: Tensor, code: Tensor, dictionary: ConvDictionary, mask: Tensor | None = None,
                   present: Tensor = 1.0) -> Tensor:
    """Bias-free noise variance: ||y - D z_S||^2 / (observed samples - |S|), z_S the code refitted on its support S.

    ``present``: 0 where a replica stands in for a part of the batch that is empty.
    """
    _, residual, observed, support = refit_on_support(signal, code, dictionary, mask)
    error, observed, support = total([ops.sum(ops.square(residual)), present * observed, support])
    return error / ops.maximum(observed - support, 1.0)
