"""The encoder: drives the cell for a fixed number of iterations, as a loop or unrolled."""

import contextlib
import contextvars
from typing import NamedTuple

import keras
import numpy as np
from crsae_onnx.core.validation import as_positive_int
from keras import ops

from keras_crsae.operators import polyphase
from keras_crsae.solvers import active_set as active
from keras_crsae.solvers.fista import fista_init, momentum
from keras_crsae.solvers.proximal_step import last_filters

GRADIENTS = ("unrolled", "truncated", "decoder")
#: Iterations in one pass of the graph loop, about; exactly so with ``tolerance``, looked at after each, and ``remat``.
LOOP_BODY = 10
_IN_PLACE = contextvars.ContextVar("in_place", default=False)


@contextlib.contextmanager
def in_place():
    """While this thread traces a graph that no converter sees and no two threads run at a time.

    Operations of encoders in it may then work in place, which is faster; in training they do without being asked.

    Example:
        >>> import tensorflow as tf
        >>> encoder = SparseCoding(SparseCodingCell(ConvDictionary(filters=3, kernel_size=9)), iterations=20)
        >>> with in_place():
        ...     graph = tf.function(encoder).get_concrete_function(tf.TensorSpec((None, None, 1)))
    """
    outside = _IN_PLACE.set(True)
    try:
        yield
    finally:
        _IN_PLACE.reset(outside)


class Problem(NamedTuple):
    """What the iterations run on, folded into blocks or plain."""

    signal: object      # (batch, *space, channels)
    observed: object    # None, or 0/1 of the signal's shape
    kernel: object      # (*kernel_size, channels, filters)
    threshold: object   # (filters,), or broadcastable to the code
    step_size: object   # scalar
    exists: object      # None, or 0/1 broadcastable to the code: 0 where it stays 0
    strides: tuple
    code_shape: tuple   # (batch, *positions, filters)
    in_place: bool = False      # see ``functional.descent``
    tail: tuple | None = None  # instead of ``exists`` where only the last block is not whole


@keras.saving.register_keras_serializable(package="keras_crsae")
class SparseCoding(keras.layers.Layer):
    """Sparse code of a signal by ``iterations`` FISTA steps.

    Args:
        cell: ``SparseCodingCell``.
        iterations: FISTA iterations.
        unroll: True: a Python loop; False: one graph loop (smaller graph, less to compile).
        return_sequences: give every iterate, (batch, iterations, *positions, filters).
        gradient: "unrolled" (through every iteration), "truncated" (through the last ``gradient_steps``),
            "decoder" (the code is held constant). Memory of the last two does not grow with ``iterations``.
        gradient_steps: iterations that "truncated" differentiates.
        tolerance: None, or stop once the code's relative change in one iteration, ||x - x_last|| / ||x||, is below
            it for every signal of the batch; looked at every 10 iterations, ``iterations`` being the most.
        active: work only where the signal holds events (rank 1, stride 1; see ``functional.active``), until no code
            value would move by more than ``tolerance`` (1e-3) of lambda sigma^2: the optimum that the iterations
            approach, at a cost in proportion to activity. ``iterations`` then bound the work on an event in a
            round. For inference; a call with ``training=True`` ignores it.
        block_size: "auto", or the code positions an axis that are folded into channels (see
            ``functional.polyphase``); 1 is the plain path. The values are the same.
        remat: keep one iterate in ten for the gradient and compute the others again: less memory, more time.

    Input shape: (batch, *space, channels). Output shape: (batch, *positions, filters), positions =
    ceil((space - kernel_size) / strides) + 1; where the stride divides unevenly the signal is padded on the
    right and the padded samples are left out of the residual.

    Raises:
        ValueError: an option out of range, or two that exclude each other; at build, another number of axes or
            channels, or a signal shorter than the kernel.

    Example:
        >>> cell = SparseCodingCell(ConvDictionary(filters=3, kernel_size=9))
        >>> tuple(SparseCoding(cell, iterations=20)(keras.ops.zeros((2, 100, 1))).shape)
        (2, 92, 3)
    """

    def __init__(self, cell, iterations=100, unroll=False, return_sequences=False, gradient="unrolled",
                 gradient_steps=10, tolerance=None, active=False, block_size="auto", remat=False, **kwargs):
        super().__init__(**kwargs)
        iterations = as_positive_int(iterations, "iterations")
        gradient_steps = as_positive_int(gradient_steps, "gradient_steps")
        if gradient not in GRADIENTS:
            raise ValueError(f"`gradient` must be one of {GRADIENTS}. Received: {gradient!r}")
        if tolerance is not None and not tolerance > 0:
            raise ValueError(f"`tolerance` must be None or a positive number. Received: tolerance={tolerance!r}")
        if tolerance is not None and (unroll or return_sequences):
            raise ValueError("`tolerance` stops the graph loop; `unroll` and `return_sequences` run every iteration. "
                             "Use one or the other.")
        if active and return_sequences:
            raise ValueError("`active` encodes stretches, not iterates: leave it False with return_sequences=True.")
        if remat and (unroll or return_sequences or tolerance is not None):
            raise ValueError("`remat` computes passes of the graph loop again: leave out unroll, return_sequences and "
                             "tolerance.")
        self.supports_masking = True  # `mask` marks observed samples; none is passed on
        self.cell, self.iterations, self.unroll = cell, iterations, unroll
        self.return_sequences, self.gradient, self.gradient_steps = return_sequences, gradient, gradient_steps
        self.tolerance, self.active, self.block_size, self.remat = tolerance, bool(active), block_size, bool(remat)
        dictionary = cell.dictionary
        #: A model that refreshes the step size itself, after each optimiser step, sets this to False.
        self.refresh_in_training = True
        self.block = polyphase.resolve_block(block_size, dictionary.kernel_size, dictionary.strides,
                                             dictionary.channels)

    def build(self, input_shape):
        dictionary = self.cell.dictionary
        if len(input_shape) != dictionary.rank + 2 or input_shape[-1] != dictionary.channels:
            space = "time" if dictionary.rank == 1 else "height, width"
            raise ValueError(f"Expected a signal of shape (batch, {space}, {dictionary.channels} channels). "
                             f"Received: input_shape={tuple(input_shape)}. Add or move axes to match.")
        for n, k in zip(input_shape[1:-1], dictionary.kernel_size, strict=True):
            if n is not None and n < k:
                raise ValueError(f"The signal is shorter than the kernel: {tuple(input_shape[1:-1])} samples against "
                                 f"kernel_size={dictionary.kernel_size}. Use longer signals or a smaller kernel_size.")
        if self.active and (dictionary.rank != 1 or dictionary.strides != (1,)):
            raise ValueError("active=True is for signals with stride 1: images are active everywhere. "
                             f"Received: rank={dictionary.rank}, strides={dictionary.strides}")
        if not self.cell.built:
            self.cell.build(input_shape)

    def pad_to_strides(self, signal, mask=None):
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

    def call(self, signal, mask=None, sigma=None, training=False):
        """Code of ``signal``; ``mask`` (0/1, broadcastable to it) marks observed samples, ``sigma`` overrides."""
        if mask is not None:
            mask = ops.broadcast_to(ops.cast(mask, signal.dtype), ops.shape(signal))
        if training and self.refresh_in_training:
            self.cell.refresh_step_size()
        kernel, threshold = self.cell.dictionary.unit_kernel(), self.cell.threshold(sigma)
        kernel, threshold = ops.cast(kernel, signal.dtype), ops.cast(threshold, signal.dtype)
        if self.active and not training:
            return self._encode_active(signal, mask, kernel, threshold)
        signal, mask = self.pad_to_strides(signal, mask)
        return self._encode(signal, mask, kernel, threshold, (_IN_PLACE.get() or training) and not self.remat)

    def _encode(self, signal, mask, kernel, threshold, in_place=False):
        """Code of a signal of whole strides."""
        dictionary = self.cell.dictionary
        positions = dictionary.code_space(ops.shape(signal)[1:-1])
        problem = self._folded(signal, mask, kernel, threshold, positions, in_place) if self.block else \
            self._plain(signal, mask, kernel, threshold, positions, in_place)
        made = self._solve(problem)

        def unfold(code):
            if not self.block:
                return code
            code = polyphase.unfold(code[:, 0] if dictionary.rank == 1 else code, self.block)
            return code[(slice(None), *(slice(0, m) for m in positions))]

        return ops.stack([unfold(x) for x in made], axis=1) if self.return_sequences else unfold(made)

    def _step_size(self, signal):
        # Read once, outside the loop: the rematerialised body must hold tensors only.
        return ops.cast(self.cell.step_size, signal.dtype)

    def _plain(self, signal, mask, kernel, threshold, positions, in_place):
        shape = (ops.shape(signal)[0], *positions, kernel.shape[-1])
        return Problem(signal, mask, kernel, threshold, self._step_size(signal), None,
                       self.cell.dictionary.strides, shape, in_place)

    def _folded(self, signal, mask, kernel, threshold, positions, in_place):
        """Blocks of positions as channels; a signal becomes an image of one row, see ``functional.descent``."""
        block, strides = self.block, self.cell.dictionary.strides
        period = tuple(b * s for b, s in zip(block, strides, strict=True))
        whole = all(b == 1 or isinstance(m, int) and m % b == 0 for m, b in zip(positions, block, strict=True))
        ends = in_place and len(block) == 1 and not whole
        # XLA knows no empty write: where the length is known only then, a block of zeros may follow the last.
        count = [m // b + 1 if ends else polyphase.blocks(m, b) for m, b in zip(positions, block, strict=True)]
        filters, kernel = kernel.shape[-1], polyphase.fold_kernel(kernel, strides, block)
        space = [(n + t - 1) * p for n, t, p in zip(count, kernel.shape, period, strict=False)]
        signal, mask = (None if a is None else polyphase.fold(polyphase.pad_to(a, space), period)
                        for a in (signal, mask))
        threshold = ops.tile(threshold, (1,) * (len(threshold.shape) - 1) + (kernel.shape[-1] // threshold.shape[-1],))
        shape = (ops.shape(signal)[0], *(1,) * (len(block) == 1), *count, kernel.shape[-1])
        exists = tail = None
        if ends:
            tail = last_filters(shape, (count[0] * block[0] - positions[0]) * filters, signal.dtype)
        elif not whole:
            exists = ops.ones((1, *positions, 1), dtype=signal.dtype)
            exists = polyphase.pad_to(exists, [n * b for n, b in zip(count, block, strict=True)])
            exists = ops.repeat(polyphase.fold(exists, block), filters, axis=-1)
        if len(block) == 1:
            signal, mask, exists = (None if a is None else a[:, None] for a in (signal, mask, exists))
            kernel = kernel[None]
            threshold = threshold[:, None] if len(threshold.shape) > 1 else threshold
        return Problem(signal, mask, kernel, threshold, self._step_size(signal), exists, (1, 1), shape,
                       in_place, tail)

    def factors(self):
        """Extrapolation after each iteration, a list of floats: FISTA's momentum."""
        return momentum(self.iterations)

    def _solve(self, problem):
        """The last iterate, or the list of all with ``return_sequences``."""
        held = {"unrolled": 0, "decoder": self.iterations,
                "truncated": max(0, self.iterations - self.gradient_steps)}[self.gradient]
        factors, sequence = np.array(self.factors(), "float32"), []
        constant = problem._replace(kernel=ops.stop_gradient(problem.kernel),
                                    threshold=ops.stop_gradient(problem.threshold))
        states, done = self._start(constant if held else problem, sequence)
        if held:
            states = [ops.stop_gradient(s) for s in self._run(constant, states, factors[done:held], sequence)]
        if self.iterations > held:
            states = self._run(problem, states, factors[max(done, held):], sequence)
        return sequence if self.return_sequences else states[0]

    def _start(self, problem, sequence):
        """States to begin with, and the iterations that are in them."""
        if self.remat or self.tolerance is not None:
            # What is kept, or looked at, once in ten iterations counts from the zero code.
            return self.cell.initial_state(problem.code_shape, problem.signal.dtype), 0
        states = list(fista_init(self._descent(problem)(None)))
        sequence.append(states[0])
        return states, 1

    def _descent(self, problem):
        return self.cell.descent(problem.signal, problem.kernel, problem.threshold, problem.strides,
                                 problem.step_size, observed=problem.observed, exists=problem.exists,
                                 tail=problem.tail, in_place=problem.in_place)

    def _steps(self, problem, states, factors):
        """One iteration for each of FISTA's ``factors``; every state list on the way."""
        descend = self._descent(problem)
        made = []
        for factor in factors:
            _, states = self.cell(problem.signal, states, descend=descend, factor=factor)
            made.append(states)
        return made

    def _remat_pass(self, problem, states, factors):
        """One pass of the loop whose iterates are computed again for the gradient."""
        tensors = [t for t in problem[:6] if t is not None]

        def last(factors, *given):
            rest = iter(given)
            filled = Problem(*(None if t is None else next(rest) for t in problem[:6]), *problem[6:])
            return self._steps(filled, list(rest), ops.unstack(factors, LOOP_BODY))[-1]

        return keras.remat(last)(factors, *tensors, *states)

    def _run(self, problem, states, factors, sequence):
        """The states after one iteration for each of ``factors`` (``momentum``: a table costs less than t's sums)."""
        if not len(factors):
            return states
        if self.unroll or self.return_sequences:
            made = self._steps(problem, states, factors.tolist())
            sequence.extend(s[0] for s in made)
            return made[-1]
        body_length = LOOP_BODY if self.remat or self.tolerance is not None else _body_length(len(factors))
        passes, rest = divmod(len(factors), body_length)
        if rest:
            states = self._steps(problem, states, factors[:rest].tolist())[-1]
        if not passes:
            return states
        table = ops.convert_to_tensor(factors[rest:].reshape(passes, body_length), problem.signal.dtype)

        def body(i, change, *states):
            row = table[i]
            if self.remat:
                return i + 1, change, *self._remat_pass(problem, states, row)
            made = self._steps(problem, list(states), ops.unstack(row, body_length))
            if self.tolerance is not None:
                change = _relative_change(made[-1][0], made[-2][0])
            return i + 1, change, *made[-1]

        start = ops.cast(float("inf"), problem.signal.dtype)
        limit = 0.0 if self.tolerance is None else self.tolerance
        return list(ops.while_loop(lambda i, change, *_: change >= limit, body, (0, start, *states),
                                   maximum_iterations=passes))[2:]

    def _encode_active(self, signal, mask, kernel, threshold):
        block, code_space = self.block or (1,), self.cell.dictionary.code_space
        folded = polyphase.fold_kernel(kernel, (1,), block)
        # The code scales with signal and threshold together: a threshold of each signal's own becomes one of all.
        scale = 1.0
        if len(threshold.shape) > 1:
            common = ops.max(threshold, axis=tuple(range(len(threshold.shape) - 1)))
            scale = ops.max(threshold / common, axis=-1, keepdims=True)
            signal, threshold = signal / scale, common
        return scale * active.encode(
            signal, mask, kernel, threshold / self._step_size(signal), self.cell.shrinkage,
            lambda y: polyphase.block_adjoint(y, folded, (1,), block, code_space(ops.shape(y)[1:-1])),
            lambda z: polyphase.block_synthesis(z, folded, (1,), block)[:, :ops.shape(signal)[1]],
            self.iterations, self.tolerance)

    def compute_mask(self, *args, **kwargs):
        return None

    def compute_output_shape(self, input_shape):
        dictionary = self.cell.dictionary
        shape = (*dictionary.code_space(input_shape[1:-1]), dictionary.filters)
        return (input_shape[0], self.iterations, *shape) if self.return_sequences else (input_shape[0], *shape)

    def get_config(self):
        return {**super().get_config(), "cell": keras.saving.serialize_keras_object(self.cell),
                "iterations": self.iterations, "unroll": self.unroll,
                "return_sequences": self.return_sequences, "gradient": self.gradient,
                "gradient_steps": self.gradient_steps, "tolerance": self.tolerance, "active": self.active,
                "block_size": self.block_size, "remat": self.remat}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        config["cell"] = keras.saving.deserialize_keras_object(config["cell"])
        return cls(**config)


def _body_length(count):
    """Iterations in one pass of the graph loop: about ten, so that few are left to be traced before the loop."""
    return min(range(LOOP_BODY + 2, LOOP_BODY - 4, -1), key=lambda length: count % length + length)


def _relative_change(code, last):
    """Largest ||code - last|| / ||code|| over the batch; 0 for codes that stay zero."""
    axes = list(range(1, len(code.shape)))
    moved, size = (ops.sum(ops.square(a), axis=axes) for a in (code - last, code))
    return ops.sqrt(ops.max(moved / ops.maximum(size, 1e-30)))
