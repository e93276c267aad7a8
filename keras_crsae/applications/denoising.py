"""Images without their noise: low-pass apart, sparse code of the rest, mean over the stride's shifts."""

import itertools
import math
import os

import numpy as np

from keras_crsae.checks import as_positive
from keras_crsae.data.images import unit_image
from keras_crsae.initializers import robust_sigma

#: Width (standard deviation, in pixels) of the Gaussian that takes the slow part of an image.
LOW_PASS = 2.0


def denoise(image, model, sigma=None, low_pass=LOW_PASS):
    """Remove white noise from an image.

    The slow part of the image (a Gaussian blur) is kept as it is; the model reconstructs the rest at the
    threshold of the image's own noise level, lambda * sigma of the model kept. A model with strides above 1
    sees each of the stride's shifts of the image, and their reconstructions are averaged (the shift averaging
    of CSCNet, Simon and Elad, arXiv 1909.05742).

    Args:
        image: (height, width) or (height, width, channels); uint8, uint16 or floats in [0, 1].
        model: ``CRsAE`` of rank 2, the path of its ``.keras`` file, or a ``crsae_onnx.SparseEncoder`` of one.
            A model of one channel takes each colour by itself.
        sigma: standard deviation of the noise, in units of [0, 1] (25 of 255 grey levels: 25 / 255);
            None: estimated from the finest diagonal wavelet coefficients.
        low_pass: standard deviation of the blur in pixels, as in training (see ``split``); 0: nothing is kept apart.

    Returns:
        Image of the same shape and dtype, in the same range. Where the estimated noise is zero, a copy.

    Raises:
        ValueError: another dtype, shape or range; NaN; a model of signals; channels that do not fit; sigma <= 0.

    Example:
        >>> clean = denoise(noisy, "denoiser.keras", sigma=25 / 255)
    """
    array = as_unit_image(image)
    reconstruct, facts = _runner(model)
    if sigma is not None:
        sigma = as_positive(sigma, "sigma")
    if facts["rank"] != 2:
        raise ValueError("`model` must be a model of images (rank 2). Received: a model of signals (rank "
                         f"{facts['rank']}).")
    planes = _planes(array, facts["channels"])
    if sigma is None:
        sigma = robust_sigma(array[None], rank=2) if min(array.shape[:2]) > 1 else 0.0
        if not sigma > 0:
            return np.array(image)
    low, rest = split(planes, low_pass)
    clean = low + average_over_shifts(lambda y: reconstruct(y, sigma), rest, facts["kernel_size"], facts["strides"])
    clean = clean[0] if facts["channels"] == array.shape[-1] else np.moveaxis(clean[..., 0], 0, -1)
    return _as_given(clean, image)


def split(images, low_pass=LOW_PASS):
    """(slow part, rest) of images; filters are learned on the rest.

    Args:
        images: (batch, height, width, channels).
        low_pass: standard deviation of the Gaussian blur in pixels; 0: the slow part is zero.

    Returns:
        Two float32 arrays of the images' shape, whose sum they are.

    Raises:
        ValueError: a negative or infinite ``low_pass``.

    Example:
        >>> slow, rest = split(np.ones((1, 16, 16, 1)))
        >>> bool(np.allclose(rest, 0, atol=1e-6))
        True
    """
    from scipy.ndimage import gaussian_filter

    images = np.asarray(images, np.float32)
    if not low_pass:
        return np.zeros_like(images), images
    width = as_positive(low_pass, "low_pass")
    low = gaussian_filter(images, (0, width, width, 0), mode="reflect")
    return low, images - low


def average_over_shifts(reconstruct, images, kernel_size, strides):
    """Mean of the reconstructions over all shifts below the stride, edges reflected.

    Args:
        reconstruct: function from (batch, height, width, channels) to the same shape.
        images: (batch, height, width, channels).
        kernel_size, strides: of the model, two ints each.
    """
    height, width = images.shape[1:3]
    total = np.zeros(images.shape, np.float64)
    for shift in itertools.product(*(range(s) for s in strides)):
        # A kernel's length on every side, so that border pixels lie under as many filters as inner ones.
        before = [k - 1 + i for k, i in zip(kernel_size, shift, strict=True)]
        after = [k - 1 + s - 1 - i for k, s, i in zip(kernel_size, strides, shift, strict=True)]
        padded = np.pad(images, [(0, 0), *zip(before, after, strict=True), (0, 0)], mode="reflect")
        total += reconstruct(padded)[:, before[0]:before[0] + height, before[1]:before[1] + width]
    return (total / math.prod(strides)).astype(np.float32)


def as_unit_image(image):
    """An image as float32 (height, width, channels) in units of [0, 1], or a ValueError."""
    array = np.asarray(image)
    if array.dtype not in (np.uint8, np.uint16) and array.dtype.kind != "f":
        raise ValueError(f"`image` must be uint8, uint16 or floats in [0, 1]. Received: dtype {array.dtype}. "
                         "Convert it first, for example image.astype('float32') / image.max().")
    if array.ndim not in (2, 3) or array.size == 0:
        raise ValueError("`image` must be one image (height, width) or (height, width, channels). "
                         f"Received: shape {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError("`image` holds NaN or infinite values. Fill them first.")
    if array.dtype.kind == "f" and (array.min() < -1 or array.max() > 2):
        raise ValueError(f"`image` holds floats from {array.min():.4g} to {array.max():.4g}. Expected grey levels in "
                         "[0, 1] (noise may reach beyond): divide by the largest level.")
    return unit_image(array[..., None] if array.ndim == 2 else array)


def _as_given(clean, image):
    """Back to the dtype, shape and range of the image given."""
    image = np.asarray(image)
    clean = np.clip(clean, 0.0, 1.0)
    if image.dtype.kind == "u":
        clean = np.rint(clean.astype(np.float64) * np.iinfo(image.dtype).max)
    return clean.astype(image.dtype).reshape(image.shape)


def _planes(array, channels):
    """Batch (n, height, width, channels) for a model of ``channels``: one image, or one for each colour."""
    if array.shape[-1] == channels:
        return array[None]
    if channels == 1:
        return np.moveaxis(array, -1, 0)[..., None]
    raise ValueError(f"The model was trained on images of {channels} channels. Received: {array.shape[-1]} channels.")


def _runner(model):
    """(function of a batch and sigma, facts) of a CRsAE, its file, or an exported encoder."""
    if isinstance(model, str | os.PathLike):
        from keras_crsae.loading import load_crsae

        model = load_crsae(model)
    if hasattr(model, "info") and hasattr(model, "reconstruct"):
        own = model.info["sigma"]
        # In units of the model's sigma: its threshold is then the image's.
        return lambda y, sigma: model.reconstruct(y * np.float32(own / sigma)) * np.float32(sigma / own), model.info
    from keras_crsae.model import CRsAE

    if not isinstance(model, CRsAE):
        raise ValueError("`model` must be a CRsAE, the path of its .keras file or a crsae_onnx.SparseEncoder. "
                         f"Received: {type(model).__name__}.")
    if not model.built:
        raise ValueError("The model has no filters yet: fit it, or load a trained one.")
    dictionary = model.dictionary
    facts = {"rank": model.rank, "channels": dictionary.channels, "kernel_size": dictionary.kernel_size,
             "strides": dictionary.strides}
    return lambda y, sigma: np.asarray(model(y, sigma=sigma)), facts
