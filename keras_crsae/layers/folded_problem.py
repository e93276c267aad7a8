"""What the encoder's iterations run on: the problem of a batch, plain or folded into blocks of code positions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from keras import ops

from keras_crsae.layers.conv_dictionary import ConvDictionary
from keras_crsae.operators import polyphase
from keras_crsae.operators.convolution import synthesis
from keras_crsae.problem.code_priors import CodePrior
from keras_crsae.problem.likelihoods import Likelihood
from keras_crsae.problem.measurements import Measurement, mask_or_identity
from keras_crsae.problem.objective import Problem
from keras_crsae.solvers.operations import SignalOperations
from keras_crsae.solvers.proximal_step import Tail, descent, last_filters
from keras_crsae.typing import Shape, Tensor


class Tensors(NamedTuple):
    """Tensors of one problem; a pass whose iterates are computed again for the gradient takes them as arguments."""

    signal: Tensor  #: (batch, *space, channels)
    observed: Tensor | None  #: None, or weights in [0, 1] of the signal's shape
    kernel: Tensor  #: (*kernel_size, channels, filters)
    adjoint_kernel: Tensor | None  #: None (the kernel), or the one of D^T
    threshold: Tensor  #: (filters,), or broadcastable to the code; the penalty weight where a solver finds its steps
    step_size: Tensor  #: scalar, or (batch,) where a solver begins with it
    exists: Tensor | None = None  #: None, or 0/1 broadcastable to the code: 0 where it stays 0
    baseline: Tensor | None = None  #: None, or eta of the zero code, (channels,) or of the signal's rank
    #: None, or where each signal's baseline is free the size of each sample (trials, exposure), of the signal's shape
    sample_size: Tensor | None = None

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
    channels: int = 1  #: of the signal itself
    measurement: Measurement | None = None  #: Phi; None: a mask, or nothing

    @property
    def free_baseline(self) -> bool:
        """Whether the baseline of each signal and channel is found with its code."""
        return self.tensors.sample_size is not None

    def problem(self) -> Problem:
        """What is minimised."""
        t = self.tensors
        measurement = mask_or_identity(t.observed) if self.measurement is None else self.measurement
        return Problem(self.likelihood, self.code_prior, measurement, t.baseline)

    def descent(self) -> Callable[[Tensor | None], Tensor]:
        """The step of the solver, see ``solvers.proximal_step.descent``."""
        t = self.tensors
        return descent(self.problem(), t.signal, t.kernel, self.strides, t.step_size, t.threshold,
                       adjoint_kernel=t.adjoint_kernel, exists=t.exists, tail=self.tail, in_place=self.in_place)

    def operations(self) -> SignalOperations:
        """What a solver is given that finds its own step sizes."""
        t = self.tensors
        return SignalOperations(self.problem(), t.signal, t.kernel, self.strides, t.step_size, t.threshold,
                                exists=t.exists, tail=self.tail, in_place=self.in_place)

    def with_baseline(self, baseline: Tensor) -> FoldedProblem:
        """The same with another baseline, (batch, 1, ..., 1, folded channels)."""
        return replace(self, tensors=self.tensors._replace(baseline=baseline))

    def best_baseline(self, code: Tensor) -> Tensor:
        """A baseline of each signal and channel that fits a code at least as well as the present one, in its form.

        Members of a group, on the axes of positions that the prior of the code ties, have one each.
        """
        t = self.tensors
        eta = self.problem().predict(synthesis(code, t.kernel, self.strides))
        signal, eta, present, size = (self._by_channel(ops.stop_gradient(a)) for a in
                                      (t.signal, eta, t.baseline, t.sample_size))
        axes = tuple(a for a in range(1, len(t.signal.shape)) if a not in self.code_prior.group_axes)
        likelihood: Any = self.likelihood  # one of counts
        found = likelihood.baseline_update(signal, eta, present[..., :1, :], size, axes=axes, keepdims=True)
        return ops.reshape(ops.repeat(ops.stop_gradient(found), signal.shape[-2], axis=-2), ops.shape(t.baseline))

    def unfold_baseline(self, baseline: Tensor) -> Tensor:
        """A free baseline (batch, 1, ..., 1, channels) of one in blocks."""
        found = baseline[..., :self.channels]
        return found if self.block is None or len(self.block) == 2 else found[:, 0]

    def _by_channel(self, array: Tensor) -> Tensor:
        """The last axis in two: samples of a block, channels."""
        return ops.reshape(array, (*ops.shape(array)[:-1], array.shape[-1] // self.channels, self.channels))

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
        tensors: of the signal as it is; ``exists`` None or broadcastable to the code.
        likelihood, code_prior: of the problem.
        dictionary: for sizes; the kernels are those of ``tensors``.
        block: None for the plain path, or the positions an axis that are folded.
        in_place: whether operations may work in place.
    """
    positions, strides = dictionary.code_space(ops.shape(tensors.signal)[1:-1]), dictionary.strides
    batch, filters = ops.shape(tensors.signal)[0], tensors.kernel.shape[-1]
    if tensors.baseline is None and all(isinstance(m, int) and m == 1 for m in positions):
        return FoldedProblem(_as_one_position(tensors), likelihood, code_prior, (1,) * len(strides),
                             (batch, *positions, filters), positions, None, in_place)
    if block is None:
        return FoldedProblem(tensors, likelihood, code_prior, strides, (batch, *positions, filters), positions, None,
                             in_place, channels=tensors.kernel.shape[-2])
    whole = all(b == 1 or isinstance(m, int) and m % b == 0 for m, b in zip(positions, block, strict=True))
    ends = in_place and len(block) == 1 and not whole and tensors.exists is None
    # XLA allows no empty write: where the length is unknown before, a block of zeros may follow the last.
    count = [m // b + 1 if ends else polyphase.blocks(m, b) for m, b in zip(positions, block, strict=True)]
    folded = _fold_tensors(tensors, strides, block, count)
    shape = (batch, *(1,) * (len(block) == 1), *count, folded.kernel.shape[-1])
    tail = None
    if ends:
        tail = last_filters(shape, (count[0] * block[0] - positions[0]) * filters, tensors.signal.dtype)
    elif not whole or tensors.exists is not None:
        exists = _existing(positions, count, block, filters, tensors.signal.dtype, tensors.exists)
        folded = folded._replace(exists=exists)
    if len(block) == 1:
        folded = _as_one_row(folded)
    return FoldedProblem(folded, likelihood, code_prior, (1, 1), shape, positions, block, in_place, tail,
                         tensors.kernel.shape[-2])


def _fold_tensors(tensors: Tensors, strides: Shape, block: Shape, count: list[Tensor]) -> Tensors:
    """Signal, mask, kernels and threshold in blocks, ``count`` of them on each axis."""
    period = tuple(b * s for b, s in zip(block, strides, strict=True))
    kernel = polyphase.fold_kernel(tensors.kernel, strides, block)
    adjoint_kernel = None if tensors.adjoint_kernel is None else \
        polyphase.fold_kernel(tensors.adjoint_kernel, strides, block)
    space = [(n + t - 1) * p for n, t, p in zip(count, kernel.shape, period, strict=False)]
    signal, observed, size = (None if a is None else polyphase.fold(polyphase.pad_to(a, space), period)
                              for a in (tensors.signal, tensors.observed, tensors.sample_size))
    threshold = tensors.threshold
    threshold = ops.tile(threshold, (1,) * (len(threshold.shape) - 1) + (kernel.shape[-1] // threshold.shape[-1],))
    return Tensors(signal, observed, kernel, adjoint_kernel, threshold, tensors.step_size,
                   baseline=_fold_baseline(tensors, space, period), sample_size=size)


def _as_one_position(tensors: Tensors) -> Tensors:
    """Filters as long as the signal: all its values as channels of one sample, so that D is a plain matrix product.

    A kernel of 784 samples ran 7 times slower as a convolution of 784 taps, and 100 times slower in blocks.
    """
    one, values = (1,) * (len(tensors.kernel.shape) - 2), math.prod(tensors.kernel.shape[:-1])
    signal, observed = (None if a is None else ops.reshape(a, (ops.shape(a)[0], *one, values))
                        for a in (tensors.signal, tensors.observed))
    kernel, adjoint_kernel = (None if k is None else ops.reshape(k, (*one, values, k.shape[-1]))
                              for k in (tensors.kernel, tensors.adjoint_kernel))
    return tensors._replace(signal=signal, observed=observed, kernel=kernel, adjoint_kernel=adjoint_kernel)


def _fold_baseline(tensors: Tensors, space: list[Tensor], period: Shape) -> Tensor | None:
    """The baseline in blocks: repeated where it is the same at all samples."""
    baseline = tensors.baseline
    if baseline is None:
        return None
    axes = len(baseline.shape) - 1
    if tensors.sample_size is not None or all(n == 1 for n in baseline.shape[1:-1]):  # free: one an entry of a group
        return ops.tile(baseline, (1,) * axes + (math.prod(period) * tensors.signal.shape[-1] // baseline.shape[-1],))
    baseline = ops.broadcast_to(baseline, (baseline.shape[0] or ops.shape(baseline)[0], *ops.shape(tensors.signal)[1:]))
    return polyphase.fold(polyphase.pad_to(baseline, space), period)


def _existing(positions: tuple[Tensor, ...], count: list[Tensor], block: Shape, filters: int, dtype: str,
              support: Tensor | None = None) -> Tensor:
    """1 where a code in blocks has a position, 0 where the last block is longer than the signal's code.

    ``support``: None, or 0/1 (batch or 1, *positions, filters), which is 0 where the code stays 0, too.
    """
    exists = ops.ones((1, *positions, 1), dtype=dtype) if support is None else support
    exists = polyphase.pad_to(exists, [n * b for n, b in zip(count, block, strict=True)])
    exists = polyphase.fold(exists, block)
    return exists if support is not None else ops.repeat(exists, filters, axis=-1)


def _as_one_row(tensors: Tensors) -> Tensors:
    """A signal as an image of one row."""
    signal, observed, exists, size = (None if a is None else a[:, None] for a in
                                      (tensors.signal, tensors.observed, tensors.exists, tensors.sample_size))
    kernel, adjoint_kernel = (None if k is None else k[None] for k in (tensors.kernel, tensors.adjoint_kernel))
    threshold, baseline = (a if a is None or len(a.shape) == 1 else a[:, None] for a in
                           (tensors.threshold, tensors.baseline))
    return Tensors(signal, observed, kernel, adjoint_kernel, threshold, tensors.step_size, exists, baseline, size)
