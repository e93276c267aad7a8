"""The encoder: runs a solver for a fixed number of iterations, as a loop or unrolled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from crsae_onnx.core.signals import is_masked, with_own_mask
from crsae_onnx.core.validation import as_positive_int
from keras import ops

from keras_crsae.layers.conv_dictionary import ConvDictionary
from keras_crsae.layers.folded_problem import FoldedProblem, Tensors, fold_problem
from keras_crsae.layers.precision import layer_policy
from keras_crsae.layers.sparse_coding_cell import SparseCodingCell
from keras_crsae.operators import polyphase
from keras_crsae.problem.measurements import mask_or_identity
from keras_crsae.problem.objective import Problem
from keras_crsae.solvers import base as solvers
from keras_crsae.solvers.active_set import ActiveSet
from keras_crsae.solvers.base import Solver
from keras_crsae.solvers.proximal_step import is_in_place
from keras_crsae.typing import BlockSize, Gradient, Shape, Tensor

GRADIENTS: tuple[Gradient, ...] = ("unrolled", "truncated", "decoder")
#: Iterations in one pass of the graph loop, about; exactly so with ``tolerance``, tested after each, and ``remat``.
LOOP_BODY = 10


@keras.saving.register_keras_serializable(package="keras_crsae")
class SparseCoding(keras.layers.Layer):
    """argmin_z sum_i value(y_i, (D z)_i) + sigma^2 sum_c lambda_c p(z_c), by ``iterations`` steps of a solver.

    Args:
        cell: ``SparseCodingCell``: dictionary, likelihood, code prior and parameters.
        iterations: iterations of the solver.
        unroll: True: a Python loop; False: one graph loop (smaller graph, less to compile).
        return_sequences: give every iterate, (batch, iterations, *positions, filters).
        gradient: "unrolled" (through every iteration), "truncated" (through the last ``gradient_steps``),
            "decoder" (the code is held constant). Memory of the last two does not grow with ``iterations``.
        gradient_steps: iterations that "truncated" differentiates.
        tolerance: None, or stop once the code's relative change in one iteration, ||x - x_last|| / ||x||, is below
            it for every signal of the batch; tested every 10 iterations, ``iterations`` being the most.
        active: work only where the signal holds events (rank 1, stride 1; see ``solvers.active_set``), until no code
            value would move by more than ``tolerance`` (1e-3) of lambda sigma^2: the optimum that the iterations
            approach, at a cost in proportion to activity. ``iterations`` then bound the work on an event in a
            round. For inference; a call with ``training=True`` ignores it.
        block_size: "auto", or the code positions an axis that are folded into channels (see
            ``operators.polyphase``); 1 is the plain path. The values are the same.
        remat: keep one iterate in ten for the gradient and compute the others again: less memory, more time.
        solver: object of ``solvers`` or its name: "fista", "ista", or "active_set" (the same as ``active``).
        analysis: None, or a dictionary layer whose kernel stands in D^T, as in learned convolutional sparse coding.

    Input shape: (batch, *space, channels). Output shape: (batch, *positions, filters), positions =
    ceil((space - kernel_size) / strides) + 1; where the stride divides unevenly the signal is padded on the
    right and the padded samples are omitted from the residual.

    Raises:
        ValueError: an option out of range, or two that exclude each other; at build, another number of axes or
            channels, or a signal shorter than the kernel.

    Example:
        >>> import keras
        >>> from keras_crsae.layers import ConvDictionary, SparseCoding, SparseCodingCell
        >>> cell = SparseCodingCell(ConvDictionary(filters=3, kernel_size=9))
        >>> tuple(SparseCoding(cell, iterations=20)(keras.ops.zeros((2, 100, 1))).shape)
        (2, 92, 3)
    """

    def __init__(self, cell: SparseCodingCell, iterations: int = 100, unroll: bool = False,
                 return_sequences: bool = False, gradient: Gradient = "unrolled", gradient_steps: int = 10,
                 tolerance: float | None = None, active: bool = False, block_size: BlockSize = "auto",
                 remat: bool = False, solver: Solver | str = "fista", analysis: ConvDictionary | None = None,
                 dtype: Any = None, **kwargs: Any) -> None:
        super().__init__(dtype=layer_policy(dtype), **kwargs)
        self.supports_masking = True  # `mask` marks observed samples; none is passed on
        self.cell, self.unroll, self.return_sequences, self.gradient = cell, unroll, return_sequences, gradient
        self.iterations = as_positive_int(iterations, "iterations")
        self.gradient_steps = as_positive_int(gradient_steps, "gradient_steps")
        self.solver, self.analysis = solvers.get(solver), analysis
        self.tolerance, self.block_size, self.remat = tolerance, block_size, bool(remat)
        self.active = bool(active) or self.solver.active
        self._check_options()
        #: A model that refreshes the step size itself, after each optimiser step, sets this to False.
        self.refresh_in_training = True
        self.block = self._block()

    def _block(self) -> Shape | None:
        dictionary, groups = self.cell.dictionary, self.cell.code_prior.group_axes
        block = polyphase.resolve_block(self.block_size, dictionary.kernel_size, dictionary.strides,
                                        dictionary.channels or 1)
        if block is None or not groups:
            return block
        return tuple(1 if axis in groups else b for axis, b in enumerate(block, start=1))  # a group stays on its axis

    def _check_options(self) -> None:
        """Refuse options out of range and those that exclude each other."""
        if self.gradient not in GRADIENTS:
            raise ValueError(f"`gradient` must be one of {GRADIENTS}. Received: {self.gradient!r}")
        if self.tolerance is not None and not self.tolerance > 0:
            raise ValueError(f"`tolerance` must be None or a positive number. Received: tolerance={self.tolerance!r}")
        if self.tolerance is not None and (self.unroll or self.return_sequences):
            raise ValueError("`tolerance` stops the graph loop; `unroll` and `return_sequences` run every iteration. "
                             "Use one or the other.")
        if self.remat and (self.unroll or self.return_sequences or self.tolerance is not None):
            raise ValueError("`remat` computes passes of the graph loop again: omit unroll, return_sequences and "
                             "tolerance.")
        if not self.active:
            return
        dictionary = self.cell.dictionary
        if self.return_sequences:
            raise ValueError("`active` has no iterates to return: use active=False with return_sequences=True.")
        if dictionary.rank != 1 or dictionary.strides != (1,):
            raise ValueError("active=True is for signals with stride 1: images are active everywhere. "
                             f"Received: rank={dictionary.rank}, strides={dictionary.strides}")
        if self.analysis is not None or not dictionary.unit_norm:
            raise ValueError("active=True needs filters of norm 1 that stand in D^T too. Use active=False.")
        ActiveSet.check(Problem(self.cell.likelihood, self.cell.code_prior))

    def __call__(self, *given: Any, **options: Any) -> Any:
        """As ``keras.layers.Layer``; the mask of a NumPy masked array is the mask of observed samples."""
        if given and is_masked(given[0]):
            signal, mask = (np.asarray(part) for part in with_own_mask(given[0], options.get("mask")))
            given, options = (signal, *given[1:]), {**options, "mask": mask}
        return super().__call__(*given, **options)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        dictionary = self.cell.dictionary
        channels = input_shape[-1] if dictionary.channels is None else dictionary.channels
        if len(input_shape) != dictionary.rank + 2 or channels is None or input_shape[-1] != channels:
            space = "time" if dictionary.rank == 1 else "height, width"
            count = "" if channels is None else f"{channels} "
            raise ValueError(f"Expected a signal of shape (batch, {space}, {count}channels). "
                             f"Received: input_shape={tuple(input_shape)}. Add or move axes to match.")
        for n, k in zip(input_shape[1:-1], dictionary.kernel_size, strict=True):
            if n is not None and n < k:
                raise ValueError(f"The signal is shorter than the kernel: {tuple(input_shape[1:-1])} samples against "
                                 f"kernel_size={dictionary.kernel_size}. Use longer signals or a smaller kernel_size.")
        if not self.cell.built:
            self.cell.build(input_shape)
        if self.analysis is not None and not self.analysis.built:
            self.analysis.set_channels(channels)
            self.analysis.build()
        self.block = self._block()

    def pad_to_strides(self, signal: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Pad on the right to a whole number of strides; the padding is masked from the residual."""
        dictionary = self.cell.dictionary
        if all(s == 1 for s in dictionary.strides):
            return signal, mask
        space = ops.shape(signal)[1:-1]
        missing = [(s - (n - k) % s) % s for n, k, s in
                   zip(space, dictionary.kernel_size, dictionary.strides, strict=True)]
        if all(isinstance(m, int) and m == 0 for m in missing):
            return signal, mask
        widths = [(0, 0), *((0, m) for m in missing), (0, 0)]
        if mask is None:
            mask = ops.ones_like(signal)
        return ops.pad(signal, widths), ops.pad(mask, widths)

    def call(self, signal: Tensor, mask: Tensor | None = None, sigma: Tensor | None = None,
             training: bool = False) -> Tensor:
        """Code of ``signal``.

        Args:
            signal: (batch, *space, channels).
            mask: None, or 0/1 broadcastable to the signal: the observed samples.
            sigma: None, or a noise standard deviation in place of the cell's, scalar or (batch,).
            training: True refreshes the step size first, and takes the solver's iterations with ``active`` too.
        """
        if mask is not None:
            mask = ops.broadcast_to(ops.cast(mask, signal.dtype), ops.shape(signal))
        if training and self.refresh_in_training:
            self.cell.refresh_step_size()
        elif hasattr(signal, "numpy") and self.compute_dtype == self.variable_dtype:
            self.cell.restore_constraints()  # not in a graph, nor where Keras shows the filters rounded to bfloat16
        kernel = ops.cast(self.cell.dictionary.unit_kernel(), signal.dtype)
        if self.active and not training:
            return self._encode_active(signal, mask, kernel, ops.cast(self.cell.penalty_weight(sigma), signal.dtype))
        signal, mask = self.pad_to_strides(signal, mask)
        analysis = None if self.analysis is None else ops.cast(self.analysis.unit_kernel(), signal.dtype)
        # The step size follows from the dictionary: no gradient is sent through it. It is read once, outside the loop:
        # a body that is computed again must hold tensors only.
        step_size = ops.cast(ops.stop_gradient(self.cell.step_size.value), signal.dtype)
        tensors = Tensors(signal, mask, kernel, analysis, ops.cast(self.cell.threshold(sigma), signal.dtype), step_size)
        problem = fold_problem(tensors, self.cell.likelihood, self.cell.code_prior, self.cell.dictionary, self.block,
                               in_place=(is_in_place() or training) and not self.remat)
        iterates = self._solve(problem)
        if self.return_sequences:
            return ops.stack([problem.unfold(x) for x in iterates], axis=1)
        return problem.unfold(iterates[-1])

    def _solve(self, problem: FoldedProblem) -> list[Tensor]:
        """The last iterate, or all of them with ``return_sequences``, as a list."""
        held = {"unrolled": 0, "decoder": self.iterations,
                "truncated": max(0, self.iterations - self.gradient_steps)}[self.gradient]
        factors = np.array(self.solver.momentum(self.iterations), "float32")
        sequence: list[Tensor] = []
        constant = replace(problem, tensors=problem.tensors.without_gradient())
        states, done = self._start(constant if held else problem, sequence)
        if held:
            states = [ops.stop_gradient(s) for s in self._run(constant, states, factors[done:held], sequence)]
        if self.iterations > held:
            states = self._run(problem, states, factors[max(done, held):], sequence)
        return sequence if self.return_sequences else [states[0]]

    def _start(self, problem: FoldedProblem, sequence: list[Tensor]) -> tuple[list[Tensor], int]:
        """States to begin with, and the iterations that are in them."""
        if self.remat or self.tolerance is not None or self.solver.momentum(1) != [0.0]:
            # What is kept, or tested, once in ten iterations counts from the zero code.
            return list(self.solver.init(ops.zeros(problem.code_shape, dtype=problem.tensors.signal.dtype))), 0
        states = list(self.solver.init(problem.descent()(None)))
        sequence.append(states[0])
        return states, 1

    def _steps(self, problem: FoldedProblem, states: list[Tensor], factors: Sequence[Tensor]) -> list[list[Tensor]]:
        """One iteration for each of ``factors``, the solver's momentum; every state list on the way."""
        descend = problem.descent()
        sequence: list[list[Tensor]] = []
        for factor in factors:
            states = list(self.solver.step(tuple(states), descend, factor))
            sequence.append(states)
        return sequence

    def _remat_pass(self, problem: FoldedProblem, states: list[Tensor], factors: Tensor) -> list[Tensor]:
        """One pass of the loop whose iterates are computed again for the gradient."""
        present = [t for t in problem.tensors if t is not None]

        def last(factors: Tensor, *values: Tensor) -> list[Tensor]:
            rest = iter(values)
            tensors = Tensors(*(None if t is None else next(rest) for t in problem.tensors))
            return self._steps(replace(problem, tensors=tensors), list(rest), ops.unstack(factors, LOOP_BODY))[-1]

        return keras.remat(last)(factors, *present, *states)

    def _run(self, problem: FoldedProblem, states: list[Tensor], factors: np.ndarray,
             sequence: list[Tensor]) -> list[Tensor]:
        """The states after one iteration for each of ``factors``."""
        if not len(factors):
            return states
        if self.unroll or self.return_sequences:
            steps = self._steps(problem, states, factors.tolist())
            sequence.extend(s[0] for s in steps)
            return steps[-1]
        body_length = LOOP_BODY if self.remat or self.tolerance is not None else _body_length(len(factors))
        passes, rest = divmod(len(factors), body_length)
        if rest:
            states = self._steps(problem, states, factors[:rest].tolist())[-1]
        if not passes:
            return states
        return self._loop(problem, states, factors[rest:].reshape(passes, body_length))

    def _loop(self, problem: FoldedProblem, states: list[Tensor], factors: np.ndarray) -> list[Tensor]:
        """The states after one pass of the graph loop for each row of ``factors``, or fewer with ``tolerance``."""
        passes, body_length = factors.shape
        table = ops.convert_to_tensor(factors, problem.tensors.signal.dtype)

        def body(i: Tensor, change: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
            row = table[i]
            if self.remat:
                return i + 1, change, *self._remat_pass(problem, list(states), row)
            steps = self._steps(problem, list(states), ops.unstack(row, body_length))
            if self.tolerance is not None:
                change = _relative_change(steps[-1][0], steps[-2][0])
            return i + 1, change, *steps[-1]

        start = ops.cast(float("inf"), problem.tensors.signal.dtype)
        least = 0.0 if self.tolerance is None else self.tolerance
        return list(ops.while_loop(lambda i, change, *_: change >= least, body, (0, start, *states),
                                   maximum_iterations=passes))[2:]

    def _encode_active(self, signal: Tensor, mask: Tensor | None, kernel: Tensor, weight: Tensor) -> Tensor:
        block: Shape = self.block or (1,)
        code_space = self.cell.dictionary.code_space
        folded = polyphase.fold_kernel(kernel, (1,), block)
        # The code scales with signal and weight together: a weight of each signal's own becomes one of all.
        scale = 1.0
        if len(weight.shape) > 1:
            common = ops.max(weight, axis=tuple(range(len(weight.shape) - 1)))
            scale = ops.max(weight / common, axis=-1, keepdims=True)
            signal, weight = signal / scale, common
        solver = self.solver if isinstance(self.solver, ActiveSet) else ActiveSet()
        return scale * solver.encode(
            Problem(self.cell.likelihood, self.cell.code_prior, mask_or_identity(mask)), signal, kernel, weight,
            lambda y: polyphase.block_adjoint(y, folded, (1,), block, code_space(ops.shape(y)[1:-1])),
            lambda z: polyphase.block_synthesis(z, folded, (1,), block)[:, :ops.shape(signal)[1]],
            self.iterations, self.tolerance)

    def compute_mask(self, *args: Any, **kwargs: Any) -> None:
        return None

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        dictionary = self.cell.dictionary
        shape = (*dictionary.code_space(input_shape[1:-1]), dictionary.filters)
        return (input_shape[0], self.iterations, *shape) if self.return_sequences else (input_shape[0], *shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cell": keras.saving.serialize_keras_object(self.cell),
                "iterations": self.iterations, "unroll": self.unroll,
                "return_sequences": self.return_sequences, "gradient": self.gradient,
                "gradient_steps": self.gradient_steps, "tolerance": self.tolerance, "active": self.active,
                "block_size": self.block_size, "remat": self.remat,
                "solver": solvers.registry.serialize(self.solver),
                "analysis": None if self.analysis is None else keras.saving.serialize_keras_object(self.analysis)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SparseCoding:
        config = dict(config)
        for name in ("cell", "analysis"):
            config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)


def _body_length(count: int) -> int:
    """Iterations in one pass of the graph loop: about ten, so that few are left to be traced before the loop."""
    return min(range(LOOP_BODY + 2, LOOP_BODY - 4, -1), key=lambda length: count % length + length)


def _relative_change(code: Tensor, last: Tensor) -> Tensor:
    """Largest ||code - last|| / ||code|| over the batch; 0 for codes that stay zero."""
    axes = list(range(1, len(code.shape)))
    moved, size = (ops.sum(ops.square(a), axis=axes) for a in (code - last, code))
    return ops.sqrt(ops.max(moved / ops.maximum(size, 1e-30)))
