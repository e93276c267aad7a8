"""What a call of the encoder is given beside the signal, checked and in one shape each."""

from __future__ import annotations

from keras import ops

from keras_crsae.backend import require_tensorflow
from keras_crsae.layers.conv_dictionary import ConvDictionary
from keras_crsae.problem.likelihoods import Likelihood
from keras_crsae.typing import BaselineScope, Tensor


def check_options(likelihood: Likelihood, sigma: Tensor | None, baseline: Tensor | None, dispersion: Tensor | None,
                  support: Tensor | None, active: bool, baseline_scope: BaselineScope,
                  training: bool = False) -> None:
    """Refuse options of ``SparseCoding.call`` that exclude each other.

    Raises:
        ValueError: sigma beside dispersion or with counts, a baseline where it is free, a support where it is sought.
        RuntimeError: training, or ``active``, on another backend than TensorFlow.
    """
    if training:
        require_tensorflow("`training=True`")
    if active:
        require_tensorflow("active=True (`model.encoder.active = False` runs the iterations instead)")
    if sigma is not None and dispersion is not None:
        raise ValueError("`dispersion` is sigma^2: give one of `sigma` and `dispersion`.")
    if sigma is not None and likelihood.size_name is not None:
        raise ValueError(f"{type(likelihood).__name__} has no noise level of its own: its variance follows from mean "
                         f"and {likelihood.size_name}. Leave out `sigma`, or give `dispersion`, 1 / "
                         f"{likelihood.size_name}.")
    if baseline is not None and baseline_scope == "signal":
        raise ValueError('baseline_scope="signal" finds a baseline of each signal: leave `baseline` out, or use '
                         'baseline_scope="channel".')
    if support is not None and active:
        raise ValueError("`support` says where the code is, and active=True searches for it. Use active=False.")


def as_baseline(given: Tensor | None, signal: Tensor, own: Tensor | None) -> Tensor | None:
    """The baseline of a call, (channels,) or of the signal's rank; along space of length 1 or the signal's.

    Args:
        given: None, or a number, (channels,), (batch, channels), or of the signal's rank.
        signal: (batch, *space, channels).
        own: None, or the default, (channels,).

    Raises:
        ValueError: another shape.
    """
    if given is None:
        return None if own is None else ops.cast(own.value, signal.dtype)
    baseline, rank = ops.cast(given, signal.dtype), len(signal.shape)
    if len(baseline.shape) == 0:
        return ops.reshape(baseline, (1,))
    if len(baseline.shape) == 2:
        baseline = ops.reshape(baseline, (-1,) + (1,) * (rank - 2) + (baseline.shape[-1],))
    if len(baseline.shape) not in (1, rank) or baseline.shape[-1] not in (1, signal.shape[-1]):
        raise ValueError(f"`baseline` must have shape (channels,), (batch, channels) or one that broadcasts to the "
                         f"signal {tuple(signal.shape)}. Received: shape {tuple(baseline.shape)}")
    if len(baseline.shape) == 1 or all(n == 1 for n in baseline.shape[1:-1]):
        return baseline
    return ops.broadcast_to(baseline, ops.shape(signal))


def sample_size(signal: Tensor, mask: Tensor | None, dispersion: Tensor) -> Tensor:
    """Size of each sample (trials or exposure), of the signal's shape; 0 where it is missing.

    Args:
        signal: (batch, *space, channels).
        mask: None, or the share of the largest size that each sample has.
        dispersion: 1 / the largest size, scalar or (batch,).
    """
    dispersion = ops.cast(dispersion, signal.dtype)
    if len(dispersion.shape) == 1:
        dispersion = ops.reshape(dispersion, (-1,) + (1,) * (len(signal.shape) - 1))
    return (ops.ones_like(signal) if mask is None else mask) / dispersion


def as_support(support: Tensor | None, signal: Tensor, dictionary: ConvDictionary) -> Tensor | None:
    """0/1 of the code's shape, or of a batch of one.

    Raises:
        ValueError: another number of axes.
    """
    if support is None:
        return None
    exists = ops.cast(support, signal.dtype)
    if len(exists.shape) != len(signal.shape):
        raise ValueError(f"`support` must be 0/1 of the code's shape, (batch, {dictionary.rank} axes of positions, "
                         f"{dictionary.filters} filters). Received: shape {tuple(exists.shape)}")
    shape = (*dictionary.code_space(ops.shape(signal)[1:-1]), dictionary.filters)
    if any(isinstance(n, int) and isinstance(m, int) and m not in (1, n) for n, m in
           zip(shape, exists.shape[1:], strict=True)):
        raise ValueError(f"`support` must be 0/1 of the code's shape, (batch, *{shape}). "
                         f"Received: shape {tuple(exists.shape)}")
    return ops.broadcast_to(exists, (ops.shape(exists)[0], *shape))


def longer_steps(dictionary: ConvDictionary, exists: Tensor | None) -> Tensor:
    """How many times longer than 1 / ||D||^2 a step may be on a support: ||D||^2 / ||D_S||^2, (batch,), at least 1.

    Args:
        dictionary: D.
        exists: None (no support: 1.0), or 0/1 of the code's shape, or of a batch of one.
    """
    if exists is None:
        return 1.0
    return ops.stop_gradient(ops.cast(dictionary.largest_eigenvalue(), exists.dtype)
                             / dictionary.restricted_eigenvalue(exists))


def has_values(signal: Tensor) -> bool:
    """Whether values can be read: not in a graph, also where it holds a signal that was made outside of it."""
    return hasattr(signal, "numpy") and hasattr(ops.zeros(()), "numpy")
