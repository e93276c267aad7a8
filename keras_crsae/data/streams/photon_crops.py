"""Endless, seeded batches of crops of images as counts of photons, of random peaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from crsae_onnx.core.validation import as_positive, as_positive_int

from keras_crsae.backend import tf
from keras_crsae.data.images import unit_image
from keras_crsae.data.streams.noisy_crops import RandomCrops
from keras_crsae.typing import Tensor


def photon_crops(images: Sequence[np.ndarray], size: int, batch_size: int, peak: float | tuple[float, float],
                 seed: int = 0, start: int = 0) -> tf.data.Dataset:
    """Random square crops as transformed counts: ({"signal": (A(n) - A(0)) sigma, "sigma": sigma}, clean).

    n ~ Poisson(peak * clean) with A(n) = 2 sqrt(n + 3/8), whose noise is about 1, and sigma = 1 / (A(peak) - A(0)), so
    that the signal lies in the range of the clean image. Batch number i depends on ``seed`` and i alone.

    Args:
        images: list of arrays (height, width, channels): uint8, uint16 or floats; each is scaled to a maximum of 1.
        size: pixels of a crop's side.
        batch_size: crops of a batch.
        peak: counts of white, or (low, high): one drawn for each crop, evenly in its logarithm.
        seed: int.
        start: number of the first batch.

    Returns:
        ``tf.data.Dataset`` without end, float32: signal and clean (batch_size, size, size, channels), sigma
        (batch_size,).

    Raises:
        ValueError: images smaller than a crop, of different channels, or black; an invalid peak.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.data.streams.photon_crops import photon_crops
        >>> counts, clean = next(iter(photon_crops([np.ones((64, 64, 1))], 32, 4, peak=(1, 8))))
        >>> tuple(counts["signal"].shape), tuple(counts["sigma"].shape)
        ((4, 32, 32, 1), (4,))
    """
    def transformed(counts: Tensor, peaks: Tensor, clean: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        sigma = 1.0 / _above_zero(peaks)
        return {"signal": _above_zero(counts) * sigma, "sigma": tf.reshape(sigma, (-1,))}, clean

    return _drawn(images, size, batch_size, peak, seed, start, transformed)


def count_crops(images: Sequence[np.ndarray], size: int, batch_size: int, peak: float | tuple[float, float],
                seed: int = 0, start: int = 0) -> tf.data.Dataset:
    """The crops of ``photon_crops`` as counts: ({"signal": counts, "exposure": peak}, peak * clean).

    For a model whose likelihood is Poisson: with the peak as exposure its mean is the clean image.

    Args:
        images, size, batch_size, peak, seed, start: see ``photon_crops``.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.data.streams.photon_crops import count_crops
        >>> counts, rate = next(iter(count_crops([np.ones((64, 64, 1))], 32, 4, peak=2)))
        >>> tuple(counts["exposure"].shape), float(rate[0, 0, 0, 0])
        ((4,), 2.0)
    """
    return _drawn(images, size, batch_size, peak, seed, start, lambda counts, peaks, clean: (
        {"signal": counts, "exposure": tf.reshape(peaks, (-1,))}, peaks * clean))


def _drawn(images: Sequence[np.ndarray], size: int, batch_size: int, peak: float | tuple[float, float], seed: int,
           start: int, batch_of: Callable[[Tensor, Tensor, Tensor], Any]) -> tf.data.Dataset:
    """``batch_of(counts, peaks, clean)`` of each batch, peaks (batch_size, 1, 1, 1)."""
    size, batch_size = as_positive_int(size, "size"), as_positive_int(batch_size, "batch_size")
    low, high = peak_range(peak)
    crops = RandomCrops([_scaled(image, index) for index, image in enumerate(images)], size, batch_size)

    def batch(number: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        seeds = tf.random.split(tf.stack([tf.cast(number, tf.int32), tf.constant(seed, tf.int32)]), 3)
        clean, _ = crops.draw(seeds[0])
        peaks = low * (high / low) ** tf.random.stateless_uniform((batch_size, 1, 1, 1), seeds[1])
        counts = tf.random.stateless_poisson(tf.shape(clean), seeds[2], peaks * clean, tf.float32)
        return batch_of(counts, peaks, clean)

    batches = tf.data.Dataset.counter(start).map(batch, num_parallel_calls=1, deterministic=True)
    return batches.prefetch(2)


def peak_range(peak: Any) -> tuple[float, float]:
    """(low, high) of ``peak``, a number of counts or a pair.

    Raises:
        ValueError: no positive numbers, or low above high.
    """
    values = tuple(peak) if isinstance(peak, list | tuple) else (peak, peak)
    if len(values) != 2:
        raise ValueError(f"`peak` must be a number of counts or (low, high). Received: {peak!r}")
    low, high = (as_positive(value, "peak") for value in values)
    if low > high:
        raise ValueError(f"`peak` must be (low, high) counts, low before high. Received: {peak!r}")
    return low, high


def _above_zero(counts: Tensor) -> Tensor:
    """A(counts) - A(0) of the Anscombe transform, see ``problem.anscombe``."""
    return 2.0 * (tf.sqrt(counts + 3.0 / 8.0) - float(np.sqrt(3.0 / 8.0)))


def _scaled(image: np.ndarray, index: int) -> np.ndarray:
    """The image as float32 with a maximum of 1."""
    unit = unit_image(np.asarray(image))
    largest = float(unit.max(initial=0.0))
    if not largest > 0 or unit.min() < 0:
        raise ValueError(f"Image {index} is black or holds negative values: it has no counts. Omit it.")
    return unit / np.float32(largest)
