"""What the encoder's iterations run on: the problem of a batch, plain or folded into blocks of code positions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from keras import ops

from keras_crsae.layers.conv_dictionary import ConvDictionary
from keras_crsae.operators import polyphase
from keras_crsae.problem.code_priors import CodePrior
from keras_crsae.problem.likelihoods import Likelihood
from keras_crsae.problem.measurements import mask_or_identity
from keras_crsae.problem.objective import Problem
from keras_crsae.solvers.proximal_step import Tail, descent, last_filters
from keras_crsae.typing import Shape, Tensor


class Tensors(NamedTuple):
    """Tensors of one problem; a pass whose iterates are computed again for the gradient takes them as arguments."""

    signal: Tensor  #: (batch, *space, channels)
    observed: Tensor | None  #: None, or 0/1 of the signal's shape
    kernel: Tensor  #: (*kernel_size, channels, filters)
    adjoint_kernel: Tensor | None  #: None (the kernel), or the one of D^T
    threshold: Tensor  #: (filters,), or broadcastable to the code
    step_size: Tensor  #: scalar
    exists: Tensor | None = None  #: None, or 0/1 broadcastable to the code: 0 where it stays 0

    def without_gradient(self) -> Tensors:
        """The same, kernels and threshold constant."""
        kernel, adjoint_kernel, threshold = (None if t is None else ops.stop_gradient(t) for t in
                                             (self.kernel, self.adjoint_kernel, self.threshold))
        return self._replace(kernel=kernel, adjoint_kernel=adjoint_kernel, threshold=threshold)


@dataclass(frozen=True, eq=False)
class FoldedProblem:
    """What the iterations run on, folded into blocks or plain."""

    tensors: Tensors
    likelihood: Likelihood
    code_prior: CodePrior
    strides: Shape
    code_shape: tuple[Tensor, ...]  #: (batch, *positions, filters)
    positions: tuple[Tensor, ...]  #: code positions of the signal itself
    block: Shape | None  #: positions that are folded into channels, one int an axis
    in_place: bool = False  #: see ``solvers.proximal_step.descent``
    tail: Tail | None = None  #: in place of ``exists`` where only the last block is not whole

    def descent(self) -> Callable[[Tensor | None], Tensor]:
        """The step of the solver, see ``solvers.proximal_step.descent``."""
        t = self.tensors
        return descent(Problem(self.likelihood, self.code_prior, mask_or_identity(t.observed)), t.signal, t.kernel,
                       self.strides, t.step_size, t.threshold, adjoint_kernel=t.adjoint_kernel, exists=t.exists,
                       tail=self.tail, in_place=self.in_place)

    def unfold(self, code: Tensor) -> Tensor:
        """The code (batch, *positions, filters) of one of ``code_shape``."""
        if self.block is None:
            return code
        code = polyphase.unfold(code[:, 0] if len(self.block) == 1 else code, self.block)
        return code[(slice(None), *(slice(0, m) for m in self.positions))]


def fold_problem(tensors: Tensors, likelihood: Likelihood, code_prior: CodePrior, dictionary: ConvDictionary,
                 block: Shape | None, in_place: bool = False) -> FoldedProblem:
    """The problem of a signal of whole strides; blocks of positions become channels, a signal an image of one row.

    Args:
        tensors: of the signal as it is, ``exists`` None.
        likelihood, code_prior: of the problem.
        dictionary: for sizes; the kernels are those of ``tensors``.
        block: None for the plain path, or the positions an axis that are folded.
        in_place: whether operations may work in place.
    """
    positions, strides = dictionary.code_space(ops.shape(tensors.signal)[1:-1]), dictionary.strides
    batch, filters = ops.shape(tensors.signal)[0], tensors.kernel.shape[-1]
    if block is None:
        return FoldedProblem(tensors, likelihood, code_prior, strides, (batch, *positions, filters), positions, None,
                             in_place)
    whole = all(b == 1 or isinstance(m, int) and m % b == 0 for m, b in zip(positions, block, strict=True))
    ends = in_place and len(block) == 1 and not whole
    # XLA allows no empty write: where the length is unknown before, a block of zeros may follow the last.
    count = [m // b + 1 if ends else polyphase.blocks(m, b) for m, b in zip(positions, block, strict=True)]
    folded = _fold_tensors(tensors, strides, block, count)
    shape = (batch, *(1,) * (len(block) == 1), *count, folded.kernel.shape[-1])
    tail = None
    if ends:
        tail = last_filters(shape, (count[0] * block[0] - positions[0]) * filters, tensors.signal.dtype)
    elif not whole:
        folded = folded._replace(exists=_existing(positions, count, block, filters, tensors.signal.dtype))
    if len(block) == 1:
        folded = _as_one_row(folded)
    return FoldedProblem(folded, likelihood, code_prior, (1, 1), shape, positions, block, in_place, tail)


def _fold_tensors(tensors: Tensors, strides: Shape, block: Shape, count: list[Tensor]) -> Tensors:
    """Signal, mask, kernels and threshold in blocks, ``count`` of them on each axis."""
    period = tuple(b * s for b, s in zip(block, strides, strict=True))
    kernel = polyphase.fold_kernel(tensors.kernel, strides, block)
    adjoint_kernel = None if tensors.adjoint_kernel is None else \
        polyphase.fold_kernel(tensors.adjoint_kernel, strides, block)
    space = [(n + t - 1) * p for n, t, p in zip(count, kernel.shape, period, strict=False)]
    signal, observed = (None if a is None else polyphase.fold(polyphase.pad_to(a, space), period)
                        for a in (tensors.signal, tensors.observed))
    threshold = tensors.threshold
    threshold = ops.tile(threshold, (1,) * (len(threshold.shape) - 1) + (kernel.shape[-1] // threshold.shape[-1],))
    return Tensors(signal, observed, kernel, adjoint_kernel, threshold, tensors.step_size)


def _existing(positions: tuple[Tensor, ...], count: list[Tensor], block: Shape, filters: int, dtype: str) -> Tensor:
    """1 where a code in blocks has a position, 0 where the last block is longer than the signal's code."""
    exists = ops.ones((1, *positions, 1), dtype=dtype)
    exists = polyphase.pad_to(exists, [n * b for n, b in zip(count, block, strict=True)])
    return ops.repeat(polyphase.fold(exists, block), filters, axis=-1)


def _as_one_row(tensors: Tensors) -> Tensors:
    """A signal as an image of one row."""
    signal, observed, exists = (None if a is None else a[:, None] for a in
                                (tensors.signal, tensors.observed, tensors.exists))
    kernel, adjoint_kernel = (None if k is None else k[None] for k in (tensors.kernel, tensors.adjoint_kernel))
    threshold = tensors.threshold
    threshold = threshold[:, None] if len(threshold.shape) > 1 else threshold
    return Tensors(signal, observed, kernel, adjoint_kernel, threshold, tensors.step_size, exists)
