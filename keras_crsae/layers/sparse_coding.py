"""The encoder: runs a solver for a fixed number of iterations, as a loop or unrolled."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from crsae_onnx.core.signals import is_masked, with_own_mask
from crsae_onnx.core.validation import as_positive_int
from keras import ops

from keras_crsae.layers import call_inputs
from keras_crsae.layers.conv_dictionary import ConvDictionary, IteratedProblem
from keras_crsae.layers.folded_problem import FoldedProblem, Tensors, fold_problem
from keras_crsae.layers.implicit_gradient import check_implicit
from keras_crsae.layers.largest_values import keep_largest
from keras_crsae.layers.measured_coding import check_encoder, measured_problem
from keras_crsae.layers.precision import layer_policy
from keras_crsae.layers.solver_loop import SolverLoop
from keras_crsae.layers.sparse_coding_cell import SparseCodingCell
from keras_crsae.operators import polyphase
from keras_crsae.problem.measurements import Mask, mask_or_identity
from keras_crsae.problem.objective import Problem
from keras_crsae.solvers import base as solvers
from keras_crsae.solvers.active_set import ActiveSet
from keras_crsae.solvers.backtracking import Backtracking
from keras_crsae.solvers.base import Solver
from keras_crsae.solvers.fista import FISTA
from keras_crsae.solvers.proximal_step import is_in_place
from keras_crsae.typing import BaselineScope, BlockSize, Gradient, Shape, Tensor

GRADIENTS: tuple[Gradient, ...] = ("unrolled", "truncated", "decoder", "implicit")
#: Iterations for ``iterations="auto"``.
AUTO_ITERATIONS = {"plain": 1000, "gentle": 3000, "adaptive": 3000, "active": 100}
BASELINE_SCOPES: tuple[BaselineScope, ...] = ("channel", "shared", "signal")


@keras.saving.register_keras_serializable(package="keras_crsae")
class SparseCoding(keras.layers.Layer):
    """argmin_z sum_i value(y_i, (D z + baseline)_i) + sigma^2 sum_c lambda_c p(z_c), by a solver's ``iterations``.

    Args:
        cell: ``SparseCodingCell``: dictionary, likelihood, code prior and parameters.
        iterations: iterations of the solver, or "auto": so many that no code value's condition of optimality is off by
            more than 1e-3 of its penalty weight on data like those of the tests.
        unroll: True: a Python loop; False: one graph loop (smaller graph, less to compile).
        return_sequences: give every iterate, (batch, iterations, *positions, filters).
        gradient: "unrolled" (through every iteration), "truncated" (through the last ``gradient_steps``),
            "decoder" (the code is held constant), "implicit" (that of the optimum, which the iterations must have come
            close to; see ``layers.implicit_gradient``). Memory of the last three does not grow with ``iterations``.
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
        solver: object of ``solvers`` or its name: "fista", "ista", "backtracking", or "active_set" (the same as
            ``active``). "fista" becomes "backtracking" where ``step_size="auto"`` meets a likelihood whose curvature
            has no bound (Poisson).
        analysis: None, or a dictionary layer whose kernel stands in D^T, as in learned convolutional sparse coding.
        baseline_scope: "channel" or "shared" (the cell's baseline, or the call's), or "signal": that of each signal and
            channel is found with its code, anew in each call, about every ten iterations.
        top_k: None, or how many values of each filter's code in each signal are kept after the iterations: the largest.
            They are those of the optimum with all values; ``call(support=code != 0)`` fits them anew.

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

    def __init__(self, cell: SparseCodingCell, iterations: int | str = 100, unroll: bool = False,
                 return_sequences: bool = False, gradient: Gradient = "unrolled", gradient_steps: int = 10,
                 tolerance: float | None = None, active: bool = False, block_size: BlockSize = "auto",
                 remat: bool = False, solver: Solver | str = "fista", analysis: ConvDictionary | None = None,
                 baseline_scope: BaselineScope = "channel", top_k: int | None = None, dtype: Any = None,
                 **kwargs: Any) -> None:
        super().__init__(dtype=layer_policy(dtype), **kwargs)
        self.supports_masking = True  # `mask` marks observed samples; none is passed on
        self.cell, self.unroll, self.return_sequences = cell, unroll, return_sequences
        self.gradient: Gradient = gradient
        self.baseline_scope: BaselineScope = baseline_scope
        self.gradient_steps = as_positive_int(gradient_steps, "gradient_steps")
        self.solver, self.analysis = solvers.get(solver), analysis
        if cell.finds_steps and type(self.solver) is FISTA:
            self.solver = Backtracking()  # no step size of FISTA's would be safe
        self.active = bool(active) or self.solver.active
        self.iterations = AUTO_ITERATIONS[self._kind()] if iterations == "auto" \
            else as_positive_int(iterations, "iterations")
        self.tolerance, self.block_size, self.remat = tolerance, block_size, bool(remat)
        self.top_k = None if top_k is None else as_positive_int(top_k, "top_k")
        self._check_options()
        self.refresh_in_training = True  #: a model that does so itself, after each optimiser step, sets it to False
        self.block = self._block()

    def _kind(self) -> str:
        """What ``iterations="auto"`` goes by."""
        curvature = self.cell.likelihood.curvature
        return "active" if self.active else "adaptive" if self.solver.adaptive else \
            "gentle" if curvature is not None and curvature < 1 else "plain"

    def _block(self) -> Shape | None:
        dictionary, groups = self.cell.dictionary, self.cell.code_prior.group_axes
        block = polyphase.resolve_block(self.block_size, dictionary.kernel_size, dictionary.strides,
                                        dictionary.inner_channels)
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
        if self.top_k is not None and self.return_sequences:
            raise ValueError("`top_k` keeps the largest values after all iterations: use return_sequences=False.")
        self._check_steps()
        check_encoder(self.cell.measurement, self.solver.adaptive, active=self.active,
                      analysis=self.analysis is not None)
        if self.gradient == "implicit":
            check_implicit(self.cell, self.analysis is None and self.top_k is None and not self.return_sequences)
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

    def _check_steps(self) -> None:
        """Refuse what a search for step sizes, or for baselines, cannot have."""
        cell, solver = self.cell, type(self.solver).__name__
        if self.baseline_scope not in BASELINE_SCOPES:
            raise ValueError(f"`baseline_scope` must be one of {BASELINE_SCOPES}. Received: {self.baseline_scope!r}")
        if self.baseline_scope == "signal" and cell.likelihood.size_name is None:
            raise ValueError('baseline_scope="signal" needs a likelihood of counts. '
                             f"Received: likelihood={type(cell.likelihood).__name__}")
        dictionary = cell.dictionary
        if self.baseline_scope == "signal" and any(
                dictionary.rank == 1 or dictionary.strides[a - 1] != 1 for a in cell.code_prior.group_axes):
            raise ValueError('baseline_scope="signal" gives each member of a group a baseline: that needs images, and '
                             "a stride of 1 on the axes of the group. Received: "
                             f"group_axes={cell.code_prior.group_axes}, strides={dictionary.strides}")
        if not self.solver.adaptive:
            if cell.finds_steps:
                raise ValueError(f"step_size='auto' needs a bound of the likelihood's curvature, and "
                                 f"{type(cell.likelihood).__name__} has none. Use solver='backtracking', which finds a "
                                 f"step size for each signal, or give `step_size` a number. Received: solver={solver}")
            return
        if self.analysis is not None:
            raise ValueError(f"The solver {solver} finds steps that lower the objective, and with `analysis` there is "
                             "none. Use solver='fista' and a number for `step_size`.")
        if self.compute_dtype not in ("float32", "float64"):
            raise ValueError(f"The solver {solver} compares sums that need float32. "
                             f"Received: compute dtype {self.compute_dtype!r}. Use dtype='float32'.")

    def __call__(self, *given: Any, **options: Any) -> Any:
        """As ``keras.layers.Layer``; the mask of a NumPy masked array is the mask of observed samples."""
        if given and is_masked(given[0]):
            signal, mask = (np.asarray(part) for part in with_own_mask(given[0], options.get("mask")))
            given, options = (signal, *given[1:]), {**options, "mask": mask}
        return super().__call__(*given, **options)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        dictionary, measurement = self.cell.dictionary, self.cell.measurement
        if len(input_shape) == dictionary.rank + 2:  # from here on it is the signal's
            input_shape = (input_shape[0], *measurement.signal_space(input_shape[1:-1]),
                           measurement.signal_channels(input_shape[-1]))
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
             baseline: Tensor | None = None, dispersion: Tensor | None = None, support: Tensor | None = None,
             operator: Tensor | None = None, training: bool = False) -> Tensor:
        """Code of ``signal``.

        Args:
            signal: (batch, *space, channels); where the likelihood is one of counts, their mean: counts / size.
            mask: None, or weights in [0, 1] broadcastable to the signal: 1 observed, 0 missing, between them what a
                sample counts beside the others (its share of the largest size).
            sigma: None, or a noise standard deviation in place of the cell's, scalar or (batch,).
            baseline: None (the cell's, where it has one), or eta of the zero code, (channels,), (batch, channels) or
                broadcastable to the signal.
            dispersion: None, or sigma^2 in place of the cell's, scalar or (batch,), lambda kept: 1 / the largest size
                of each signal.
            support: None, or 0/1 broadcastable to the code, (batch, *positions, filters): 0 where it stays 0, as for
                known onsets. The automatic step size then follows from the dictionary on the support, one a signal.
            operator: None, or the number of the matrix of a ``problem.Matrix`` that is a stack, (), or (batch,).
            training: True refreshes the step size first, and takes the solver's iterations with ``active`` too.

        Raises:
            ValueError: options that exclude each other.
        """
        return self.code_and_baseline(signal, mask, sigma, baseline=baseline, dispersion=dispersion, support=support,
                                      operator=operator, training=training)[0]

    def code_and_baseline(self, signal: Tensor, mask: Tensor | None = None, sigma: Tensor | None = None, *,
                          baseline: Tensor | None = None, dispersion: Tensor | None = None,
                          support: Tensor | None = None, operator: Tensor | None = None,
                          training: bool = False) -> tuple[Tensor, Tensor | None]:
        """Code of ``signal``, and the baseline that eta = D z + baseline holds beside it; a built layer.

        Args:
            signal, mask, sigma, baseline, dispersion, support, operator, training: see ``call``.

        Returns:
            Code (batch, *positions, filters), and None or the baseline, broadcastable to the signal: with
            ``baseline_scope="signal"`` what was found, (batch, 1, ..., 1, channels); where the code prior has
            ``group_axes``, one for each entry of those axes.
        """
        signal = ops.cast(signal, self.compute_dtype)
        self.cell.check_space(signal.shape[1:-1])
        call_inputs.check_options(self.cell.likelihood, sigma, baseline, dispersion, support, self.active,
                                  self.baseline_scope, training)
        if mask is not None:
            mask = ops.broadcast_to(ops.cast(mask, signal.dtype), ops.shape(signal))
        elif isinstance(self.cell.measurement, Mask):  # a call's own mask takes its place
            mask = self.cell.measurement.of_signal(signal)
        if training and self.refresh_in_training:
            self.cell.refresh_step_size()
        elif call_inputs.has_values(signal) and self.compute_dtype == self.variable_dtype:
            self.cell.restore_constraints()  # not in a graph, nor where Keras shows the filters rounded to bfloat16
        filled = self.cell.measurement.zero_filled(signal, mask)
        if filled is not None:
            signal, mask = filled
        elif not self.cell.measurement.is_mask:
            threshold = self.cell.threshold(sigma, dispersion)
            problem = measured_problem(self, signal, mask, threshold, support, operator, self._in_place(training))
            return self._select(self._solve(problem)[0]), None
        own = None if self.baseline_scope == "signal" else self.cell.baseline
        baseline = call_inputs.as_baseline(baseline, signal, own)
        if baseline is not None and self.cell.likelihood.quadratic:
            code, _ = self._encode(signal - baseline, mask, sigma, None, dispersion, support, training)
        else:
            code, baseline = self._encode(signal, mask, sigma, baseline, dispersion, support, training)
        return self._select(code), baseline

    def _problem(self, signal: Tensor, mask: Tensor | None, active: bool) -> IteratedProblem:
        """What the iterations run on: of the dictionary's choice, or as it is where samples are missing or counts."""
        dictionary = self.cell.dictionary
        if mask is None and self.cell.likelihood.quadratic and self.analysis is None and not self.solver.adaptive \
                and self.gradient != "implicit":
            constant = active or self.gradient == "decoder" or is_in_place()
            return dictionary.iterated_problem(signal, differentiable=not constant)
        kernel, analysis = (None if layer is None else ops.cast(layer.unit_kernel(), signal.dtype)
                            for layer in (dictionary, self.analysis))
        return IteratedProblem(signal, kernel, analysis)

    def _encode(self, signal: Tensor, mask: Tensor | None, sigma: Tensor | None,
                baseline: Tensor | None, dispersion: Tensor | None, support: Tensor | None,
                training: bool) -> tuple[Tensor, Tensor | None]:
        cell, active = self.cell, self.active and not training
        signal, kernel, analysis = self._problem(signal, mask, active)
        if active:
            weight = ops.cast(cell.penalty_weight(sigma, dispersion), signal.dtype)
            return self._encode_active(signal, mask, kernel, weight), None
        exists = call_inputs.as_support(support, signal, cell.dictionary)
        if baseline is not None and any(n != 1 for n in baseline.shape[1:-1]):  # one a sample
            baseline = self.pad_to_strides(baseline)[0]
        signal, mask = self.pad_to_strides(signal, mask)
        size = None
        if self.baseline_scope == "signal":
            size = call_inputs.sample_size(signal, mask, ops.square(cell.sigma) if dispersion is None else dispersion)
            axes = tuple(a for a in range(1, len(signal.shape) - 1) if a not in cell.code_prior.group_axes)
            baseline = ops.stop_gradient(cell.likelihood.initial_baseline(signal, size, axes=axes, keepdims=True))
        # The step size follows from the dictionary: no gradient is sent through it. It is read once, outside the loop:
        # a body that is computed again must hold tensors only.
        own_steps = cell.step_size_init == "auto" and self.analysis is None
        longer = call_inputs.longer_steps(cell.dictionary, exists if own_steps else None)
        if self.solver.adaptive:
            step = longer * cell.first_step(signal, mask, baseline)
            threshold = cell.penalty_weight(sigma, dispersion)
        else:
            step = longer * ops.cast(ops.stop_gradient(cell.step_size.value), signal.dtype)
            threshold = cell.threshold(sigma, dispersion)
            if exists is not None:
                threshold = threshold * ops.reshape(longer, (-1,) + (1,) * (len(signal.shape) - 1))
        tensors = Tensors(signal, mask, kernel, analysis, ops.cast(threshold, signal.dtype), step, exists,
                          baseline, size)
        problem = fold_problem(tensors, cell.likelihood, cell.code_prior, cell.dictionary, self.block,
                               in_place=self._in_place(training))
        code, found = self._solve(problem)
        return code, baseline if found is None else found

    def _in_place(self, training: bool) -> bool:
        return (is_in_place() or training) and not self.remat

    def _solve(self, problem: FoldedProblem) -> tuple[Tensor, Tensor | None]:
        """Code after the iterations, or all of them, and the baseline where it is found with it."""
        iterates, found = self.loop().run(problem)
        baseline = None if found is None else problem.unfold_baseline(found)
        if self.return_sequences:
            return ops.stack([problem.unfold(x) for x in iterates], axis=1), baseline
        return problem.unfold(iterates[-1]), baseline

    def _select(self, code: Tensor) -> Tensor:
        """The code, or its largest values alone."""
        return code if self.top_k is None else keep_largest(code, self.top_k, self.cell.code_prior.group_axes)

    def loop(self) -> SolverLoop:
        """The iterations as the options ask for."""
        return SolverLoop(self.solver, self.iterations, self.unroll, self.return_sequences, self.gradient,
                          self.gradient_steps, self.tolerance, self.remat)

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
        space = self.cell.measurement.signal_space(input_shape[1:-1])
        shape = (*dictionary.code_space(space), dictionary.filters)
        return (input_shape[0], self.iterations, *shape) if self.return_sequences else (input_shape[0], *shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cell": keras.saving.serialize_keras_object(self.cell),
                "iterations": self.iterations, "unroll": self.unroll,
                "return_sequences": self.return_sequences, "gradient": self.gradient,
                "gradient_steps": self.gradient_steps, "tolerance": self.tolerance, "active": self.active,
                "block_size": self.block_size, "remat": self.remat, "top_k": self.top_k,
                "solver": solvers.registry.serialize(self.solver), "baseline_scope": self.baseline_scope,
                "analysis": None if self.analysis is None else keras.saving.serialize_keras_object(self.analysis)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SparseCoding:
        config = dict(config)
        for name in ("cell", "analysis"):
            config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)
