"""The prior of a code whose last filters are dense: no l1 norm, both signs, on request a quadratic penalty.

    y = A x + B u + v,    1/2 ||y - A x - B u||^2 + ridge/2 ||x||^2 + sum_c weight_c p(u_c)

with dense filters A and sparse filters B (Tasissa, Theodosis, Tolooshams, Ba, Dense and sparse coding: theory and
architectures, arXiv 2006.09534, has ridge = 0 and, in its learned form, a penalty of ||A x||^2).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from keras_crsae.problem.code_priors import CodePrior, Exponential, Laplace, SignedByFilter
from keras_crsae.typing import Tensor


class DenseAndSparse(CodePrior):
    """The prior ``sparse`` of the first filters; z^2 / 2 of the last ``dense_filters``, so a normal one.

    A weight of 0 leaves dense filters free. Their prox is x / (1 + threshold). Models make it of their
    ``dense_filters``; it is no prior that a user names.

    Args:
        sparse: prior of the sparse filters, of single values.
        sparse_filters, dense_filters: numbers of filters.
        ridge: whether the weight of the dense filters may be other than 0; False saves a pass over the code.

    Raises:
        ValueError: a prior that ties values to groups.

    Example:
        >>> import keras
        >>> from keras_crsae.problem.code_priors import Exponential
        >>> from keras_crsae.problem.dense_and_sparse import DenseAndSparse
        >>> prior = DenseAndSparse(Exponential(), sparse_filters=1, dense_filters=1, ridge=True)
        >>> x, threshold = keras.ops.array([[3.0, 3.0], [-3.0, -3.0]]), keras.ops.array([1.0, 0.5])
        >>> keras.ops.convert_to_numpy(prior.prox(x, threshold)).tolist()
        [[2.0, 2.0], [0.0, -2.0]]
    """

    def __init__(self, sparse: CodePrior, sparse_filters: int, dense_filters: int, ridge: bool = False) -> None:
        if sparse.group_axes:
            raise ValueError("dense_filters needs a code prior of single values, and this one ties values to groups. "
                             f"Received: code_prior={type(sparse).__name__}. Use dense_filters=0, or its prior within.")
        self.sparse, self.sparse_filters, self.dense_filters, self.ridge = sparse, sparse_filters, dense_filters, ridge
        self.one_pass = _of_both_signs(sparse, sparse_filters, dense_filters)
        self.onnx = None if self.one_pass is None else self.one_pass.onnx

    @property
    def signs(self) -> tuple[int, ...] | None:
        """Sign of each filter's code where they differ, see ``SignedByFilter``; else None."""
        return getattr(self.one_pass, "signs", None)

    def check(self, filters: int, rank: int) -> None:
        if filters != self.sparse_filters + self.dense_filters:
            raise ValueError(f"Expected {self.sparse_filters} sparse and {self.dense_filters} dense filters. "
                             f"Received: {filters} filters.")
        self.sparse.check(self.sparse_filters, rank)

    def _is_dense(self, like: Tensor) -> Tensor:
        """Whether each entry of the last axis belongs to a dense filter, filters in blocks included."""
        each = [False] * self.sparse_filters + [True] * self.dense_filters
        return ops.convert_to_tensor(np.resize(each, like.shape[-1]))

    def prox(self, x: Tensor, threshold: Tensor) -> Tensor:
        dense = self._is_dense(x)
        shrink = 1.0 / (1.0 + ops.where(dense, threshold, 0.0))
        if self.one_pass is None:
            return ops.where(dense, x * shrink, self.sparse.prox(x, threshold))
        # An infinite threshold closes a position, a dense filter's too.
        code = self.one_pass.prox(x, ops.where(ops.logical_and(dense, ops.isfinite(threshold)), 0.0, threshold))
        return code * shrink if self.ridge else code

    def penalty(self, code: Tensor, weight: Tensor) -> Tensor:
        dense = self._is_dense(code)
        quadratic = 0.5 * weight * ops.square(code)
        sparse = self.sparse if self.one_pass is None else self.one_pass
        return ops.where(dense, quadratic, sparse.penalty(ops.where(dense, 0.0, code), weight))

    def dual_excess(self, correlation: Tensor) -> Tensor | None:
        """That of the sparse filters; 0 of the dense ones, which no weight keeps at zero."""
        sparse = self.sparse if self.one_pass is None else self.one_pass
        excess = sparse.dual_excess(correlation)
        return None if excess is None else ops.where(self._is_dense(correlation), 0.0, excess)

    def get_config(self) -> dict[str, Any]:
        return {"sparse": self.sparse, "sparse_filters": self.sparse_filters, "dense_filters": self.dense_filters,
                "ridge": self.ridge}


def _of_both_signs(sparse: CodePrior, sparse_filters: int, dense_filters: int) -> CodePrior | None:
    """A prior that is ``sparse`` on the first filters and, at a threshold of 0, leaves the last ones; None: unknown."""
    if type(sparse) is Laplace:
        return sparse
    signs = (1,) * sparse_filters if type(sparse) is Exponential else getattr(sparse, "signs", None)
    if type(sparse) not in (Exponential, SignedByFilter) or signs is None:
        return None
    return SignedByFilter((*signs, *(0,) * dense_filters))
