"""One step of proximal gradient descent on the code, in as few passes over memory as the machine's kernels allow.

The step is ``prox(w + step D^T Phi^T residual(y, Phi (D w + baseline)), threshold)``. The places for TensorFlow's own
mechanics are this file and ``models.compiled_passes``; everything else speaks ``keras.ops``.

For the Gaussian likelihood, on images at stride 1 and on signals written as images of one row, both operators are plain
convolutions (``D`` by the reversed kernel, padded), and TensorFlow's graph optimiser makes ``relu(w + step D^T r -
threshold)`` one kernel of oneDNN's where it meets exactly Conv2D, BiasAdd, AddN and Relu in a row: AddN, whose
summands need no proof of equal shapes. That kernel was 12 % faster than separate passes, and it keeps memory in the
operator: two calls at a time crashed or mixed their values (TensorFlow 2.21 with AVX-512). So it is used where a graph
serves one call at a time (``in_place``); elsewhere the order of operations avoids it.
A code that starts at zero takes its first step without ``D``, and the tail of the last block, which stays zero, is
written over in place: a multiplication by 0 and 1 everywhere took 6 % of the time.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Generator

from keras import ops

from keras_crsae.backend import IS_TENSORFLOW, tf
from keras_crsae.operators.convolution import adjoint, is_thin, synthesis
from keras_crsae.problem.objective import Problem
from keras_crsae.typing import Shape, Tensor

_IN_PLACE = contextvars.ContextVar("in_place", default=False)
#: The last filters of a code's last entry: where they start, and the zeros that are written there.
Tail = tuple[Tensor, Tensor]


@contextlib.contextmanager
def in_place() -> Generator[None]:
    """Allow in-place kernels in graphs that this thread traces meanwhile: none that is exported or run concurrently.

    They are faster. Training uses them without this.

    Example:
        >>> import tensorflow as tf
        >>> from keras_crsae.layers import ConvDictionary, SparseCoding, SparseCodingCell
        >>> from keras_crsae.solvers.proximal_step import in_place
        >>> encoder = SparseCoding(SparseCodingCell(ConvDictionary(filters=3, kernel_size=9)), iterations=20)
        >>> with in_place():
        ...     graph = tf.function(encoder).get_concrete_function(tf.TensorSpec((None, None, 1)))
    """
    outside = _IN_PLACE.set(True)
    try:
        yield
    finally:
        _IN_PLACE.reset(outside)


def is_in_place() -> bool:
    """Whether ``in_place`` holds in this thread."""
    return _IN_PLACE.get()


def descent(problem: Problem, signal: Tensor, kernel: Tensor, strides: Shape, step_size: Tensor, threshold: Tensor, *,
            adjoint_kernel: Tensor | None = None, exists: Tensor | None = None, tail: Tail | None = None,
            in_place: bool = False) -> Callable[[Tensor | None], Tensor]:
    """The function ``w -> prox(w + step D^T Phi^T residual(y, Phi D w), threshold)``.

    What depends on the kernel alone is computed here, once for all the steps that are then taken.

    Args:
        problem: likelihood, code prior, measurement Phi and baseline.
        signal: (batch, *space, channels).
        kernel: (*kernel_size, channels, filters).
        strides: one int an axis; space must be whole strides.
        step_size: scalar tensor, 1 / L, or one a signal (batch,).
        threshold: (filters,), or broadcastable to the code.
        adjoint_kernel: None (``kernel``), or the one that stands in D^T.
        exists: None, or 0/1 broadcastable to the code: 0 where it stays 0.
        tail: None, or the code's ``last_filters`` that stay 0. Kept so by an operation that works in place, which
            converters to ONNX do not support.
        in_place: True where no two calls of the graph run at a time: the sum with w is made inside the convolution.

    Returns:
        Function of w, (batch, *positions, filters), or of None for the code 0.

    Example:
        >>> from keras import ops
        >>> from keras_crsae.problem import Exponential, Gaussian, Problem
        >>> from keras_crsae.solvers.proximal_step import descent
        >>> filters, zero = ops.ones((3, 1, 1)), ops.zeros((1, 2, 1))
        >>> problem = Problem(Gaussian(), Exponential())
        >>> step = descent(problem, ops.ones((1, 4, 1)), filters, (1,), 0.5, ops.array([0.5]))
        >>> ops.convert_to_numpy(step(zero)).ravel().tolist()
        [1.0, 1.0]
    """
    prior = problem.code_prior
    rising = kernel if adjoint_kernel is None else adjoint_kernel
    of_signals = len(ops.shape(step_size)) > 0
    if of_signals:
        step_size = ops.reshape(step_size, (-1,) + (1,) * (len(signal.shape) - 1))
    else:
        rising = step_size * rising  # the small kernel, not the large code
    as_bias = prior.bias_form and len(threshold.shape) == 1
    # With another kernel in D^T a training step took a third less by the operators that do not fuse.
    fuse = is_plain(strides) and adjoint_kernel is None
    explain = _residual(problem, signal, kernel, strides, fuse)
    if of_signals:
        explain = _scaled(explain, step_size)
    rise = ascent(rising, strides, fuse, in_place, threshold if as_bias else None)

    def descend(w: Tensor | None) -> Tensor:
        moved = rise(w, explain(w))
        if exists is not None and prior.group_axes:
            moved = moved * exists  # what stays zero is no part of its group's norm
        code = ops.relu(moved) if as_bias else prior.prox(moved, threshold)
        code = code if exists is None else code * exists
        return code if tail is None else write(code, tail)

    return descend


def _scaled(explain: Callable[[Tensor | None], Tensor], step_size: Tensor) -> Callable[[Tensor | None], Tensor]:
    """The function ``w -> step_size explain(w)``."""
    def scaled(w: Tensor | None) -> Tensor:
        return step_size * explain(w)

    return scaled


def last_filters(shape: tuple[Tensor, ...], count: Tensor, dtype: str) -> Tail:
    """Where, in the last entry on the axis before them, the last ``count`` filters of a code lie: (start, zeros).

    Args:
        shape: of the code; entries may be tensors.
        count: int or integer tensor.
        dtype: of the code.
    """
    start = tf.stack([*(0,) * (len(shape) - 2), -1, shape[-1] - count])
    return start, tf.zeros(tf.stack([*shape[:-2], 1, count]), dtype)


def write(code: Tensor, part: Tail) -> Tensor:
    """``code`` with the zeros of ``last_filters`` written over it, in place."""
    start, values = part
    rank = len(code.shape)
    whole = 2**rank - 1  # a bit an axis
    return tf.raw_ops.TensorStridedSliceUpdate(input=code, begin=start, end=[0] * rank, strides=[1] * rank,
                                               value=values, begin_mask=whole >> 2, end_mask=whole)


def select_signals(which: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """``new`` or ``old``, whole entries of the batch, by ``which``, bool (batch,).

    This operation copies rows; the one of ``where``, which broadcasts, took 2.5 times as long.
    """
    if not IS_TENSORFLOW:
        return ops.where(ops.reshape(which, (-1,) + (1,) * (len(new.shape) - 1)), new, old)
    return tf.raw_ops.Select(condition=which, x=new, y=old)


def is_plain(strides: Shape) -> bool:
    """Whether both operators are ordinary two-dimensional convolutions."""
    return len(strides) == 2 and all(s == 1 for s in strides)


def ascent(rising: Tensor, strides: Shape, fuse: bool, in_place: bool,
           bias: Tensor | None = None) -> Callable[[Tensor | None, Tensor], Tensor]:
    """The function ``(w, r) -> w + D^T r - bias``, D^T by the kernel ``rising``; w None stands for 0.

    Args:
        rising: (*kernel_size, channels, filters).
        strides: one int an axis.
        fuse: whether both operators are plain convolutions, taken in the order that TensorFlow fuses.
        in_place: see ``descent``.
        bias: None, or (filters,).
    """
    return (_fused_ascent if fuse and IS_TENSORFLOW else _ascent)(rising, strides, bias, in_place)


def _ascent(rising: Tensor, strides: Shape, bias: Tensor | None, in_place: bool) -> Callable[..., Tensor]:
    """As ``ascent``, in any order."""
    def rise(w: Tensor | None, residual: Tensor) -> Tensor:
        moved = adjoint(residual, rising, strides)
        moved = moved if w is None else w + moved
        return moved if bias is None else moved - bias

    return rise


def _fused_ascent(rising: Tensor, strides: Shape, bias: Tensor | None, in_place: bool) -> Callable[..., Tensor]:
    """As ``ascent`` where both operators are plain convolutions, in the order that TensorFlow fuses."""
    bias = tf.broadcast_to(tf.zeros((), rising.dtype) if bias is None else -bias, (rising.shape[-1],))

    def rise(w: Tensor | None, residual: Tensor) -> Tensor:
        moved = tf.nn.conv2d(residual, rising, strides=1, padding="VALID")
        if in_place and w is not None:
            return tf.add_n([tf.nn.bias_add(moved, bias), w])
        # The bias last: TensorFlow would make conv, bias and sum in this order one kernel by itself.
        return tf.nn.bias_add(moved if w is None else w + moved, bias)

    return rise


def _residual(problem: Problem, signal: Tensor, kernel: Tensor, strides: Shape,
              fuse: bool) -> Callable[[Tensor | None], Tensor]:
    """The function ``w -> Phi^T residual(y, Phi D w)``; w None stands for the code 0."""
    measurement = problem.measurement
    if problem.likelihood.quadratic and not measurement.projection and problem.baseline is None:
        synthesise = synthesis_of(kernel, strides, fuse)
        return lambda w: measurement.adjoint(signal) if w is None else problem.residual(signal, synthesise(w))
    if not problem.likelihood.quadratic or problem.baseline is not None:
        synthesise = synthesis_of(kernel, strides, fuse)
        return lambda w: problem.residual(signal, ops.zeros_like(signal) if w is None else synthesise(w))
    subtract = _subtract(signal, kernel, strides, fuse)
    return lambda w: measurement.adjoint(signal if w is None else subtract(w))


def _subtract(signal: Tensor, kernel: Tensor, strides: Shape, fuse: bool) -> Callable[[Tensor], Tensor]:
    """The function ``w -> y - D w``."""
    if not fuse or is_thin(kernel, strides):
        return lambda w: signal - synthesis(w, kernel, strides)
    subtracted = synthesis_of(-kernel, strides, fuse)
    return lambda w: signal + subtracted(w)


def synthesis_of(kernel: Tensor, strides: Shape, fuse: bool) -> Callable[[Tensor], Tensor]:
    """The function ``w -> D w``; ``fuse``: both operators are plain convolutions."""
    if not (fuse and IS_TENSORFLOW) or is_thin(kernel, strides):
        return lambda w: synthesis(w, kernel, strides)
    # Axis by axis: OpenVINO converts no other reversal.
    reverse = tf.transpose(tf.reverse(tf.reverse(kernel, (0,)), (1,)), (0, 1, 3, 2))
    padding = [[0, 0], *([n - 1, n - 1] for n in kernel.shape[:2]), [0, 0]]
    return lambda w: tf.nn.conv2d(w, reverse, strides=1, padding=padding)
