"""The output "denoised" of an exported file in NumPy, for comparison: a model that encodes and decodes, averaged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crsae_onnx.core.cycle_spinning import average_over_shifts
from crsae_onnx.core.spec import EncoderSpec, Reference
from crsae_onnx.core.spec_parts import DenoiserSpec, effective_sigma

Array = NDArray[np.floating]


def denoise_by_reference(reference: Reference, spec: EncoderSpec, image: Array, sigma: float) -> Array:
    """One image (1, height, width, channels) in [0, 1] without its noise, as the output "denoised" is defined (NumPy).

    Args:
        reference: encodes and decodes.
        spec: of the model.
        image: with noise of standard deviation ``sigma``.
        sigma: in units of [0, 1].

    Returns:
        float array of the image's shape.
    """
    denoiser = spec.denoiser or DenoiserSpec()
    slow = gaussian_blur(image, denoiser.low_pass) if denoiser.low_pass else image.mean(axis=(1, 2, 3), keepdims=True)
    level = np.float32(effective_sigma(sigma, denoiser.sigma_power))

    def reconstruct(batch: Array) -> Array:
        code = reference.encode(batch.astype(np.float32), sigma=level)
        return reference.decode(code)[:, :batch.shape[1], :batch.shape[2]]

    rest = average_over_shifts(reconstruct, image - slow, spec.kernel_size, spec.strides)
    return np.clip(slow + rest, 0.0, 1.0)


def gaussian_blur(images: Array, width: float) -> Array:
    """Gaussian blur of standard deviation ``width`` pixels, cut at 4 of them, edges mirrored with the edge repeated."""
    radius = int(4 * width + 0.5)
    weight = np.exp(-0.5 * (np.arange(-radius, radius + 1) / width) ** 2)
    for axis in (1, 2):
        pads = [(radius, radius) if at == axis else (0, 0) for at in range(images.ndim)]
        padded = np.pad(images, pads, mode="symmetric")
        shifted = [w * np.take(padded, range(i, i + images.shape[axis]), axis=axis)
                   for i, w in enumerate(weight / weight.sum())]
        images = np.sum(shifted, axis=0)
    return images
