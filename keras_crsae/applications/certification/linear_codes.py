"""A classifier on converged sparse codes in plain numbers: one matrix, its penalty weights, and the head (NumPy)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from keras_crsae.problem.code_priors import Exponential, Laplace, SignedByFilter

#: Numbers of a matrix, at most: 4 GB in float64.
MOST_VALUES = 500_000_000


@dataclass(frozen=True)
class CodeClassifier:
    """f(x) = W^T z + b, z = argmin 1/2 ||x - D z||^2 + sum_j w_j |z_j|, z_j >= 0 where the atom is one-sided.

    All in float64; x is a signal as a vector. Negative atoms of a ``SignedByFilter`` prior are turned round.
    """

    matrix: np.ndarray  #: D, (values, atoms)
    weight: np.ndarray  #: penalty weights, (atoms,)
    two_sided: np.ndarray  #: whether an atom's code may be of both signs, bool (atoms,)
    head: np.ndarray  #: W, (atoms, classes)
    bias: np.ndarray  #: (classes,)
    signs: np.ndarray  #: 1, or -1 where the atom is turned round, (atoms,)

    @property
    def norms(self) -> np.ndarray:
        """Norm of each atom; 1 but at edges where a stride does not divide the signal."""
        return np.linalg.norm(self.matrix, axis=0)

    def logits(self, codes: np.ndarray) -> np.ndarray:
        """(samples, classes) of codes (samples, atoms)."""
        return codes @ self.head + self.bias

    def excess(self, correlation: np.ndarray) -> np.ndarray:
        """What pushes an atom's code away from zero, against its weight: d^T u, or |d^T u| where it is two-sided."""
        return np.where(self.two_sided, np.abs(correlation), correlation)


def code_classifier(model: Any, space: tuple[int, ...]) -> CodeClassifier:
    """The ``SparseCodingClassifier`` on signals of ``space`` samples.

    Args:
        model: built ``SparseCodingClassifier``.
        space: samples of a signal on each axis.

    Raises:
        ValueError: a prior of the code whose values are tied or whose penalty is not the l1 norm; more than
            ``MOST_VALUES`` numbers.

    Example:
        >>> import keras_crsae as kc
        >>> from keras_crsae.applications.certification.linear_codes import code_classifier
        >>> model = kc.SparseCodingClassifier(kc.CRsAE(3, 5, lambda_init=0.1), classes=2)
        >>> model.build((None, 12, 1))
        >>> code_classifier(model, (12,)).matrix.shape
        (12, 24)
    """
    autoencoder = model.autoencoder
    model.autoencoder.restore_constraints()
    dictionary = autoencoder.dictionary
    kernel = np.asarray(ops.convert_to_numpy(dictionary.unit_kernel()), np.float64)
    positions = dictionary.code_space(space)
    filters = kernel.shape[-1]
    atoms, values = int(np.prod(positions)) * filters, int(np.prod(space)) * kernel.shape[-2]
    if atoms * values > MOST_VALUES:
        raise ValueError(f"A certificate needs the matrix of all filters at all positions, and {values} samples by "
                         f"{atoms} code values are more than {MOST_VALUES} numbers. Use shorter signals, fewer filters "
                         "or strides.")
    two_sided, signs = _sides(autoencoder.code_prior, filters)
    count = int(np.prod(positions))
    signs = np.tile(signs, count)
    weight = np.broadcast_to(np.asarray(ops.convert_to_numpy(autoencoder.lambda_reg), np.float64)
                             * float(ops.convert_to_numpy(autoencoder.sigma)) ** 2, (filters,))
    head = model.position_weights(positions).reshape(atoms, model.classes)
    return CodeClassifier(
        matrix_of(kernel, space, positions, dictionary.strides) * signs, np.tile(weight, count),
        np.tile(two_sided, count), head * signs[:, None],
        np.asarray(ops.convert_to_numpy(model.head.bias), np.float64), signs)


def _sides(prior: Any, filters: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether codes of each filter have both signs, and the sign of those that have one."""
    if type(prior) is Laplace:
        return np.ones(filters, bool), np.ones(filters)
    if type(prior) is Exponential:
        return np.zeros(filters, bool), np.ones(filters)
    if type(prior) is SignedByFilter:
        signs = np.array(prior.signs, float)
        return signs == 0, np.where(signs < 0, -1.0, 1.0)
    raise ValueError("Certificates are those of the l1 norm: code_prior 'soft', 'nonnegative_soft' or signs by filter. "
                     f"Received: {type(prior).__name__}")


def matrix_of(kernel: np.ndarray, space: tuple[int, ...], positions: tuple[int, ...],
              strides: tuple[int, ...]) -> np.ndarray:
    """The dictionary as a matrix: a column for each filter at each position, cropped to the signal.

    Args:
        kernel: (*kernel_size, channels, filters).
        space: samples of the signal.
        positions: of the code.
        strides: one int an axis.

    Returns:
        (values, positions * filters) float64.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.certification.linear_codes import matrix_of
        >>> matrix_of(np.array([[[1.0]], [[2.0]]]), (3,), (2,), (1,)).tolist()
        [[1.0, 0.0], [2.0, 1.0], [0.0, 2.0]]
    """
    channels, filters = kernel.shape[-2:]
    matrix = np.zeros((*space, channels, *positions, filters))
    for position in itertools.product(*(range(m) for m in positions)):
        starts = [p * s for p, s in zip(position, strides, strict=True)]
        stops = [min(a + k, n) for a, k, n in zip(starts, kernel.shape, space, strict=False)]
        where = tuple(slice(a, b) for a, b in zip(starts, stops, strict=True))
        part = tuple(slice(0, b - a) for a, b in zip(starts, stops, strict=True))
        matrix[(*where, slice(None), *position)] = kernel[part]
    return matrix.reshape(int(np.prod(space)) * channels, int(np.prod(positions)) * filters)
