"""The encoder with more freedom: few iterations, of which each may have filters and thresholds of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_crsae.layers import call_inputs
from keras_crsae.layers.conv_dictionary import ConvDictionary
from keras_crsae.layers.folded_problem import FoldedProblem, Tensors, fold_problem
from keras_crsae.layers.measured_coding import check_encoder
from keras_crsae.layers.sparse_coding import SparseCoding
from keras_crsae.layers.sparse_coding_cell import SparseCodingCell
from keras_crsae.operators import polyphase
from keras_crsae.solvers.base import Solver
from keras_crsae.typing import Shape, Tensor


@keras.saving.register_keras_serializable(package="keras_crsae")
class UnrolledCoding(SparseCoding):
    """x_{k+1} = prox(w_k + step A_k^T (y - B_k w_k), tau_k): a solver's iterations, unrolled, with more to learn.

    In ``SparseCoding`` A_k = B_k = D and tau_k = lambda sigma^2 step in every iteration k. Here these may be free:

    - ``analysis``: the filters A, of all iterations (learned convolutional sparse coding, arXiv 1711.00328) or of each;
    - ``synthesis``: the filters B of each iteration but the first, which starts from the code 0 (CDLNet, Janjusevic,
      Khalilian-Didar and Wang, IEEE OJSP 2022, arXiv 2112.00913);
    - ``free_thresholds``: tau_k = factor_k lambda sigma^2 step, a factor for each iteration and filter;
    - ``threshold_offsets``: an offset of each iteration and filter is added, of which 1 stands for the threshold at the
      cell's own sigma, and the sum is never below 0: one model for many noise levels. ``call(sigma=)`` gives the level,
      and the signal must then be in a unit that does not change with it.

    A bank of filters of each iteration is one dictionary of iterations * filters filters, iteration by iteration.

    Args:
        cell: ``SparseCodingCell`` with a quadratic likelihood.
        iterations: iterations, unrolled in the graph.
        analysis: None (the cell's dictionary), or a dictionary of ``filters`` or iterations * ``filters`` filters.
        synthesis: None (the cell's dictionary), or a dictionary of (iterations - 1) * ``filters`` filters.
        free_thresholds, threshold_offsets: see above.
        solver, block_size: see ``SparseCoding``.

    Input and output shapes: see ``SparseCoding``.

    Raises:
        ValueError: banks of another size, or an option of ``SparseCoding`` that this layer does not have.

    Example:
        >>> import keras
        >>> from keras_crsae.layers import FreeNormDictionary, SparseCodingCell, UnrolledCoding
        >>> cell = SparseCodingCell(FreeNormDictionary(8, (5, 5)), code_prior="soft", step_size=1.0)
        >>> analysis, synthesis = FreeNormDictionary(4 * 8, (5, 5)), FreeNormDictionary(3 * 8, (5, 5))
        >>> encoder = UnrolledCoding(cell, 4, analysis=analysis, synthesis=synthesis, free_thresholds=True)
        >>> tuple(encoder(keras.ops.zeros((1, 24, 24, 1))).shape)
        (1, 20, 20, 8)
    """

    def __init__(self, cell: SparseCodingCell, iterations: int = 20, analysis: ConvDictionary | None = None,
                 synthesis: ConvDictionary | None = None, free_thresholds: bool = False,
                 threshold_offsets: bool = False, solver: Solver | str = "ista", **options: Any) -> None:
        fixed = {"unroll": True, "gradient": "unrolled", "return_sequences": False, "tolerance": None, "active": False,
                 "remat": False}
        for name, value in fixed.items():
            if options.get(name, value) != value:
                raise ValueError(f"UnrolledCoding has no choice of `{name}`: it is {value!r}. Received: "
                                 f"{name}={options[name]!r}")
        super().__init__(cell, iterations, analysis=analysis, solver=solver, **{**options, **fixed})
        if not cell.likelihood.quadratic:
            raise ValueError("UnrolledCoding is for Gaussian noise. Received: likelihood="
                             f"{type(cell.likelihood).__name__}. Use SparseCoding.")
        check_encoder(cell.measurement, UnrolledCoding=True)
        if cell.dense_penalty is not None and (free_thresholds or threshold_offsets):
            raise ValueError("`free_thresholds` and `threshold_offsets` do not go with `dense_penalty`: where sparse "
                             "filters have a threshold dense ones have their penalty, which training would change. Use "
                             "dense_penalty=None, or free_thresholds=False. Received: "
                             f"dense_penalty={cell.dense_penalty}, free_thresholds={free_thresholds}, "
                             f"threshold_offsets={threshold_offsets}")
        if self.solver.adaptive or self.solver.active:
            raise ValueError("UnrolledCoding needs a solver whose steps are the same for every signal, such as 'ista' "
                             f"or 'fista'. Received: solver={type(self.solver).__name__}")
        self.synthesis = synthesis
        self.free_thresholds, self.threshold_offsets = bool(free_thresholds), bool(threshold_offsets)
        filters = cell.dictionary.filters
        for name, layer, counts in (("analysis", analysis, (filters, self.iterations * filters)),
                                    ("synthesis", synthesis, ((self.iterations - 1) * filters,))):
            if layer is not None and layer.filters not in counts:
                raise ValueError(f"`{name}` must have {' or '.join(map(str, counts))} filters with {filters} filters "
                                 f"and {self.iterations} iterations. Received: {layer.filters}")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        if self.synthesis is not None and not self.synthesis.built:
            self.synthesis.set_channels(input_shape[-1] or 1)
            self.synthesis.build()
        shape = (self.iterations, self.cell.dictionary.filters)
        if self.free_thresholds:
            self.factors = self.add_weight(name="factors", shape=shape, initializer="ones",
                                           constraint=keras.constraints.NonNeg())
        if self.threshold_offsets:
            self.offsets = self.add_weight(name="offsets", shape=shape, initializer="zeros")

    @property
    def free_variables(self) -> list[keras.Variable]:
        """Variables that this layer has beside the cell's: banks, factors and offsets of the thresholds."""
        banks = [layer.kernel for layer in (self.analysis, self.synthesis) if layer is not None]
        return [*banks, *([self.factors] if self.free_thresholds else []),
                *([self.offsets] if self.threshold_offsets else [])]

    def thresholds(self, sigma: Tensor | None = None) -> list[Tensor]:
        """tau_k of each iteration, (filters,) or (batch, 1, ..., filters) where ``sigma`` is (batch,)."""
        shared, at_own_sigma = self.cell.threshold(sigma), self.cell.threshold()
        taus: list[Tensor] = []
        for k in range(self.iterations):
            tau = shared * self.factors[k] if self.free_thresholds else shared
            taus.append(ops.relu(tau + at_own_sigma * self.offsets[k]) if self.threshold_offsets else tau)
        return taus

    def _encode(self, signal: Tensor, mask: Tensor | None, sigma: Tensor | None,
                baseline: Tensor | None, dispersion: Tensor | None, support: Tensor | None,
                training: bool) -> tuple[Tensor, None]:
        exists = call_inputs.as_support(support, signal, self.cell.dictionary)
        signal, mask = self.pad_to_strides(signal, mask)
        step_size = ops.cast(ops.stop_gradient(self.cell.step_size.value), signal.dtype)
        analysis, synthesis = (None if layer is None else ops.cast(layer.unit_kernel(), signal.dtype)
                               for layer in (self.analysis, self.synthesis))
        taus = [ops.cast(tau, signal.dtype) for tau in self.thresholds(sigma)]
        kernel = ops.cast(self.cell.dictionary.unit_kernel(), signal.dtype)
        first = Tensors(signal, mask, kernel, None, taus[0], step_size, exists)
        problem = fold_problem(first, self.cell.likelihood, self.cell.code_prior, self.cell.dictionary, self.block)
        code = self._iterate(problem, self._banks(analysis, synthesis, problem), taus)
        return problem.unfold(code), None

    def _banks(self, analysis: Tensor | None, synthesis: Tensor | None, problem: FoldedProblem
               ) -> list[tuple[Tensor, Tensor | None]]:
        """(B_k, A_k) of each iteration, folded as the problem's kernel; A_k None: B_k."""
        kernel, count, filters = problem.tensors.kernel, self.iterations, self.cell.dictionary.filters

        def split(bank: Tensor) -> list[Tensor]:
            return split_bank(bank, filters, self.cell.dictionary.strides, problem.block)

        down = [kernel] * count if synthesis is None else [kernel, *split(synthesis)]
        if analysis is None:
            return [(kernel, None)] * count if synthesis is None else [(b, kernel) for b in down]
        up = split(analysis)
        return list(zip(down, up * count if len(up) == 1 else up, strict=True))

    def _iterate(self, problem: FoldedProblem, banks: Sequence[tuple[Tensor, Tensor | None]],
                 taus: Sequence[Tensor]) -> Tensor:
        solver: Any = self.solver  # one that takes `descend`, not adaptive
        state: tuple[Tensor, ...] = ()
        blocks = problem.tensors.kernel.shape[-1] // self.cell.dictionary.filters
        for (down, up), tau, factor in zip(banks, taus, self.solver.momentum(self.iterations), strict=True):
            tau = ops.tile(tau, (1,) * (len(tau.shape) - 1) + (blocks,))
            tau = tau[:, None] if problem.block is not None and len(problem.block) == 1 and len(tau.shape) > 1 else tau
            tensors = problem.tensors._replace(kernel=down, adjoint_kernel=up, threshold=tau)
            descend = replace(problem, tensors=tensors).descent()
            state = solver.step(state, descend, factor) if state else solver.init(descend(None))
        return state[0]

    def parameters_of_iterations(self) -> list[tuple[np.ndarray, ...]]:
        """(B_k, A_k, slope, offset) of each iteration: tau_k = max(offset + slope * sigma, 0); NumPy, for exporters."""
        filters, strides, count = self.cell.dictionary.filters, self.cell.dictionary.strides, self.iterations
        kernel = self.cell.dictionary.unit_kernel()

        def each(layer: ConvDictionary | None, own: int) -> list[Tensor]:
            if layer is None:
                return [kernel] * own
            kernels = split_bank(layer.unit_kernel(), filters, strides, None)
            return kernels * own if len(kernels) == 1 < own else kernels

        down, up = [kernel, *each(self.synthesis, count - 1)], each(self.analysis, count)
        slope, offset = ops.convert_to_numpy(self.cell.threshold(1.0)), ops.convert_to_numpy(self.cell.threshold())
        slope, offset = (np.broadcast_to(v, (filters,)).astype(np.float64) for v in (slope, offset))
        factors = ops.convert_to_numpy(self.factors) if self.free_thresholds else np.ones((count, 1))
        offsets = ops.convert_to_numpy(self.offsets) if self.threshold_offsets else np.zeros((count, 1))
        return [(ops.convert_to_numpy(b), ops.convert_to_numpy(a), slope * factors[k], offset * offsets[k])
                for k, (b, a) in enumerate(zip(down, up, strict=True))]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "free_thresholds": self.free_thresholds,
                "threshold_offsets": self.threshold_offsets,
                "synthesis": None if self.synthesis is None else keras.saving.serialize_keras_object(self.synthesis)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> UnrolledCoding:
        config = dict(config)
        for name in ("cell", "analysis", "synthesis"):
            config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)


def split_bank(bank: Tensor, filters: int, strides: Shape, block: Shape | None) -> list[Tensor]:
    """Kernels of ``filters`` filters out of one of several times as many, folded into blocks where there are any.

    Folded together and then split they cost far fewer operations than one by one.

    Args:
        bank: (*kernel_size, channels, count * filters).
        filters: of each kernel.
        strides, block: see ``operators.polyphase.fold_kernel``; block None: not folded.

    Returns:
        ``count`` kernels; those of signals, folded, as images of one row (see ``layers.folded_problem``).
    """
    count, blocks = bank.shape[-1] // filters, 1
    if block is not None:
        bank, blocks = polyphase.fold_kernel(bank, strides, block), math.prod(block)
    sizes = tuple(bank.shape[:-1])
    bank = ops.moveaxis(ops.reshape(bank, (*sizes, blocks, count, filters)), -2, 0)
    kernels = ops.unstack(ops.reshape(bank, (count, *sizes, blocks * filters)), count)
    return [kernel[None] for kernel in kernels] if block is not None and len(block) == 1 else kernels
