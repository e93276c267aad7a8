"""Denoise images: keep their slow part, code the rest, and average over the shifts of the stride's grid."""

from __future__ import annotations

from typing import Any

import numpy as np
from crsae_onnx.core.progress import Progress

from keras_crsae.applications.denoising.counts import check_noise, denoise_counts
from keras_crsae.applications.denoising.image_model import as_image_model, zoo_denoiser
from keras_crsae.applications.denoising.pixels import (
    as_mask,
    as_noise_level,
    as_unit_image,
    from_planes,
    restore_format,
    split_alpha,
    split_mask,
    to_planes,
)
from keras_crsae.applications.denoising.smoothing import TILE_PIXELS, as_tile, remove_noise
from keras_crsae.initializers import robust_sigma


def denoise(image: np.ndarray, model: Any = None, sigma: float | None = None, low_pass: float | None = None,
            shifts: int | None = None, mask: np.ndarray | None = None, tile: int | None = TILE_PIXELS,
            progress: bool | Progress | None = None, *, noise: str = "gaussian", peak: float | None = None,
            bins: int | None = None, quality: str | None = None) -> np.ndarray:
    """Remove white noise, or the noise of counts, from an image, and fill in pixels that are missing.

    The slow part of the image (its mean, or a Gaussian blur, as in the model's training) is kept as it is; the model
    reconstructs the rest at the penalty weight of the image's own noise level, lambda * sigma of the model kept. A
    model with strides above 1 sees shifts of the image below its stride, and their reconstructions are averaged (cycle
    spinning; Simon and Elad, arXiv 1909.05742).

    Missing pixels are filled in by eight denoises, at levels that fall to the image's own, between which the observed
    pixels are put back (``inpainting.inpaint``); all but the last take a quarter of the shifts. Of observed pixels no
    more is removed than there is noise: without noise they stay as they are.

    With ``noise="poisson"`` the image holds counts (of photons), whole numbers >= 0. They are transformed to noise of
    standard deviation 1 (Anscombe), denoised, and brought back by the exact unbiased inverse (Makitalo and Foi, 2011);
    few counts are added up on bins first. The result is the rate of each pixel in counts, float32, with the sum of the
    counts kept.

    Args:
        image: (height, width) or (height, width, channels); uint8, uint16 or floats in [0, 1]; a ``PIL.Image`` counts
            as what a viewer shows. Of 2 or 4 channels
            the last is transparency, which is kept as it is (unless the model has as many channels). What a NumPy
            masked array masks is missing.
        model: name of a zoo model, ``CRsAE`` of rank 2, the path of its ``.keras`` file, or a
            ``crsae_onnx.SparseEncoder`` of one; None: "denoise-color" for three colours, else "denoise-gray". A model
            of one channel takes each colour by itself, one of three a gray image as three equal colours.
        sigma: standard deviation of the noise, in units of [0, 1] (25 of 255 gray levels: 25 / 255);
            None: ``estimate_sigma``, from the finest diagonal wavelet coefficients. 0, with a mask: the observed
            pixels are kept to the bit, and only holes are filled.
        low_pass: standard deviation of the blur in pixels (see ``split_low_pass``); None: the model's own.
        shifts: None: all shifts of the stride's grid are averaged; n: only n of them, far from each other. Time is in
            proportion.
        mask: None or 0/1 of (height, width), the colours' or the image's shape; 0 marks a missing pixel, which has no
            influence and may hold anything, also NaN.
        tile: side of the pieces that are computed at a time, in pixels; None: the image in one piece.
        progress: True: a bar (lines where no terminal is); or ``callable(step, fraction)``.
        noise: "gaussian" (white), or "poisson": the image holds counts; without ``model`` "denoise-poisson" takes peaks
            up to 8, "denoise-gray" higher ones, colour by colour.
        peak: of counts, the rate of white in counts a pixel; None: estimated (``counts.estimate_peak``). It sets the
            noise level that the model is given, and bounds nothing.
        bins: of counts, the side in pixels (1, 2 or 4) of squares that are added up first; None: the smallest with
            enough counts for the model (of "denoise-poisson", averaged with the next), 1 with a mask.
        quality: "fast" averages a quarter of the shifts, at most eight; "best" all of them, or, of a model of stride 1,
            which has one, the image and a turned copy. None: ``shifts`` says it.

    Returns:
        Image of the same shape and dtype, in the same range; of counts, float32 rates in counts. Where the estimated
        noise is zero and nothing is missing, a copy.

    Raises:
        ValueError: another dtype, shape or range; NaN; a model of signals; channels that do not fit; sigma <= 0
            (< 0 with a mask) or > 1; an invalid mask; counts that are negative or no whole numbers; ``sigma`` with
            counts, ``peak`` or ``bins`` without.

    Warns:
        UserWarning: a hole is wider than the model's filters.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.denoising import denoise
        >>> clean = np.kron(np.eye(4), np.ones((12, 12)))
        >>> noisy = clean + 25 / 255 * np.random.default_rng(0).standard_normal(clean.shape)
        >>> result = denoise(noisy, "denoise-gray-25", sigma=25 / 255)
        >>> bool(np.square(result - clean).mean() < 0.2 * np.square(noisy - clean).mean())
        True
        >>> counts = np.random.default_rng(0).poisson(4 * clean)
        >>> rate = denoise(counts, noise="poisson", peak=4)
        >>> bool(np.square(rate - 4 * clean).mean() < 0.5 * np.square(counts - 4 * clean).mean())
        True
    """
    if check_noise(noise, sigma, peak, bins):
        return denoise_counts(image, model, peak, low_pass, shifts, mask, tile, progress, bins, quality)
    image, mask = split_mask(image, mask)
    unit = as_unit_image(image, mask)
    sigma = None if sigma is None else as_noise_level(sigma, zero=mask is not None)
    image_model = as_image_model(zoo_denoiser(image) if model is None else model)
    if image_model.takes_counts:
        raise ValueError("`model` is one of counts, whose noise follows from them. Give counts and noise='poisson', or "
                         "another model.")
    colours, alpha = split_alpha(unit, image_model.channels)
    planes = to_planes(colours, image_model.channels)
    observed = None if mask is None else to_planes(as_mask(mask, colours.shape, unit.shape), image_model.channels)
    (image_model, grid), tile = image_model.at_quality(quality, shifts), as_tile(tile)
    if sigma is None:
        sigma = robust_sigma(planes, 2, observed) if min(unit.shape[:2]) > 1 else 0.0
    if observed is not None and observed.all():
        observed = None
    if observed is None and not sigma > 0:
        return np.array(image)
    clean = remove_noise(planes, observed, sigma, image_model, low_pass, grid, tile, progress)
    clean = from_planes(clean, colours.shape[-1])
    return restore_format(clean if alpha is None else np.concatenate([clean, alpha], axis=-1), image)
