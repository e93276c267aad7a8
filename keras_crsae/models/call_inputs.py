"""What one call of a model computes on: NumPy arrays after their checks at the door."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from crsae_onnx.core.signals import as_sigma, refuse_other_containers, with_own_mask
from keras import ops

from keras_crsae._validation import as_sample_weight
from keras_crsae.training import counts
from keras_crsae.training.inputs import SignalLayout, checked_parts, signal_parts, with_parts
from keras_crsae.training.measured_inputs import as_data, with_mask


class CallOptions(NamedTuple):
    """What a call is given beside its signal; None: nothing."""

    mask: Any = None  #: 0/1 of the signal's shape, or that without its channels
    sigma: Any = None  #: noise standard deviation of the call
    trials: Any = None  #: what binomial counts are divided by
    exposure: Any = None  #: what Poisson counts are divided by
    support: Any = None  #: 0/1 of the code's shape
    operator: Any = None  #: number of the matrix of a stack, () or (batch,)


class CallInputs(NamedTuple):
    """One call's arrays, float32. ``counts`` and ``size`` are those of the call, behind the means in ``signal``."""

    signal: np.ndarray  #: (batch, *space, channels)
    mask: np.ndarray | None = None  #: weights in [0, 1] of the signal's shape
    sigma: np.ndarray | None = None  #: (), or (batch,)
    dispersion: np.ndarray | None = None  #: (batch,)
    support: np.ndarray | None = None  #: 0/1, broadcastable to the code
    counts: np.ndarray | None = None
    size: np.ndarray | None = None
    observed: np.ndarray | None = None  #: 0/1 of the signal's shape, sizes left out
    operator: np.ndarray | None = None  #: () or (batch,)

    def entries(self, where: slice) -> CallInputs:
        """Some signals of the batch."""
        parts: Any = (a if a is None or not np.ndim(a) else a[where] for a in self)
        return CallInputs(*parts)

    def graph_options(self) -> dict[str, np.ndarray]:
        """What a compiled pass is given beside the signal."""
        given = {"mask": self.mask, "sigma": self.sigma, "dispersion": self.dispersion, "support": self.support,
                 "operator": self.operator}
        return {name: value for name, value in given.items() if value is not None}


def call_inputs(signal: Any, options: CallOptions, layout: SignalLayout) -> CallInputs:
    """Signal and options after their checks; masked samples of a NumPy masked array are missing.

    Args:
        signal: (batch, *space, channels), or a dict of it and of what belongs to each signal.
        options: of the call.
        layout: of the model.

    Raises:
        ValueError: what does not fit the model.
    """
    likelihood = layout.likelihood
    parts = with_parts(signal, likelihood, options.trials, options.exposure, options.support, options.operator)
    parts = signal_parts(parts, likelihood, "signal")
    signal, mask = with_own_mask(parts.pop("signal"), options.mask)
    signal = as_data(signal, layout)
    mask = None if mask is None else _as_mask(mask, signal)
    mask = with_mask(layout.measurement, mask, signal) if mask is not None or layout.measurement.observed is not None \
        else None
    mask = None if mask is None else np.asarray(mask)
    sigma = options.sigma if options.sigma is not None else parts.pop("sigma", None)
    sigma = None if sigma is None else as_sigma(sigma, len(signal))
    if likelihood.size_name is None and not parts and layout.measurement.count is None:
        return CallInputs(signal, mask, sigma)
    counts.refuse_sigma(likelihood, sigma)
    parts = checked_parts(parts, signal, mask, layout, "signal", one_number=True)
    size, support = parts.get(str(likelihood.size_name)), parts.get("support")
    if likelihood.size_name is None:
        return CallInputs(signal, mask, sigma, support=support, operator=parts.get("operator"))
    means = counts.as_means(likelihood, ops.convert_to_tensor(signal), size, mask)
    arrays: Any = (None if a is None else ops.convert_to_numpy(a) for a in means)
    y, observed, dispersion, _ = arrays
    return CallInputs(y, observed, None, dispersion, support, signal, size, mask)


def _as_mask(mask: Any, signal: np.ndarray) -> np.ndarray:
    """0/1 of the signal's shape."""
    refuse_other_containers(mask, "mask")
    mask = np.asarray(mask)
    if mask.ndim == signal.ndim and all(m in (1, n) for m, n in zip(mask.shape, signal.shape, strict=True)):
        mask = np.broadcast_to(mask, signal.shape)
    observed = np.asarray(as_sample_weight(mask, signal, "mask"))
    if observed.ndim == 1:
        raise ValueError(f"`mask` must have the signal's shape {signal.shape}, or that without its channels. "
                         f"Received: shape {observed.shape}")
    return np.broadcast_to(observed, signal.shape)
