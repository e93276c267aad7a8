"""Endless, seeded batches of noisy crops of images in the images' own unit, each with its noise level."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from crsae_onnx.core.spec_parts import REFERENCE_SIGMA
from crsae_onnx.core.validation import as_positive_int

from keras_crsae.backend import tf
from keras_crsae.data.streams.noisy_crops import RandomCrops, noise_range
from keras_crsae.typing import Tensor

#: (crops in [0, 1], level (batch, 1, 1, 1), seed (2,)) -> (noisy crops, their targets, noise standard deviation
#: (batch, 1, 1, 1)), all in one unit that is the same for every level.
Noise = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def gaussian_noise(crops: Tensor, level: Tensor, seed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """White noise of standard deviation ``level``; the target is the clean crop.

    Args:
        crops: (batch, height, width, channels) in [0, 1].
        level: (batch, 1, 1, 1).
        seed: two ints.

    Returns:
        Noisy crops, targets, and ``level``.
    """
    return crops + level * tf.random.stateless_normal(tf.shape(crops), seed), crops, level


def levelled_crops(images: Sequence[np.ndarray], size: int, batch_size: int, sigma: float | tuple[float, float], *,
                   clean: Sequence[np.ndarray] | None = None, noise: Noise | None = gaussian_noise,
                   target: str = "clean", sigma_weight: float = 0.0, seed: int = 0, start: int = 0
                   ) -> tf.data.Dataset:
    """Random square crops with noise: ({"signal": crop + noise, "sigma": sigma}, target, weight of the loss).

    As ``noisy_crops``, but in the images' unit, for models whose thresholds are no multiples of the noise (``CDLNet``).
    From input and target alike the mean of the noisy crop is taken. The weight is (sigma / 0.1) ** (sigma_weight - 2):
    with 0 the loss is that of ``noisy_crops``, in units of the noise.

    Args:
        images, size, batch_size, clean, target, seed, start: see ``noisy_crops``.
        sigma: level of the noise, or (low, high): one drawn for each crop, evenly.
        noise: function that makes the noise, ``gaussian_noise`` or one's own; None: ``images`` are noisy already, at
            ``sigma``.
        sigma_weight: 1 makes crops of weak and of strong noise count about alike in decibels.

    Returns:
        ``tf.data.Dataset`` without end, float32: signal and target (batch_size, size, size, channels), sigma and weight
        (batch_size,).

    Raises:
        ValueError: see ``noisy_crops``.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.data.streams.levelled_crops import levelled_crops
        >>> noisy, clean, weight = next(iter(levelled_crops([np.zeros((64, 64, 1))], 32, 4, sigma=(0.1, 0.2))))
        >>> tuple(noisy["signal"].shape), tuple(noisy["sigma"].shape)
        ((4, 32, 32, 1), (4,))
    """
    size, batch_size = as_positive_int(size, "size"), as_positive_int(batch_size, "batch_size")
    low, high = noise_range(sigma)
    crops = RandomCrops(images, size, batch_size, clean)

    def batch(number: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        seeds = tf.random.split(tf.stack([tf.cast(number, tf.int32), tf.constant(seed, tf.int32)]), 3)
        seen, answer = crops.draw(seeds[0])
        level = tf.random.stateless_uniform((batch_size, 1, 1, 1), seeds[1], low, high) if high > low \
            else tf.fill((batch_size, 1, 1, 1), low)
        if noise is not None and clean is None:
            seen, answer, level = noise(seen, level, seeds[2])
        answer = seen if target == "noisy" else answer
        mean = tf.reduce_mean(seen, axis=(1, 2, 3), keepdims=True)
        level = tf.reshape(level, (-1,))
        weight = (level / REFERENCE_SIGMA) ** (sigma_weight - 2.0)
        return {"signal": seen - mean, "sigma": level}, answer - mean, weight

    batches = tf.data.Dataset.counter(start).map(batch, num_parallel_calls=1, deterministic=True)
    return batches.prefetch(2)
