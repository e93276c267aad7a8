"""Cycle spinning in TensorFlow: shifts of images cut as one batch, and the mean of what was computed on them.

Which pixels a shift takes is written in ``crsae_onnx.core.cycle_spinning``.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
from crsae_onnx.core.cycle_spinning import all_shifts, padded_length, padding, spread_shifts
from crsae_onnx.core.validation import as_positive_int
from keras import ops

from keras_crsae.backend import tf
from keras_crsae.layers import ConvDictionary, SparseCoding
from keras_crsae.losses import weighted_error
from keras_crsae.training.inputs import Batch
from keras_crsae.typing import Tensor


def random_shifts(strides: tuple[int, ...], count: int, seed: Tensor) -> Tensor:
    """``count`` different shifts, int32 tensor (count, 2), from a stateless ``seed`` (2,)."""
    every = tf.constant(all_shifts(strides))
    order = tf.argsort(tf.random.stateless_uniform((math.prod(strides),), seed))
    return tf.gather(every, order[:count])


def cut_shifts(images: Tensor, shifts: Any, kernel_size: tuple[int, ...], strides: tuple[int, ...]) -> Tensor:
    """Padded shifts of images as one batch, shift by shift.

    Args:
        images: tensor (batch, height, width, channels).
        shifts: (count, 2) ints, tensor or array.
        kernel_size, strides: of the model, two ints each.

    Returns:
        (count * batch, padded height, padded width, channels).
    """
    space = [int(n) if n is not None else tf.shape(images)[axis] for axis, n in ((1, images.shape[1]),
                                                                                 (2, images.shape[2]))]
    sizes = [padded_length(n, k, s) for n, k, s in zip(space, kernel_size, strides, strict=True)]
    pads = [padding(n, k, s) for n, k, s in zip(space, kernel_size, strides, strict=True)]
    padded = tf.pad(images, [(0, 0), *pads, (0, 0)], mode="REFLECT")
    corner = np.array(strides, np.int32) - 1
    cut = []
    for shift in tf.unstack(tf.convert_to_tensor(shifts, tf.int32)):
        begin = tf.concat([[0], corner - shift, [0]], axis=0)
        cut.append(tf.slice(padded, begin, tf.stack([-1, *sizes, -1])))
    static = (n if isinstance(n, int) else None for n in sizes)
    return tf.ensure_shape(tf.concat(cut, axis=0), (None, *static, images.shape[-1]))


def mean_of_shifts(images: Tensor, shifts: Any, space: Any, kernel_size: tuple[int, ...],
                   strides: tuple[int, ...]) -> Tensor:
    """Mean of images that were computed from ``cut_shifts``, each moved back to its place.

    Args:
        images: (count * batch, padded height, padded width, channels).
        shifts: (count, 2) ints, those that were cut.
        space: (height, width) of the images.
        kernel_size, strides: of the model.

    Returns:
        (batch, height, width, channels).
    """
    shifts = tf.convert_to_tensor(shifts, tf.int32)
    least = np.array(kernel_size, np.int32) - np.array(strides, np.int32)
    parts = [tf.slice(part, tf.concat([[0], least + shift, [0]], axis=0), tf.stack([-1, *space, -1]))
             for part, shift in zip(tf.split(images, shifts.shape[0]), tf.unstack(shifts), strict=True)]
    return tf.add_n(parts) / len(parts)


class SpinningModel(Protocol):
    """What cycle spinning reads of the model that owns it."""

    kernel_size: tuple[int, ...]
    seed: int | None
    encoder: SparseCoding
    optimizer: Any

    @property
    def dictionary(self) -> ConvDictionary: ...

    @property
    def decoder(self) -> ConvDictionary: ...

    @property
    def sigma(self) -> Any: ...


class CycleSpinning:
    """Forward pass of the first stage that compares the mean over random shifts of the stride's grid.

    The code of each image is computed on ``shifts`` random places of the grid, edges reflected, and the mean of the
    reconstructions is compared with the target (Simon and Elad, arXiv 1909.05742). A model of images sets it as
    ``forward`` of its trainer.

    Args:
        model: the model that owns it, of rank 2.
        shifts: shifts averaged in one step.
    """

    def __init__(self, model: SpinningModel, shifts: int) -> None:
        self.model, self.shifts = model, shifts

    def __call__(self, batch: Batch, training: bool) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        code, reconstruction = self.reconstruct(batch, training)
        return code, weighted_error(batch.target, reconstruction, batch.observed, batch.weight)

    def reconstruct(self, batch: Batch, training: bool) -> tuple[Tensor, Tensor]:
        """(codes of the shifts, mean of their reconstructions)."""
        model = self.model
        sizes, shifts = (model.kernel_size, model.dictionary.strides), self._chosen(training)
        observed = None if batch.observed is None else cut_shifts(batch.observed, shifts, *sizes)
        level = {} if batch.sigma is None else {"sigma": tf.tile(batch.sigma, [self.shifts])}
        code = model.encoder(cut_shifts(batch.signal, shifts, *sizes), mask=observed, training=training, **level)
        reconstruction = tf.cast(model.decoder(code), batch.target.dtype)
        reconstruction = mean_of_shifts(reconstruction, shifts, ops.shape(batch.signal)[1:-1], *sizes)
        return tf.cast(code, batch.target.dtype), reconstruction

    def _chosen(self, training: bool) -> Tensor:
        """Random shifts in a training step, drawn from the step's number, so that a resumed training draws the same."""
        strides = self.model.dictionary.strides
        if not training:
            return spread_shifts(strides, self.shifts)
        step = tf.cast(self.model.optimizer.iterations.value, tf.int32)
        return random_shifts(strides, self.shifts, tf.stack([step, self.model.seed or 0]))


def as_training_shifts(value: Any, strides: tuple[int, ...]) -> int | None:
    """Shifts of a training step, no more than there are; None: the plain loss."""
    return None if value is None else min(as_positive_int(value, "training_shifts"), math.prod(strides))


def as_low_pass(value: Any) -> float:
    """Width of a blur in pixels, or a ValueError."""
    if not value >= 0:
        raise ValueError(f"`low_pass` must be 0 or a positive number of pixels. Received: {value!r}")
    return float(value)
