"""Denoise images: keep their slow part, code the rest, and average over the shifts of the stride's grid."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from crsae_onnx.core.cycle_spinning import average_over_shifts, spread_shifts
from crsae_onnx.core.progress import Progress, progress_bar
from crsae_onnx.core.spec import effective_sigma
from crsae_onnx.core.validation import as_positive_int

from keras_crsae.applications.denoising.image_model import ImageModel, as_image_model, zoo_denoiser
from keras_crsae.applications.denoising.inpainting import InpaintingParameters, inpaint, warn_of_wide_holes
from keras_crsae.applications.denoising.low_pass import split_low_pass
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
from keras_crsae.initializers import robust_sigma

#: Side of the pieces in which large images are denoised, in pixels; memory is that of one piece.
TILE_PIXELS = 512
#: Pixels around a tile that are computed and thrown away, in kernel sizes: wider than what reaches into the tile.
_HALO_KERNELS = 3
#: One in so many shifts of the grid is averaged in each round of filling in; the last averages all.
_SHIFTS_PER_ROUND = 4


def denoise(image: np.ndarray, model: Any = None, sigma: float | None = None, low_pass: float | None = None,
            shifts: int | None = None, mask: np.ndarray | None = None, tile: int | None = TILE_PIXELS,
            progress: bool | Progress | None = None) -> np.ndarray:
    """Remove white noise from an image, and fill in pixels that are missing.

    The slow part of the image (its mean, or a Gaussian blur, as in the model's training) is kept as it is; the model
    reconstructs the rest at the penalty weight of the image's own noise level, lambda * sigma of the model kept. A
    model with strides above 1 sees shifts of the image below its stride, and their reconstructions are averaged (cycle
    spinning; Simon and Elad, arXiv 1909.05742).

    Missing pixels are filled in by eight denoises, at levels that fall to the image's own, between which the observed
    pixels are put back (``inpainting.inpaint``); all but the last take a quarter of the shifts. Of observed pixels no
    more is removed than there is noise: without noise they stay as they are.

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

    Returns:
        Image of the same shape and dtype, in the same range. Where the estimated noise is zero and nothing is
        missing, a copy.

    Raises:
        ValueError: another dtype, shape or range; NaN; a model of signals; channels that do not fit; sigma <= 0
            (< 0 with a mask) or > 1; an invalid mask.

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
    """
    image, mask = split_mask(image, mask)
    unit = as_unit_image(image, mask)
    sigma = None if sigma is None else as_noise_level(sigma, zero=mask is not None)
    image_model = as_image_model(zoo_denoiser(image) if model is None else model)
    colours, alpha = split_alpha(unit, image_model.channels)
    planes = to_planes(colours, image_model.channels)
    observed = None if mask is None else to_planes(as_mask(mask, colours.shape, unit.shape), image_model.channels)
    grid = spread_shifts(image_model.strides, shifts)
    tile = None if tile is None else as_positive_int(tile, "tile")
    if sigma is None:
        sigma = robust_sigma(planes, 2, observed) if min(unit.shape[:2]) > 1 else 0.0
    if observed is not None and observed.all():
        observed = None
    if observed is None and not sigma > 0:
        return np.array(image)
    with progress_bar(progress) as report:
        done = _counter(report, planes.shape, image_model, grid, tile, observed is None)
        if observed is None:
            clean = _smooth(planes, sigma, image_model, low_pass, grid, tile, done)
        else:
            warn_of_wide_holes(observed, image_model.kernel_size)
            clean = inpaint(planes, observed, lambda filled, level, number: _smooth(
                filled, level, image_model, low_pass, _some_shifts(grid, number), tile, done), sigma)
    clean = from_planes(clean, colours.shape[-1])
    return restore_format(clean if alpha is None else np.concatenate([clean, alpha], axis=-1), image)


def _counter(report: Progress, shape: tuple[int, ...], model: ImageModel, grid: np.ndarray, tile: int | None,
             whole: bool) -> Callable[[int], object]:
    """A function of the shifts (of a tile) that were computed, which reports the fraction of all that are done."""
    steps = shape[1:3] if tile is None or max(shape[1:3]) <= tile else [-(-tile // s) * s for s in model.strides]
    tiles = math.prod(-(-n // step) for n, step in zip(shape[1:3], steps, strict=True))
    settings = InpaintingParameters()
    rounds = () if whole else range(settings.rounds + settings.last_rounds)
    total = tiles * (len(grid) + sum(len(_some_shifts(grid, number)) for number in rounds))
    step = "denoise" if whole else "fill in and denoise"
    counts = [0]

    def done(shifts: int) -> None:
        counts[0] += shifts
        report(step, min(1.0, counts[0] / total))

    done(0)
    return done


def _smooth(planes: np.ndarray, sigma: float, model: ImageModel, low_pass: float | None, shifts: np.ndarray,
            tile: int | None, done: Callable[[int], object]) -> np.ndarray:
    """Planes without missing pixels, without noise of level ``sigma``; ``done(shifts)`` is called as they are."""
    slow, rest = _split(planes, model, low_pass)
    level = effective_sigma(sigma, model.sigma_power)

    def reconstruct(batch: np.ndarray) -> np.ndarray:
        result = model.reconstruct(batch, level)
        done(len(batch) // len(planes))
        return result

    return slow + _in_tiles(reconstruct, rest, model, shifts, tile)


def _some_shifts(grid: np.ndarray, number: int | None) -> np.ndarray:
    """Shifts of one round of filling in, others each time, so that their errors do not add up; None: all of them."""
    if number is None:
        return grid
    count = -(-len(grid) // _SHIFTS_PER_ROUND)
    return np.random.default_rng(number).permutation(grid)[:count]


def _split(planes: np.ndarray, model: ImageModel, low_pass: float | None) -> tuple[np.ndarray, np.ndarray]:
    """(slow part, rest) as in the model's training: by a blur, or by the mean."""
    slow, rest = split_low_pass(planes, model.low_pass if low_pass is None else low_pass)
    if model.low_pass:
        return slow, rest
    mean = rest.mean(axis=(1, 2, 3), keepdims=True)
    return slow + mean, rest - mean


def _in_tiles(reconstruct: Any, images: np.ndarray, model: ImageModel, shifts: np.ndarray, tile: int | None
              ) -> np.ndarray:
    """``average_over_shifts`` piece by piece."""
    kernel_size, strides = model.kernel_size, model.strides
    run = partial(average_over_shifts, reconstruct, kernel_size=kernel_size, strides=strides, shifts=shifts)
    if tile is None or all(n <= tile for n in images.shape[1:3]):
        return run(images)
    # Whole strides, so that a few shifts lie on the same grid in every tile.
    steps = [-(-tile // s) * s for s in strides]
    halos = [-(-_HALO_KERNELS * k // s) * s for k, s in zip(kernel_size, strides, strict=True)]
    out = np.empty(images.shape, np.float32)
    for row in range(0, images.shape[1], steps[0]):
        for column in range(0, images.shape[2], steps[1]):
            first = [max(0, at - halo) for at, halo in zip((row, column), halos, strict=True)]
            piece = (slice(None), *(slice(a, at + step + halo) for a, at, step, halo in
                                    zip(first, (row, column), steps, halos, strict=True)))
            clean = run(images[piece])
            inner = tuple(slice(at - a, at - a + step) for a, at, step in
                          zip(first, (row, column), steps, strict=True))
            out[:, row:row + steps[0], column:column + steps[1]] = clean[(slice(None), *inner)]
    return out
