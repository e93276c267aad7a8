"""Windows of long recordings of counts: each is checked and divided as it is read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keras_crsae.models.call_inputs import CallOptions
from keras_crsae.problem.likelihoods import Likelihood
from keras_crsae.training.counts import as_call_size, given_size, refuse_sigma


class CountWindows:
    """A pass over means as a function of windows of counts.

    The largest size of a signal is that of the whole of it, so that every window has the same dispersion.

    Args:
        likelihood: of the model, one of counts.
        run: function of means (batch, n, channels), with ``mask=`` and ``dispersion=``.
        shape: of the counts, (batch, time, channels).
        options: of the call; its mask 0/1 of the counts' shape.

    Attributes:
        weights: what goes with the windows as their mask: None, or the size of each sample, 0 where it is missing.
        dispersion: what goes with them as their level: None (the model's own), or (batch,).
    """

    def __init__(self, likelihood: Likelihood, run: Callable[..., np.ndarray], shape: tuple[int, ...],
                 options: CallOptions) -> None:
        self.likelihood, self.run = likelihood, run
        refuse_sigma(likelihood, options.sigma)
        size, shape = given_size(likelihood, options.trials, options.exposure), tuple(shape)
        self.weights, self.dispersion = options.mask, None
        if size is None and not np.ndim(likelihood.size):
            return
        size = as_call_size(likelihood, likelihood.size if size is None else size, shape, own=size is None)
        largest = size.reshape(shape[0], -1).max(axis=1)
        if not (largest > 0).all():
            raise ValueError(f"`{likelihood.size_name}` is 0 in the whole of signal {int(np.argmin(largest))}: nothing "
                             "of it was observed. Leave it out.")
        self.dispersion = 1.0 / largest
        size = np.broadcast_to(size, shape)
        self.weights = size if options.mask is None else size * np.asarray(options.mask, np.float32)

    def __call__(self, counts: np.ndarray, mask: np.ndarray | None = None, sigma: np.ndarray | None = None
                 ) -> np.ndarray:
        """The pass on one window; ``mask`` and ``sigma``: its part of ``weights`` and ``dispersion``."""
        if sigma is None:
            self.likelihood.check_counts(counts, None, "signal", mask)
            y = counts / np.float32(self.likelihood.size)
            return self.run(y if mask is None else np.where(mask > 0, y, 0.0), mask=mask)
        given = np.asarray(mask)
        size = np.where(given > 0, given, 1.0)
        self.likelihood.check_counts(counts, size, "signal", given)
        y = np.where(given > 0, counts / size, 0.0).astype(np.float32)
        dispersion = np.reshape(sigma, (-1,))
        weights = given * dispersion.reshape(-1, *(1,) * (counts.ndim - 1))
        return self.run(y, mask=weights, dispersion=dispersion)
