"""Endless, seeded batches of (noisy, target) crops of images in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from crsae_onnx.core.spec_parts import REFERENCE_SIGMA, effective_sigma
from crsae_onnx.core.validation import as_positive, as_positive_int

from keras_crsae.backend import tf
from keras_crsae.typing import Tensor

#: Reach of the Gaussian blur in standard deviations, as scipy.ndimage.gaussian_filter has it.
_REACH = 4.0


def noisy_crops(images: Sequence[np.ndarray], size: int, batch_size: int, sigma: float | tuple[float, float],
                clean: Sequence[np.ndarray] | None = None, add_noise: bool = True, target: str = "clean",
                low_pass: float = 0.0, sigma_power: float = 0.0, sigma_weight: float = 0.0, seed: int = 0,
                start: int = 0) -> tf.data.Dataset:
    """Random square crops with noise, in units of the noise: ((crop + noise) / sigma, target / sigma).

    Batch number i depends on ``seed`` and i alone, so training that stops goes on as if it had not, with ``start``
    at the number of batches seen. From input and target alike the mean of the noisy crop is taken, or its slow part.

    Args:
        images: list of arrays (height, width, channels) of one number of channels: uint8, uint16 or floats in [0, 1].
        size: pixels of a crop's side.
        batch_size: crops of a batch.
        sigma: standard deviation of the noise in [0, 1], or (low, high): one drawn for each crop.
        clean: None, or the clean images of ``images``, which are then noisy already.
        add_noise: False: ``images`` hold noise of level ``sigma`` already (needed for ``clean``-less noisy images).
        target: "clean", or "noisy": the input itself (unsupervised).
        low_pass: width in pixels of the Gaussian blur of the noisy crop that is taken away; 0: its mean.
        sigma_power: of the ``Denoiser``, which changes the unit: sigma becomes sigma * (sigma / 0.1) ** sigma_power.
        sigma_weight: where it is not 0, each batch comes with a third tensor, the weight (sigma / 0.1) ** sigma_weight
            of each crop's loss. In units of the noise strong noise leaves the smaller errors.
        seed: int.
        start: number of the first batch.

    Returns:
        ``tf.data.Dataset`` of (noisy, target), float32 (batch_size, size, size, channels) each, without end; with
        ``sigma_weight`` of (noisy, target, weight), the last (batch_size,).

    Raises:
        ValueError: images smaller than a crop, of different channels, or pairs that do not match; sigma <= 0.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.data import noisy_crops
        >>> noisy, clean = next(iter(noisy_crops([np.zeros((64, 64, 1))], 32, 4, sigma=0.1)))
        >>> tuple(noisy.shape)
        (4, 32, 32, 1)
    """
    size, batch_size = as_positive_int(size, "size"), as_positive_int(batch_size, "batch_size")
    low, high = noise_range(sigma)
    if target not in ("clean", "noisy"):
        raise ValueError(f"`target` must be 'clean' or 'noisy'. Received: {target!r}")
    if target == "clean" and clean is None and not add_noise:
        raise ValueError("Without `clean` images and without added noise there is no clean target. Give target='noisy' "
                         "(unsupervised), or the clean images.")
    if target == "noisy" and clean is not None:
        raise ValueError("`clean` images have no use with target='noisy'. Omit them.")
    crops = RandomCrops(images, size, batch_size, clean)

    def batch(number: Tensor) -> tuple[Tensor, ...]:
        seeds = tf.random.split(tf.stack([tf.cast(number, tf.int32), tf.constant(seed, tf.int32)]), 3)
        seen, answer = crops.draw(seeds[0])
        level = tf.random.stateless_uniform((batch_size, 1, 1, 1), seeds[1], low, high) if high > low \
            else tf.fill((batch_size, 1, 1, 1), low)
        seen, answer = seen / level, answer / level
        if add_noise and clean is None:
            seen = seen + tf.random.stateless_normal(tf.shape(seen), seeds[2])
        if sigma_power:
            unit = level / effective_sigma(level, sigma_power)
            seen, answer = seen * unit, answer * unit
        answer = seen if target == "noisy" else answer
        slow = blur(seen, low_pass) if low_pass else tf.reduce_mean(seen, axis=(1, 2, 3), keepdims=True)
        if not sigma_weight:
            return seen - slow, answer - slow
        return seen - slow, answer - slow, tf.reshape(level / REFERENCE_SIGMA, (-1,)) ** sigma_weight

    batches = tf.data.Dataset.counter(start).map(batch, num_parallel_calls=1, deterministic=True)
    return batches.prefetch(2)


class RandomCrops:
    """Random square crops of images, turned and flipped, each the same for the same seed.

    Args:
        images, size, batch_size, clean: see ``noisy_crops``.

    Raises:
        ValueError: images smaller than a crop, of different channels, or pairs that do not match.
    """

    def __init__(self, images: Sequence[np.ndarray], size: int, batch_size: int,
                 clean: Sequence[np.ndarray] | None = None) -> None:
        self.size, self.batch_size = size, batch_size
        self.pixels, offsets, shapes = _packed(images, size, "images")
        self.pairs: Tensor | None = None
        if clean is not None:
            self.pairs, _, clean_shapes = _packed(clean, size, "clean")
            if not np.array_equal(shapes, clean_shapes):
                raise ValueError("`clean` must hold one image for each of `images`, of the same shape.")
        share = np.maximum(shapes - size + 1, 1).prod(axis=1).astype(float)
        self.bounds = tf.constant(np.cumsum(share) / share.sum(), tf.float32)
        self.offsets, self.shapes = tf.constant(offsets, tf.int64), tf.constant(shapes, tf.int64)
        self.grid = tf.cast(tf.range(size), tf.int64)

    def draw(self, seed: Tensor) -> tuple[Tensor, Tensor]:
        """(crops of the images, the same crops of ``clean``), float32 (batch, size, size, channels) in [0, 1]."""
        index = self._pixel_indices(seed)
        seen = _unit(tf.gather(self.pixels, index))
        return seen, seen if self.pairs is None else _unit(tf.gather(self.pairs, index))

    def _pixel_indices(self, seed: Tensor) -> Tensor:
        """Flat pixel index of each crop, (batch, size, size)."""
        count, size = self.batch_size, self.size
        draw = tf.random.stateless_uniform((count, 6), seed)
        which = tf.minimum(tf.searchsorted(self.bounds, draw[:, 0], side="right"), len(self.bounds) - 1)
        shape = tf.gather(self.shapes, which)
        free = tf.cast(shape - size + 1, tf.float32)
        corner = tf.minimum(tf.cast(draw[:, 1:3] * free, tf.int64), shape - size)
        row, column = (tf.broadcast_to(self.grid[:, None], (count, size, size)),
                       tf.broadcast_to(self.grid[None], (count, size, size)))
        turn, up, left = (draw[:, i, None, None] < 0.5 for i in (3, 4, 5))  # the eight symmetries of the square
        row, column = tf.where(turn, column, row), tf.where(turn, row, column)
        row, column = tf.where(up, size - 1 - row, row), tf.where(left, size - 1 - column, column)
        row, column = row + corner[:, 0, None, None], column + corner[:, 1, None, None]
        return tf.gather(self.offsets, which)[:, None, None] + row * shape[:, 1, None, None] + column


def noise_range(sigma: Any) -> tuple[float, float]:
    """(low, high) of ``sigma``, a number or a pair, in [0, 1] units."""
    values = tuple(sigma) if isinstance(sigma, list | tuple) else (sigma, sigma)
    if len(values) != 2:
        raise ValueError(f"`sigma` must be a number or (low, high). Received: {sigma!r}")
    low, high = (as_positive(v, "sigma") for v in values)
    if low > high or high > 1:
        raise ValueError("`sigma` must lie in (0, 1], in units where white is 1 (25 of 255 gray levels: 25 / 255), low "
                         f"before high. Received: {sigma!r}")
    return low, high


def blur(images: Tensor, width: float) -> Tensor:
    """Gaussian blur of standard deviation ``width`` pixels, edges mirrored, as ``scipy.ndimage.gaussian_filter``.

    Args:
        images: tensor (batch, height, width, channels), each side longer than four widths.
    """
    reach = int(_REACH * width + 0.5)
    taps = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / width))
    taps = (taps / taps.sum()).astype(np.float32)
    channels = images.shape[-1]
    for axis in (1, 2):
        pads = [(0, 0)] * 4
        pads[axis] = (reach, reach)
        shape = (-1, 1, 1, 1) if axis == 1 else (1, -1, 1, 1)
        kernel = tf.tile(tf.reshape(taps, shape), (1, 1, channels, 1))
        images = tf.nn.depthwise_conv2d(tf.pad(images, pads, mode="SYMMETRIC"), kernel, (1, 1, 1, 1), "VALID")
    return images


def _packed(images: Sequence[np.ndarray], size: int, name: str) -> tuple[tf.Tensor, np.ndarray, np.ndarray]:
    """All pixels in one array (pixels, channels), where each image begins, and (images, 2) heights and widths."""
    images = [np.asarray(image) for image in images]
    if not images:
        raise ValueError(f"`{name}` is empty. Give at least one image.")
    channels = images[0].shape[-1] if images[0].ndim == 3 else 0
    for i, image in enumerate(images):
        if image.ndim != 3 or image.shape[-1] != channels:
            raise ValueError(f"`{name}` must be arrays (height, width, channels) of one number of channels. Received: "
                             f"shape {image.shape} at {i}, {images[0].shape} at 0.")
        if min(image.shape[:2]) < size:
            raise ValueError(f"Image {i} of `{name}` has {image.shape[0]} x {image.shape[1]} pixels, fewer than a crop "
                             f"of {size} x {size}. Omit it or use smaller crops.")
        if image.dtype not in (np.uint8, np.uint16) and image.dtype.kind != "f":
            raise ValueError(f"Image {i} of `{name}` has dtype {image.dtype}. Expected uint8, uint16 or floats.")
    if len({image.dtype for image in images}) > 1 or images[0].dtype == np.float64:
        from keras_crsae.data.images import unit_image

        images = [unit_image(image) for image in images]
    shapes = np.array([image.shape[:2] for image in images], np.int64)
    counts = shapes.prod(axis=1)
    pixels = np.concatenate([image.reshape(-1, channels) for image in images])
    return tf.constant(pixels), np.cumsum(counts) - counts, shapes


def _unit(pixels: Tensor) -> Tensor:
    """float32 in [0, 1] from stored pixels."""
    values = tf.cast(pixels, tf.float32)
    return values / pixels.dtype.max if pixels.dtype.is_integer else values
