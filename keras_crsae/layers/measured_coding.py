"""The encoder on measured signals: the problem min 1/2 ||y - Phi D z||^2 + penalty of one batch, and what D becomes.

A matrix makes a dictionary of one code position (filters as long as the signal) another dictionary of the same kind,
Phi D, which is computed once a batch: the iterations then never see the signal. Other measurements stand between D and
the data in each iteration, on plain arrays: blocks of positions (``operators.polyphase``) would have to be taken apart
for them.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_crsae.layers.conv_dictionary import ConvDictionary
from keras_crsae.layers.folded_problem import FoldedProblem, Tensors
from keras_crsae.operators import matrices
from keras_crsae.operators.convolution import signal_length
from keras_crsae.problem.likelihoods import Likelihood
from keras_crsae.problem.matrix import PickedMatrix
from keras_crsae.problem.measured_signal import MeasuredSignal
from keras_crsae.problem.measurements import Measurement
from keras_crsae.typing import Tensor


def check_measurement(measurement: Measurement, dictionary: ConvDictionary, likelihood: Likelihood) -> None:
    """ValueError for a measurement that a cell of this dictionary and likelihood cannot have."""
    measurement.check(dictionary.rank)
    if measurement.is_mask or likelihood.quadratic:
        return
    raise ValueError(f"Measurements other than masks are for Gaussian noise. Received: measurement={measurement!r}, "
                     f"likelihood={type(likelihood).__name__}. Give a mask of each signal, or likelihood='gaussian'.")


def check_encoder(measurement: Measurement, adaptive: bool = False, **options: Any) -> None:
    """ValueError for options of an encoder that its measurement excludes.

    Args:
        measurement: of the cell.
        adaptive: whether the solver finds its step sizes.
        **options: name -> whether it is in use.
    """
    if measurement.is_mask:
        return
    if adaptive:
        raise ValueError("The solver finds step sizes for data that are signals, and with the measurement "
                         f"{measurement!r} they are known: use solver='fista'.")
    for name, used in options.items():
        if used:
            raise ValueError(f"The measurement {measurement!r} mixes samples that `{name}` works on one by one. Leave "
                             f"out `{name}`, or the measurement.")


class MeasuredDictionary:
    """Phi D and its adjoint, for what asks a dictionary of the plain problem for them.

    Args:
        dictionary: D.
        measurement: Phi of a batch.
        data: (batch, *space, channels), for the sizes.
    """

    def __init__(self, dictionary: ConvDictionary, measurement: Measurement, data: Tensor) -> None:
        self.dictionary = dictionary
        self._measured = measured_signal(measurement, dictionary, measurement.signal_space(ops.shape(data)[1:-1]))

    def synthesis(self, code: Tensor) -> Tensor:
        """Phi D z."""
        return self._measured.forward(self.dictionary.synthesis(code))

    def adjoint(self, data: Tensor) -> Tensor:
        """D^T Phi^T y."""
        return self.dictionary.adjoint(self._measured.adjoint(data))


def measured_problem(encoder: Any, data: Tensor, mask: Tensor | None, threshold: Tensor, support: Tensor | None,
                     operator: Tensor | None, in_place: bool) -> FoldedProblem:
    """What the iterations run on.

    Args:
        encoder: ``SparseCoding``.
        data: y, (batch, *space, channels).
        mask: None, or weights of its shape.
        threshold: of a step of ``encoder.cell.step_size``; longer ones are taken where a batch's matrix allows them.
        support: None, or 0/1 broadcastable to the code.
        operator: None, or the number of each signal's matrix, () or (batch,).
        in_place: whether operations may work in place.
    """
    cell, dictionary = encoder.cell, encoder.cell.dictionary
    kernel, threshold, step_size = (ops.cast(v, data.dtype) for v in (
        dictionary.unit_kernel(), threshold, ops.stop_gradient(cell.step_size.value)))
    measurement = cell.measurement.of_batch(operator, data.dtype)
    space = measurement_space(cell.measurement, data)
    positions = dictionary.code_space(space)
    batch, filters = ops.shape(data)[0], kernel.shape[-1]
    if support is not None:
        support = ops.cast(support, data.dtype)
        support = ops.broadcast_to(support, (ops.shape(support)[0], *positions, filters))
    own_steps = cell.step_size_init == "auto" and cell.measurement.count is not None
    if _is_dense(measurement, positions) and not cell.code_prior.group_axes:
        tensors = _dense(Tensors(data, mask, kernel, None, threshold, step_size, support), measurement)
        if own_steps:
            tensors = _with_longer_steps(tensors, _dense_eigenvalue(tensors.kernel))
        return FoldedProblem(tensors, cell.likelihood, cell.code_prior, (1, 1), (batch, 1, 1, filters), positions,
                             (1,) * dictionary.rank, in_place, channels=tensors.kernel.shape[-2])
    tensors = Tensors(data, mask, kernel, None, threshold, step_size, support)
    if own_steps:
        found = measurement.largest_eigenvalue(kernel, dictionary.strides, lambda: 1.0 / step_size)
        tensors = _with_longer_steps(tensors, found)
    return FoldedProblem(tensors, cell.likelihood, cell.code_prior, dictionary.strides, (batch, *positions, filters),
                         positions, None, in_place, channels=kernel.shape[-2],
                         measurement=measured_signal(measurement, dictionary, space, mask))


def measurement_space(measurement: Measurement, data: Tensor) -> tuple[Any, ...]:
    """Sizes of the signal that data were measured of."""
    return measurement.signal_space(ops.shape(data)[1:-1])


def measured_signal(measurement: Measurement, dictionary: ConvDictionary, space: tuple[Any, ...],
              observed: Tensor | None = None) -> MeasuredSignal:
    """Phi of a batch on D z, whose sizes are whole strides."""
    padded = tuple(signal_length(m, k, s) for m, k, s in
                   zip(dictionary.code_space(space), dictionary.kernel_size, dictionary.strides, strict=True))
    return MeasuredSignal(measurement, space, padded, observed)


def _is_dense(measurement: Measurement, positions: tuple[Any, ...]) -> bool:
    """Whether Phi D is a matrix of a column a filter, the same for all signals."""
    return isinstance(measurement, PickedMatrix) and measurement.shared and \
        all(isinstance(n, int) and n == 1 for n in positions)


def _dense(tensors: Tensors, measurement: Measurement) -> Tensors:
    """The problem as one of a single position: data are channels of a pixel, Phi D the kernel."""
    columns = measurement.forward(ops.moveaxis(tensors.kernel, -1, 0))  # filters are signals
    filters = columns.shape[0]
    matrix = ops.transpose(ops.reshape(columns, (filters, -1)))
    data, mask, exists = (None if a is None else ops.reshape(a, (-1, 1, 1, n)) for a, n in
                          ((tensors.signal, matrix.shape[0]), (tensors.observed, matrix.shape[0]),
                           (tensors.exists, filters)))
    threshold = tensors.threshold
    if len(threshold.shape) > 1:
        threshold = ops.reshape(threshold, (-1, 1, 1, threshold.shape[-1]))
    return tensors._replace(signal=data, observed=mask, kernel=matrix[None, None], threshold=threshold, exists=exists)


def _dense_eigenvalue(kernel: Tensor) -> Tensor | None:
    """Bound of the largest eigenvalue of the Gram matrix of a kernel of one position."""
    matrix = kernel[0, 0]
    if min(matrix.shape) > matrices.MOST_ROWS:
        return None
    wide = matrix.shape[0] <= matrix.shape[1]
    return matrices.largest_eigenvalue(ops.matmul(matrix, ops.transpose(matrix)) if wide else
                                       ops.matmul(ops.transpose(matrix), matrix))


def _with_longer_steps(tensors: Tensors, largest: Tensor | None) -> Tensors:
    """Steps of 1 / ``largest`` where they are longer; the threshold goes with them."""
    if largest is None:
        return tensors
    step = ops.maximum(tensors.step_size, 1.0 / ops.stop_gradient(largest))
    longer = step / tensors.step_size
    if len(longer.shape):  # one a signal
        longer = ops.reshape(longer, (-1,) + (1,) * (len(tensors.signal.shape) - 1))
    return tensors._replace(step_size=step, threshold=tensors.threshold * longer)
