"""Images as users hold them, uint8 to float, gray to transparent, and the planes in [0, 1] that a model takes."""

from __future__ import annotations

import numpy as np

from keras_crsae.data.images import INTEGER_PIXELS, unit_image

#: Floats in [0, 1] with noise may reach so far beyond.
_LOWEST, _HIGHEST = -2.0, 3.0


def as_unit_image(image: np.ndarray) -> np.ndarray:
    """An image as float32 (height, width, channels) in [0, 1].

    Args:
        image: (height, width) or (height, width, channels); uint8, uint16, or floats in [0, 1].

    Raises:
        ValueError: another dtype, shape or range; NaN.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.denoising.pixels import as_unit_image
        >>> as_unit_image(np.full((4, 5), 255, "uint8")).shape
        (4, 5, 1)
    """
    array = np.asarray(image)
    if array.dtype not in INTEGER_PIXELS and array.dtype.kind != "f":
        raise ValueError(f"`image` must be uint8, uint16 or floats in [0, 1]. Received: dtype {array.dtype}. "
                         "Convert it first, for example image.astype('float32') / image.max().")
    if array.ndim not in (2, 3) or array.size == 0:
        raise ValueError("`image` must be one image (height, width) or (height, width, channels). "
                         f"Received: shape {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError("`image` holds NaN or infinite values. Fill them first.")
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

    Raises:
        ValueError: neither fits.
    """
    if image.shape[-1] == channels:
        return image[None]
    if channels == 1:
        return np.moveaxis(image, -1, 0)[..., None]
    raise ValueError(f"The model was trained on images of {channels} channels. Received: {image.shape[-1]} channels.")


def from_planes(planes: np.ndarray, colours: int) -> np.ndarray:
    """The inverse of ``to_planes``."""
    return planes[0] if planes.shape[-1] == colours else np.moveaxis(planes[..., 0], 0, -1)


def as_mask(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """0/1 float32 of an image's shape (height, width, channels).

    Raises:
        ValueError: another shape or other values, or nothing observed.
    """
    mask = np.asarray(mask)
    if mask.shape not in (shape, shape[:2], (*shape[:2], 1)) or not np.isin(mask, (0, 1)).all() or not mask.any():
        raise ValueError(f"`mask` must hold 0 and 1 (not 0 alone) in the image's shape {shape} or {shape[:2]}. "
                         f"Received: shape {mask.shape}, {mask.dtype}.")
    return np.broadcast_to(mask[..., None] if mask.ndim == 2 else mask, shape).astype(np.float32)
