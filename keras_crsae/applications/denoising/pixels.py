"""Images as users hold them, uint8 to float, gray to transparent, and the planes in [0, 1] that a model takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from crsae_onnx.core.validation import as_positive

from keras_crsae.data.images import image_array, unit_image
from keras_crsae.initializers import robust_sigma

#: Floats in [0, 1] with noise may reach so far beyond.
_LOWEST, _HIGHEST = -2.0, 3.0
#: Red, green, blue and transparency.
_MOST_COLOURS = 4


def split_mask(image: np.ndarray, mask: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """A plain array, and a mask of all that is missing in it, or None.

    Args:
        image: array; what a NumPy masked array masks (True) is missing.
        mask: None or 0/1, see ``as_mask``; what either marks is missing.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.denoising.pixels import split_mask
        >>> image, mask = split_mask(np.ma.masked_equal([[0.5, 9.0]], 9.0))
        >>> mask
        array([[ True, False]])
    """
    return split_own_mask(image_array(image), mask)


def split_own_mask(image: Any, mask: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """As ``split_mask``, of arrays of any dtype."""
    array, own = np.asarray(np.ma.getdata(image)), np.ma.getmask(image)
    if not np.any(own):
        return array, mask
    observed = ~np.ma.getmaskarray(image)
    return array, observed if mask is None else observed & (as_mask(mask, array.shape) > 0)


def as_unit_image(image: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """An image as float32 (height, width, channels) in [0, 1].

    Args:
        image: (height, width) or (height, width, channels); uint8, uint16, or floats in [0, 1].
        mask: None or 0/1, see ``as_mask``; missing pixels may hold anything, also NaN.

    Raises:
        ValueError: another dtype, shape or range; NaN; an invalid mask.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.denoising.pixels import as_unit_image
        >>> as_unit_image(np.full((4, 5), 255, "uint8")).shape
        (4, 5, 1)
    """
    array = np.asarray(image_array(image))
    if array.ndim not in (2, 3) or array.size == 0:
        raise ValueError("`image` must be one image (height, width) or (height, width, channels). "
                         f"Received: shape {array.shape}.")
    if mask is not None and array.dtype.kind == "f":
        valid = (array >= _LOWEST) & (array <= _HIGHEST)
        array = np.where(valid | (as_mask(mask, array.shape) > 0), array, array.dtype.type(0))
    if not np.isfinite(array).all():
        raise ValueError("`image` holds NaN or infinite values. Fill them first, or mark them as missing with `mask`.")
    if array.dtype.kind == "f" and (array.min() < _LOWEST or array.max() > _HIGHEST):
        raise ValueError(f"`image` holds floats from {array.min():.4g} to {array.max():.4g}. Expected gray levels in "
                         "[0, 1] (noise may reach beyond): divide by the largest level.")
    return unit_image(array[..., None] if array.ndim == 2 else array)


def restore_format(clean: np.ndarray, image: np.ndarray) -> np.ndarray:
    """A result in [0, 1] in the dtype, shape and range of the image it came from."""
    image = np.asarray(image)
    clean = np.clip(clean, 0.0, 1.0)
    if image.dtype.kind == "u":
        clean = np.rint(clean.astype(np.float64) * np.iinfo(image.dtype).max)
    return clean.astype(image.dtype).reshape(image.shape)


def split_alpha(image: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray | None]:
    """(colours, transparency) of (height, width, channels): of 2 or 4 channels the last, unless the model has as many.

    Args:
        image: (height, width, channels).
        channels: of the model.
    """
    if image.shape[-1] in (2, 4) and image.shape[-1] != channels:
        return image[..., :-1], image[..., -1:]
    return image, None


def to_planes(image: np.ndarray, channels: int) -> np.ndarray:
    """(height, width, colours) as a batch for a model of ``channels``: one image, or one for each colour.

    A model of three channels takes a gray image as three equal ones.

    Raises:
        ValueError: neither fits.
    """
    if image.shape[-1] == channels:
        return image[None]
    if channels == 1 and image.shape[-1] <= _MOST_COLOURS:
        return np.moveaxis(image, -1, 0)[..., None]
    if image.shape[-1] == 1 and channels == 3:
        return np.repeat(image, channels, axis=-1)[None]
    text = f"The model was trained on images of {channels} channels. Received: {image.shape[-1]} channels."
    if image.shape[-1] > _MOST_COLOURS:
        text += " Channels are the last axis; of a stack, or of more than four channels, give each image by itself."
    raise ValueError(text)


def from_planes(planes: np.ndarray, colours: int) -> np.ndarray:
    """The inverse of ``to_planes``; of channels that were equal, the mean."""
    if planes.shape[-1] == colours:
        return planes[0]
    return planes[0].mean(axis=-1, keepdims=True) if colours == 1 else np.moveaxis(planes[..., 0], 0, -1)


def as_mask(mask: Any, shape: tuple[int, ...], image_shape: tuple[int, ...] | None = None) -> np.ndarray:
    """0/1 float32 of an image's shape.

    Args:
        mask: 0/1 or bool array, or a ``PIL.Image`` of 1 bit, of (height, width), (height, width, 1), ``shape``,
            or ``image_shape``.
        shape: (height, width) or (height, width, channels) that is wanted.
        image_shape: None, or a shape with more channels, as of an image with its transparency.

    Raises:
        ValueError: another shape or other values, or nothing observed.
    """
    if hasattr(mask, "getbands"):
        mask = np.asarray(mask) if mask.mode == "1" else image_array(mask, "mask")
    mask = np.asarray(mask)
    shapes = [shape[:2], (*shape[:2], 1), shape, *([] if image_shape is None else [image_shape])]
    if mask.shape not in shapes:
        raise ValueError(f"`mask` must hold 0 and 1 in the image's shape {shapes[-1]} or {shape[:2]}. "
                         f"Received: shape {mask.shape}, {mask.dtype}.")
    if not np.isin(mask, (0, 1)).all():
        raise ValueError("`mask` must hold 0 and 1, and nothing else: 0 for a missing pixel. Received: values from "
                         f"{mask.min()} to {mask.max()}." + (" Give mask > 0." if mask.max() > 1 else ""))
    if not mask.any():
        raise ValueError("`mask` must hold 0 and 1, not 0 alone. Received: every pixel is masked or marked as missing.")
    if len(shape) == 2:
        return mask.reshape(shape).astype(np.float32)
    mask = mask[..., None] if mask.ndim == 2 else mask[..., :shape[-1]]
    return np.broadcast_to(mask, shape).astype(np.float32)


def as_noise_level(sigma: Any, zero: bool = False) -> float:
    """A noise level in units of [0, 1] as a float.

    Args:
        sigma: above 0, or 0 if ``zero``.
        zero: whether there may be no noise.

    Raises:
        ValueError: another value, or more than black to white: gray levels of 255.
    """
    if zero and sigma == 0:
        return 0.0
    level = as_positive(sigma, "sigma")
    if level > 1:
        raise ValueError("`sigma` must be in units of [0, 1], white minus black is 1: 25 of 255 gray levels are "
                         f"25 / 255. Received: sigma={sigma!r}")
    return level


def estimate_sigma(image: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Standard deviation of an image's noise, in units of [0, 1]: what ``denoise`` supposes without ``sigma``.

    Args:
        image: see ``denoise``.
        mask: None or 0/1; 0 marks a missing pixel, which is not looked at.

    Returns:
        ``robust_sigma`` of the colours; borders, saturated areas and transparency have no say. 0.0: no noise.

    Raises:
        ValueError: see ``denoise``.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.denoising import estimate_sigma
        >>> image = np.random.default_rng(0).normal(120, 25, (200, 200)).clip(0, 255).astype("uint8")
        >>> image[:60] = 0                                                # a black border
        >>> round(255 * estimate_sigma(image))
        25
    """
    image, mask = split_mask(image, mask)
    unit = as_unit_image(image, mask)
    colours = split_alpha(unit, 1)[0]
    observed = None if mask is None else as_mask(mask, colours.shape, unit.shape)[None]
    return robust_sigma(colours[None], 2, observed)
