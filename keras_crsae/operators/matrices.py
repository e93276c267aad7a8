"""Products of arrays with a dense or a sparse matrix, and bounds of a matrix's norm."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
from keras import ops

from keras_crsae.backend import IS_TENSORFLOW, tf
from keras_crsae.typing import Tensor

#: Largest side of a Gram matrix whose norm is bounded by squarings of it.
MOST_ROWS = 1024
_SQUARINGS = 8  # ||G^p||_F^(1/p) is at most n^(1 / (2 p)) above the largest eigenvalue, p = 2^8: 1.4 % for n = 1024


class SparseEntries(NamedTuple):
    """A sparse matrix for backends without one."""

    rows: np.ndarray  #: (entries,) int32
    columns: np.ndarray  #: (entries,) int32
    values: np.ndarray  #: (entries,) float32
    shape: tuple[int, int]


def sparse_tensor(matrix: Any) -> Any:
    """A SciPy sparse matrix as TensorFlow's, or as ``SparseEntries``, float32, rows in order."""
    found = matrix.tocoo()
    order = np.lexsort((found.col, found.row))
    indices = np.stack([found.row[order], found.col[order]], axis=1).astype(np.int64)
    values = found.data[order].astype(np.float32)
    return tf.sparse.SparseTensor(indices, values, found.shape) if IS_TENSORFLOW else \
        SparseEntries(indices[:, 0].astype(np.int32), indices[:, 1].astype(np.int32), values, found.shape)


def sparse_product(matrix: Any, vectors: Tensor, transpose: bool = False) -> Tensor:
    """``vectors`` A^T, or ``vectors`` A with ``transpose``, for rows of vectors and a sparse matrix A.

    Args:
        matrix: of ``sparse_tensor``.
        vectors: (count, samples).
        transpose: whether the matrix is transposed.
    """
    if isinstance(matrix, SparseEntries):
        return _entries_product(matrix, vectors, transpose)
    if vectors.dtype != matrix.dtype:
        matrix = tf.sparse.SparseTensor(matrix.indices, tf.cast(matrix.values, vectors.dtype), matrix.dense_shape)
    return tf.transpose(tf.sparse.sparse_dense_matmul(matrix, vectors, adjoint_a=transpose, adjoint_b=True))


def _entries_product(matrix: SparseEntries, vectors: Tensor, transpose: bool) -> Tensor:
    """As ``sparse_product`` by sums over the entries of each row."""
    into, of, count = (matrix.columns, matrix.rows, matrix.shape[1]) if transpose else \
        (matrix.rows, matrix.columns, matrix.shape[0])
    terms = ops.take(ops.transpose(vectors), of, axis=0) * ops.cast(matrix.values, vectors.dtype)[:, None]
    return ops.transpose(ops.segment_sum(terms, ops.convert_to_tensor(into), num_segments=count))


def largest_eigenvalue(gram: Tensor, squarings: int = _SQUARINGS) -> Tensor:
    """Upper bound, within 1.4 % by default, of the largest eigenvalue of a symmetric matrix that has no negative one.

    lambda_max <= ||G^p||_F^(1/p) <= n^(1/(2p)) lambda_max, with p = 2^squarings.

    Args:
        gram: (..., n, n), n at most ``MOST_ROWS``.
        squarings: of the matrix.

    Returns:
        (...,).

    Example:
        >>> from keras import ops
        >>> from keras_crsae.operators.matrices import largest_eigenvalue
        >>> 2.0 <= float(largest_eigenvalue(ops.array([[2.0, 0.0], [0.0, 1.0]]))) < 2.03
        True
    """
    log_norm = ops.zeros(ops.shape(gram)[:-2], dtype=gram.dtype)
    for i in range(squarings + 1):
        norm = ops.sqrt(ops.sum(ops.square(gram), axis=(-2, -1))) + 1e-30
        log_norm = log_norm + ops.log(norm) / 2.0**i
        gram = gram / norm[..., None, None]
        if i < squarings:
            gram = ops.matmul(gram, gram)
    return ops.exp(log_norm) * (1.0 + 1e-5)  # rounding of float32


def is_small(rows: int, columns: int) -> bool:
    """Whether the Gram matrix of so many rows and columns can be had in a moment."""
    return min(rows, columns) <= MOST_ROWS and rows * columns <= MOST_ROWS * 2**14


def measured_eigenvalue(adjoint: Callable[[Tensor], Tensor], size: int, rows: Tensor,
                        squarings: int = _SQUARINGS) -> Tensor:
    """Upper bound of ||Phi D||^2 by the Gram matrix of Phi D.

    Args:
        adjoint: D^T, from signals (count, *space, channels) to codes.
        size: numbers of a code.
        rows: the rows of Phi as signals.
        squarings: see ``largest_eigenvalue``.
    """
    count = rows.shape[0]
    matrix = ops.reshape(adjoint(rows), (count, size))
    transposed = ops.transpose(matrix)
    gram = ops.matmul(matrix, transposed) if count <= size else ops.matmul(transposed, matrix)
    return largest_eigenvalue(gram, squarings)


def spectral_norm(matrix: Any) -> float:
    """Largest singular value of a matrix, dense or SciPy sparse, or the largest of a stack of dense ones; not below it.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.operators.matrices import spectral_norm
        >>> round(spectral_norm(np.diag([3.0, 4.0])), 3)
        4.0
    """
    if not isinstance(matrix, np.ndarray):
        return _sparse_norm(matrix)
    array = cast(Any, matrix)
    stack = array.reshape((-1, *array.shape[-2:]))
    largest = 0.0
    for one in stack:
        one = one.astype(np.float64)
        gram = one @ one.T if one.shape[0] <= one.shape[1] else one.T @ one
        largest = max(largest, float(np.linalg.eigvalsh(gram)[-1]) if len(gram) <= MOST_ROWS else _power(gram))
    return float(np.sqrt(max(largest, 0.0)) * (1 + 1e-6))


def _power(gram: Any) -> float:
    """Largest eigenvalue of a symmetric matrix by SciPy's Lanczos iterations, with what they may be off by added."""
    solve = cast(Any, importlib.import_module("scipy.sparse.linalg")).eigsh
    value, vector = solve(gram, k=1, which="LA", v0=np.random.default_rng(0).standard_normal(gram.shape[0]))
    off = np.linalg.norm(gram @ vector[:, 0] - value[0] * vector[:, 0])
    return float(value[0] + off)


def _sparse_norm(matrix: Any) -> float:
    """As ``spectral_norm`` for a sparse matrix."""
    matrix = matrix.astype(np.float64)
    if min(matrix.shape) <= 64:
        return spectral_norm(matrix.toarray())
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    return float(np.sqrt(_power(gram)) * (1 + 1e-6))
