"""Priors on the code: the penalty that the encoder adds, and its proximal operator.

For a prior with density exp(-lambda p(z)) the encoder adds ``weight_c p(z)``, weight = lambda sigma^2, for each value z
of filter c's code, and its iteration shrinks by ``prox``.

The next prior is one class below, or in your own code, with ``@register_code_prior("name")``: ``prox``, ``penalty``
and ``dual_excess``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_crsae.operators.shrinkage import soft_threshold
from keras_crsae.problem.registry import Configured, Registry
from keras_crsae.typing import Tensor


class CodePrior(Configured):
    """exp(-lambda p(z)), prior of the code's values, p a convex penalty with p(a z) = a p(z) for a > 0.

    Attributes:
        signed: whether codes of both signs occur.
        bias_form: whether prox(x, b) = relu(x - b), so that b may be the bias of a convolution.
        group_axes: axes of the code's positions, 1 and up, over which one penalty is shared; (): each value by itself.
        onnx: form in an exported graph; None: the exporter refuses.

    Example:
        >>> import keras
        >>> from keras_crsae.problem import Laplace
        >>> keras.ops.convert_to_numpy(Laplace().prox(keras.ops.array([-3.0, 0.5, 2.0]), 1.0)).tolist()
        [-2.0, 0.0, 1.0]
    """

    signed: bool = True
    bias_form: bool = False
    group_axes: tuple[int, ...] = ()
    onnx: str | None = None

    def check(self, filters: int, rank: int) -> None:
        """ValueError where a dictionary of so many filters, on ``rank`` axes of positions, does not fit the prior."""

    def prox(self, x: Tensor, threshold: Tensor) -> Tensor:
        """argmin_z (z - x)^2 / 2 + threshold p(z) for each value; 0 where the threshold is infinite.

        Args:
            x: (batch, *positions, filters). The iteration gives it in blocks: other axes of positions than
                ``group_axes`` may be shorter and the last axis (positions of a block, filters) in their place.
            threshold: same unit as x, broadcastable to it, for example (filters,).
        """
        raise NotImplementedError

    def change(self, rise: Tensor, back: Tensor, threshold: Tensor) -> Tensor:
        """prox(w + rise, threshold) - w, given ``back`` = -w; those of one sign a value lose no digits by it."""
        return back + self.prox(rise - back, threshold)

    def penalty(self, code: Tensor, weight: Tensor) -> Tensor:
        """weight p(code), elementwise, of the code's shape; infinite where the prior excludes the code.

        The values of a group hold equal parts of its penalty.
        """
        raise NotImplementedError

    def dual_excess(self, correlation: Tensor) -> Tensor | None:
        """What pushes a code away from zero: zero is optimal where this is at most the penalty weight.

        It is max over z with p(z) = 1 of correlation z, the polar of the penalty, elementwise: the dual's feasible set
        is dual_excess(D^T u) <= weight, and prox(x, b) moves 0 by relu(dual_excess(x) - b).

        Args:
            correlation: D^T residual, of the code's shape.

        Returns:
            Tensor of its shape, in which each value of a group holds the group's; None: unknown. The active-set solver,
            ``convergence`` and ``lambda_max`` then refuse.
        """
        return None

    def magnitude(self, code: Tensor) -> Tensor:
        """p(code), elementwise: its sum is what the rate lambda is estimated from.

        As p(a z) = a p(z), the density exp(-lambda p(z)) of n values, in one group or in several, is normalised by
        lambda^n: N_e counts values, whatever the groups, and EM's lambda is the same formula.
        """
        return ops.abs(code)


registry = Registry("code prior", CodePrior, default="nonnegative_soft")
get = registry.get
"""The code prior that an object, a registered name, a Keras config or None (the default) stands for."""
names = registry.names
"""Registered names of this kind, sorted."""
serialize = registry.serialize
"""What ``get_config`` of a model stores: the registered name, or the object's Keras config."""
register_code_prior = registry.register
"""Class decorator ``register_code_prior(name)``: names a code prior of your own, also in saved models."""


@register_code_prior("soft")
class Laplace(CodePrior):
    """p(z) = |z|, prox(x, b) = relu(x - b) - relu(-x - b): Laplace prior, codes of both signs.

    The prox is the two-sided ReLU with a bias (arXiv 1904.08827, section II).

    Example:
        >>> import keras
        >>> from keras_crsae.problem import Laplace
        >>> keras.ops.convert_to_numpy(Laplace().dual_excess(keras.ops.array([-3.0, 0.5]))).tolist()
        [3.0, 0.5]
    """

    onnx = "soft"

    def prox(self, x: Tensor, threshold: Tensor) -> Tensor:
        return soft_threshold(x, threshold)

    def change(self, rise: Tensor, back: Tensor, threshold: Tensor) -> Tensor:
        return ops.maximum(rise - threshold, ops.minimum(rise + threshold, back))

    def penalty(self, code: Tensor, weight: Tensor) -> Tensor:
        return weight * ops.abs(code)

    def dual_excess(self, correlation: Tensor) -> Tensor:
        return ops.abs(correlation)


@register_code_prior("nonnegative_soft")
class Exponential(CodePrior):
    """p(z) = z for z >= 0, else infinite; prox(x, b) = relu(x - b): exponential prior, non-negative codes.

    Example:
        >>> import keras
        >>> from keras_crsae.problem import Exponential
        >>> keras.ops.convert_to_numpy(Exponential().prox(keras.ops.array([-3.0, 0.5, 2.0]), 1.0)).tolist()
        [0.0, 0.0, 1.0]
    """

    signed = False
    bias_form = True
    onnx = "nonnegative_soft"

    def prox(self, x: Tensor, threshold: Tensor) -> Tensor:
        return ops.relu(x - threshold)

    def change(self, rise: Tensor, back: Tensor, threshold: Tensor) -> Tensor:
        return ops.maximum(rise - threshold, back)

    def penalty(self, code: Tensor, weight: Tensor) -> Tensor:
        return ops.where(code < 0, float("inf"), weight * code)

    def dual_excess(self, correlation: Tensor) -> Tensor:
        return correlation


@register_code_prior("signed_by_filter")
class SignedByFilter(CodePrior):
    """p(z) = |z| with a sign a filter: +1 (z >= 0), -1 (z <= 0) or 0 (both).

    With non-negative filters (``kernel_constraint="non_neg"``) the sign says whether a filter adds to the signal (with
    counts: raises their rate) or takes away from it. Without, a filter of sign -1 is one of sign +1 turned over.

    Args:
        signs: one number a filter.

    Raises:
        ValueError: other numbers than +1, -1 and 0, or, by a model, other filters than these.

    Example:
        >>> import keras
        >>> from keras_crsae.problem import SignedByFilter
        >>> prior = SignedByFilter([1, -1, 0])
        >>> keras.ops.convert_to_numpy(prior.prox(keras.ops.array([[3.0, 3.0, 3.0], [-3.0, -3.0, -3.0]]), 1.0)).tolist()
        [[2.0, 0.0, 2.0], [0.0, -2.0, -2.0]]
    """

    def __init__(self, signs: Sequence[int]) -> None:
        values = np.asarray(signs)
        real = values.ndim == 1 and values.size and values.dtype.kind in "iuf"
        if not real or not np.isin(values, (1, -1, 0)).all():
            raise ValueError(f"`signs` must be one number a filter: 1, -1, or 0 for both. Received: signs={signs!r}")
        self.signs = tuple(int(v) for v in values)
        self.signed = set(self.signs) not in ({1}, {-1})
        alike = {1: "nonnegative_soft", 0: "soft"}.get(self.signs[0]) if len(set(self.signs)) == 1 else None
        self.onnx = alike or "signed_by_filter"

    def check(self, filters: int, rank: int) -> None:
        if len(self.signs) != filters:
            raise ValueError(f"SignedByFilter needs one sign a filter. Received: {len(self.signs)} signs, "
                             f"{filters} filters.")

    def _signs(self, like: Tensor) -> Tensor:
        """Sign of each entry of the last axis, filters in blocks included."""
        count = like.shape[-1]
        return ops.convert_to_tensor(np.resize(self.signs, count), keras.backend.standardize_dtype(like.dtype))

    def prox(self, x: Tensor, threshold: Tensor) -> Tensor:
        signs = self._signs(x)
        if all(self.signs):
            return signs * ops.relu(signs * x - threshold)
        up, down = (ops.cast(side >= 0, x.dtype) for side in (signs, -signs))
        return up * ops.relu(x - threshold) - down * ops.relu(-x - threshold)

    def penalty(self, code: Tensor, weight: Tensor) -> Tensor:
        return ops.where(self._signs(code) * code < 0, float("inf"), weight * ops.abs(code))

    def dual_excess(self, correlation: Tensor) -> Tensor:
        signs = self._signs(correlation)
        return ops.where(signs == 0, ops.abs(correlation), signs * correlation)

    def get_config(self) -> dict[str, Any]:
        return {"signs": list(self.signs)}


@register_code_prior("group_sparse")
class GroupSparse(CodePrior):
    """p(z) = (1 - a) p_0(z) + a sqrt(n) ||z||_2 for each group z of n values: few groups, and few values in each.

    The sparse-group lasso (Simon, Friedman, Hastie, Tibshirani, A sparse-group lasso, 2013) for what happens in several
    neurons, or channels, at a time. They stand as the rows of an image, (trials, neurons, time, channels), under
    filters of one row, kernel_size=(1, K): then all neurons share the filters, and a group is one filter at one time in
    all neurons of a trial. The prox is that of p_0, then ||z|| shrunk, z max(0, 1 - a sqrt(n) b / ||z||): in this order
    it is the prox of the sum. Donoho's lambda leaves no code of noise alone, as without groups: where |D^T v| <= w
    everywhere, what exceeds (1 - a) w is at most a w, and a group of it has at most the norm a sqrt(n) w.

    Args:
        within: prior p_0 of the single values, an object or its name.
        share: a, the group's share of the penalty, above 0 and at most 1 (no sparsity inside a group).
        axes: axes of the code (batch, *positions, filters) that a group goes along.

    Raises:
        ValueError: a share or axes out of range; by a model, another rank than 2.

    Example:
        >>> import keras
        >>> from keras_crsae.problem import GroupSparse
        >>> prior = GroupSparse("soft", share=0.5)
        >>> x = keras.ops.reshape([4.0, 5.0], (1, 2, 1, 1))  # one group of two neurons
        >>> z = prior.prox(x, 2.0)                           # (3, 4), then times 1 - sqrt(2) / 5
        >>> [round(float(v), 3) for v in keras.ops.reshape(z, (-1,))]
        [2.151, 2.869]
    """

    def __init__(self, within: CodePrior | str | dict[str, Any] = "nonnegative_soft", share: float = 0.5,
                 axes: Sequence[int] = (1,)) -> None:
        self.within, self.share = get(within), float(share)
        self.group_axes = tuple(int(axis) for axis in axes)
        if not 0 < self.share <= 1:
            raise ValueError(f"`share` must lie in (0, 1]; without groups take the prior `within` itself. Received: "
                             f"share={share!r}")
        if not self.group_axes or not set(self.group_axes) <= {1, 2} or self.within.group_axes:
            raise ValueError("`axes` must be axes of the code's positions, 1 or 2 (0 are the signals, the last the "
                             f"filters), and `within` a prior of single values. Received: axes={axes}, "
                             f"within={within!r}")
        self.signed = self.within.signed

    def check(self, filters: int, rank: int) -> None:
        self.within.check(filters, rank)
        if rank != 2:
            raise ValueError("GroupSparse needs the members of a group on an axis of their own: signals as the rows of "
                             "an image, (trials, neurons, time, channels), with kernel_size=(1, K). "
                             f"Received: a dictionary of rank {rank}.")

    def _size(self, x: Tensor) -> Tensor:
        """Values of a group."""
        count = 1
        for axis in self.group_axes:
            count = count * ops.shape(x)[axis]
        return ops.cast(count, x.dtype)

    def _norm(self, x: Tensor) -> Tensor:
        """Norm of each group, 1 in place of its axes; never zero, so that its gradient is finite."""
        return ops.sqrt(ops.maximum(ops.sum(ops.square(x), axis=self.group_axes, keepdims=True), 1e-20))

    def prox(self, x: Tensor, threshold: Tensor) -> Tensor:
        moved = x
        if self.share < 1 or not self.within.signed:
            moved = self.within.prox(x, (1 - self.share) * threshold if self.share < 1 else ops.zeros_like(x))
        shrunk = self.share * ops.sqrt(self._size(x)) * threshold
        return moved * ops.relu(1.0 - shrunk / self._norm(moved))

    def penalty(self, code: Tensor, weight: Tensor) -> Tensor:
        return self.within.penalty(code, (1 - self.share) * weight) + weight * self._part(code)

    def _part(self, code: Tensor) -> Tensor:
        """A value's part of its group's a sqrt(n) ||z||, of the code's shape."""
        return self.share * self._norm(code) / ops.sqrt(self._size(code)) * ops.ones_like(code)

    def magnitude(self, code: Tensor) -> Tensor:
        return (1 - self.share) * self.within.magnitude(code) + self._part(code)

    def dual_excess(self, correlation: Tensor) -> Tensor | None:
        """The w with ||relu(c - (1 - a) w)|| = a sqrt(n) w, c the excesses of a group's values.

        It is found exactly (Ndiaye, Fercoq, Gramfort, Salmon, GAP safe screening rules for sparse-group lasso, 2016,
        section 4): sorted, the values above (1 - a) w are the first ones, and w is the root of a quadratic.
        """
        excess = self.within.dual_excess(correlation)
        if excess is None:
            return None
        excess, axes = ops.relu(excess), self.group_axes
        last = tuple(range(-len(axes), 0))
        moved = ops.moveaxis(excess, axes, last)
        shape = ops.shape(moved)
        c = -ops.sort(-ops.reshape(moved, (*shape[:-len(axes)], -1)), axis=-1)
        alone, size = 1 - self.share, self._size(correlation)
        first, second = ops.cumsum(c, axis=-1), ops.cumsum(ops.square(c), axis=-1)
        count = ops.cumsum(ops.ones_like(c), axis=-1)
        above = ops.relu(second - 2.0 * c * first + count * ops.square(c))  # of the larger ones, squared
        active = ops.cast(alone**2 * above < self.share**2 * size * ops.square(c), c.dtype)
        count, first, second = (ops.sum(v * active, axis=-1, keepdims=True) for v in
                                (ops.ones_like(c), c, ops.square(c)))
        half = alone * first
        root = ops.sqrt(ops.relu(ops.square(half) - (count * alone**2 - self.share**2 * size) * second))
        found = second / ops.maximum(half + root, 1e-30) * ops.ones_like(c)
        return ops.moveaxis(ops.reshape(found, shape), last, axes)

    def get_config(self) -> dict[str, Any]:
        return {"within": serialize(self.within), "share": self.share, "axes": list(self.group_axes)}
