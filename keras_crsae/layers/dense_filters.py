"""Dense filters of a dictionary, the last ones: what they exclude, and a fit of them alone."""

from __future__ import annotations

import math

from keras import ops

from keras_crsae.layers.conv_dictionary import ConvDictionary
from keras_crsae.operators.ridge import freedom, ridge_fit
from keras_crsae.problem.code_priors import CodePrior
from keras_crsae.problem.dense_and_sparse import DenseAndSparse
from keras_crsae.problem.likelihoods import Likelihood
from keras_crsae.problem.measurements import Measurement
from keras_crsae.typing import Tensor


def with_dense_filters(prior: CodePrior, dictionary: ConvDictionary, dense_filters: int,
                       dense_penalty: float | None) -> CodePrior:
    """The code prior of a dictionary whose last filters are dense, after its checks.

    Args:
        prior: of the sparse filters.
        dictionary: of all filters.
        dense_filters: how many of them, the last, are dense.
        dense_penalty: None, or the weight of ||x||^2 / 2 of their code.

    Raises:
        ValueError: no dense filter, or no sparse one; dense filters that explain every signal, without a penalty.
    """
    if not 0 < dense_filters < dictionary.filters:
        raise ValueError("`dense_filters` must be 0 or more, `dense_penalty` None where it is 0, and at least one "
                         f"filter sparse. Received: dense_filters={dense_filters}, dense_penalty={dense_penalty}, "
                         f"{dictionary.filters} filters in all.")
    check_unexplained(dense_filters, dense_penalty, dictionary)
    return DenseAndSparse(prior, dictionary.filters - dense_filters, dense_filters, ridge=dense_penalty is not None)


def check_data(likelihood: Likelihood, measurement: Measurement) -> None:
    """Refuse data other than signals, whole or masked, with Gaussian noise."""
    if not measurement.is_mask:
        raise ValueError("`dense_filters` need the signals themselves, whole or masked. Received: "
                         f"measurement={measurement!r}. Use dense_filters=0.")
    if not likelihood.quadratic:
        raise ValueError("`dense_filters` need the Gaussian likelihood: a fit of them alone is least squares. "
                         f"Received: likelihood={type(likelihood).__name__}. Use dense_filters=0; of counts `baseline` "
                         "is what is there without events.")


def check_unexplained(dense_filters: int, dense_penalty: float | None, dictionary: ConvDictionary) -> None:
    """Refuse dense filters without a penalty that are as many as a stride has samples: they explain any signal."""
    channels, samples = dictionary.channels, math.prod(dictionary.strides)
    if dense_filters and dense_penalty is None and channels is not None and dense_filters >= samples * channels:
        raise ValueError(
            f"{dense_filters} dense filter(s) at strides {dictionary.strides} explain any signal of {channels} "
            f"channel(s) by themselves, and leave nothing to sparse ones: a stride has {samples * channels} sample(s). "
            "Give `dense_penalty` a number, such as 1.0, or use larger strides or fewer dense filters. "
            f"Received: dense_filters={dense_filters}, dense_penalty=None")


#: Share of the penalty with which the noise level is found: what a penalty leaves of a strong drift is no noise.
NOISE_RIDGE = 0.1


class DensePart:
    """The dense filters of a dictionary by themselves: B x, its fit to a signal, and what the fit leaves.

    Args:
        dictionary: built ``ConvDictionary``.
        dense_filters: how many of its filters, the last, are dense.
        ridge: weight of ||x||^2 / 2 of their code, 0 for none.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.layers import ConvDictionary
        >>> from keras_crsae.layers.dense_filters import DensePart
        >>> layer = ConvDictionary(filters=2, kernel_size=8, strides=8, channels=1, kernel_initializer="ones")
        >>> layer.build()
        >>> dense = DensePart(layer, dense_filters=1)
        >>> signal = np.arange(16.0, dtype="float32").reshape(1, 16, 1)
        >>> residual = dense.residual(signal)                       # each stride's mean is taken away
        >>> [round(float(v), 3) for v in residual[0, :3, 0]]
        [-3.5, -2.5, -1.5]
    """

    def __init__(self, dictionary: ConvDictionary, dense_filters: int, ridge: float = 0.0) -> None:
        self.dictionary, self.ridge = dictionary, ridge
        self.sparse_filters, self.dense_filters = dictionary.filters - dense_filters, dense_filters

    def kernel(self) -> Tensor:
        """The dense filters, of norm 1, (*kernel_size, channels, dense_filters)."""
        return self.dictionary.unit_kernel()[..., self.sparse_filters:]

    def adjoint_of_sparse(self, signal: Tensor) -> Tensor:
        """D^T of the sparse filters, (batch, *positions, sparse_filters)."""
        return self.dictionary.adjoint(signal, self.dictionary.unit_kernel()[..., :self.sparse_filters])

    def fit(self, signal: Tensor, observed: Tensor | None = None, steps: int = 50) -> tuple[Tensor, Tensor]:
        """Code x of the dense filters that fits the signal without sparse ones, and the residual y - A x.

        Args:
            signal: (batch, *space, channels), of whole strides.
            observed: None, or 0/1 of signal's shape.
            steps: of conjugate gradients.
        """
        kernel = ops.stop_gradient(self.kernel())
        signal = ops.convert_to_tensor(signal)
        return ridge_fit(signal, lambda x: self.dictionary.synthesis(x, kernel),
                         lambda y: self.dictionary.adjoint(y, kernel), self.ridge, observed, steps)

    def residual(self, signal: Tensor, observed: Tensor | None = None, steps: int = 50) -> Tensor:
        """y - A x of ``fit``, 0 where a sample is missing."""
        return self.fit(signal, observed, steps)[1]

    def freedom(self) -> Tensor:
        """Degrees of freedom that ``fit`` takes from the noise, for each code position; see ``operators.ridge``."""
        return freedom(ops.stop_gradient(self.kernel()), self.dictionary.strides, self.ridge)
