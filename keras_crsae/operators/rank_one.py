"""Kernels of rank one: each filter is a map over channels times a course over the kernel, d_c = u_c v_c^T.

The filters of a dictionary then lie in the space that its maps span, of at most as many channels as there are filters.
With the maps U = Q R (thin QR), D z = Q (D_R z), D_R the dictionary of the kernels R v^T, so that

    ||y - D z||^2 = ||Q^T y - D_R z||^2 + ||y - Q Q^T y||^2,

and a signal of hundreds of channels is coded as one of few: the same code, norms and step size. Where a gradient goes
through the encoder the same problem is written without Q, whose derivative does not exist where two maps are equal:
D^T (y - D z) = V^T (U^T y - V_G z), V the dictionary of the courses alone (a channel each) and V_G that of the kernels
(U^T U) v^T.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from keras import ops

from keras_crsae.typing import Tensor


class RankOneParts(NamedTuple):
    """The rank-one kernels nearest to given ones, u_c v_c^T with both of norm 1."""

    maps: np.ndarray  #: (channels, filters), float64; the largest absolute value of each is positive
    courses: np.ndarray  #: (*kernel_size, filters), float64
    share: np.ndarray  #: (filters,): share of each kernel's energy that its nearest one holds

    @property
    def kernel(self) -> np.ndarray:
        """The kernels of rank one, (*kernel_size, channels, filters)."""
        return self.courses[..., None, :] * self.maps


def nearest_rank_one(kernel: np.ndarray) -> RankOneParts:
    """Maps and courses of the rank-one kernels that are nearest to given ones (their first singular vectors).

    Args:
        kernel: (*kernel_size, channels, filters).

    Returns:
        ``RankOneParts``. A kernel that is all zero has a map and a course of equal entries.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.operators.rank_one import nearest_rank_one
        >>> kernel = np.multiply.outer([3.0, 4.0], [-5.0, 12.0])[..., None]     # (time, channels, 1)
        >>> maps, courses, share = nearest_rank_one(kernel)
        >>> maps[:, 0].round(3).tolist(), courses[:, 0].round(3).tolist(), share.round(6).tolist()
        ([-0.385, 0.923], [0.6, 0.8], [1.0])
    """
    kernel = np.asarray(kernel, np.float64)
    size, (channels, filters) = kernel.shape[:-2], kernel.shape[-2:]
    matrices = np.moveaxis(kernel.reshape(-1, channels, filters), -1, 0)  # (filters, samples, channels)
    maps, courses, share = np.empty((channels, filters)), np.empty((matrices.shape[1], filters)), np.zeros(filters)
    for c, matrix in enumerate(matrices):
        peak = np.abs(matrix).max()
        matrix = matrix / peak if peak > 0 else np.ones_like(matrix)
        course, at, energy = _first_singular_vector(matrix)
        first = at / np.linalg.norm(at)
        sign = np.sign(first[np.abs(first).argmax()])
        maps[:, c], courses[:, c] = sign * first, sign * course
        share[c] = energy if peak > 0 else 0.0
    return RankOneParts(maps, courses.reshape(*size, filters), share)


def _first_singular_vector(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """First left singular vector v, v^T matrix, and the share of the energy in it."""
    if matrix.shape[0] <= matrix.shape[1]:  # the smaller of the two Gram matrices
        course = np.linalg.eigh(matrix @ matrix.T)[1][:, -1]
    else:
        course = matrix @ np.linalg.eigh(matrix.T @ matrix)[1][:, -1]
        course = course / np.linalg.norm(course)
    at = course @ matrix
    return course, at, float(np.sum(at**2) / np.sum(matrix**2))


def with_sign(maps: np.ndarray, courses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same kernels with the sign that makes them comparable: the largest absolute value of a map is positive.

    Args:
        maps: (channels, filters).
        courses: (*kernel_size, filters).

    Example:
        >>> import numpy as np
        >>> from keras_crsae.operators.rank_one import with_sign
        >>> maps, courses = with_sign(np.array([[0.6], [-0.8]]), np.array([[1.0], [0.0]]))
        >>> maps.ravel().tolist(), courses.ravel().tolist()
        ([-0.6, 0.8], [-1.0, -0.0])
    """
    largest = np.take_along_axis(maps, np.abs(maps).argmax(axis=0)[None], axis=0)[0]
    sign = np.where(largest < 0, -1.0, 1.0).astype(maps.dtype)
    return maps * sign, courses * sign


def kernel_of(maps: Tensor, courses: Tensor) -> Tensor:
    """Kernels u_c v_c^T, (*kernel_size, channels, filters).

    Args:
        maps: (channels, filters).
        courses: (*kernel_size, filters).

    Example:
        >>> from keras import ops
        >>> from keras_crsae.operators.rank_one import kernel_of
        >>> tuple(kernel_of(ops.ones((5, 2)), ops.ones((9, 2))).shape)
        (9, 5, 2)
    """
    return ops.expand_dims(courses, -2) * maps


def mix_channels(array: Tensor, matrix: Tensor) -> Tensor:
    """Each sample's channels times a matrix, as one product: (batch, *space, a) and (a, b) -> (batch, *space, b).

    Example:
        >>> from keras import ops
        >>> from keras_crsae.operators.rank_one import mix_channels
        >>> tuple(mix_channels(ops.ones((2, 100, 5)), ops.ones((5, 3))).shape)
        (2, 100, 3)
    """
    mixed = ops.matmul(ops.reshape(array, (-1, matrix.shape[0])), matrix)
    return ops.reshape(mixed, (*ops.shape(array)[:-1], matrix.shape[1]))


def channel_basis(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Q and R of maps U = Q R, constant: Q (channels, filters) with Q^T Q = 1, whether or not maps are independent.

    Args:
        maps: (channels, filters), at least as many channels as filters.

    Example:
        >>> from keras import ops
        >>> from keras_crsae.operators.rank_one import channel_basis
        >>> basis, mixing = channel_basis(ops.ones((5, 2)))                     # two maps that are equal
        >>> tuple(basis.shape), tuple(mixing.shape)
        ((5, 2), (2, 2))
    """
    return ops.qr(ops.stop_gradient(maps), mode="reduced")
