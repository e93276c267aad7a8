"""The slow part of an image, which is kept as it is, and the rest, on which filters are learned."""

from __future__ import annotations

import numpy as np
from crsae_onnx.core.spec_parts import DenoiserSpec
from crsae_onnx.core.validation import as_positive

#: Standard deviation of the Gaussian blur, where a model does not say what it was trained with.
LOW_PASS_PIXELS = DenoiserSpec().low_pass
#: Smallest blurred mask that a blurred image is divided by, far from any observed pixel.
_LEAST_SEEN = 1e-3


def split_low_pass(images: np.ndarray, low_pass: float = LOW_PASS_PIXELS, mask: np.ndarray | None = None
                   ) -> tuple[np.ndarray, np.ndarray]:
    """(slow part, rest) of images, which add up to them.

    Args:
        images: (batch, height, width, channels).
        low_pass: standard deviation of the Gaussian blur in pixels; 0: the slow part is zero.
        mask: None or 0/1 of the images' shape; missing pixels take the blur of the observed ones.

    Returns:
        Two float32 arrays of the images' shape.

    Raises:
        ValueError: a negative or infinite ``low_pass``.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.denoising import split_low_pass
        >>> slow, rest = split_low_pass(np.ones((1, 16, 16, 1)))
        >>> bool(np.allclose(rest, 0, atol=1e-6))
        True
    """
    images = np.asarray(images, np.float32)
    if not low_pass:
        return np.zeros_like(images), images
    width = as_positive(low_pass, "low_pass")
    if mask is None:
        slow = _blur(images, width)
    else:
        slow = _blur(images * mask, width) / np.maximum(_blur(mask, width), _LEAST_SEEN)
    return slow, images - slow


def _blur(images: np.ndarray, width: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(images, (0, width, width, 0), mode="reflect")
