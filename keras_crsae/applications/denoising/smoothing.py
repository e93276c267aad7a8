"""Planes of an image without their noise: the slow part is kept, the rest is coded, tile by tile, on shifted grids."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from crsae_onnx.core.cycle_spinning import average_over_shifts
from crsae_onnx.core.progress import Progress, progress_bar
from crsae_onnx.core.spec_parts import effective_sigma
from crsae_onnx.core.validation import as_positive_int

from keras_crsae.applications.denoising.image_model import ImageModel
from keras_crsae.applications.denoising.inpainting import InpaintingParameters, inpaint, warn_of_wide_holes
from keras_crsae.applications.denoising.low_pass import split_low_pass

#: Side of the pieces in which large images are denoised, in pixels; memory is that of one piece.
TILE_PIXELS = 512
#: Pixels around a tile that are computed and thrown away, in kernel sizes: wider than what reaches into the tile.
_HALO_KERNELS = 3
#: One in so many shifts of the grid is averaged in each round of filling in; the last averages all.
_SHIFTS_PER_ROUND = 4


def as_tile(tile: Any) -> int | None:
    """Side of the pieces in pixels, or None; ValueError for another value."""
    return None if tile is None else as_positive_int(tile, "tile")


def remove_noise(planes: np.ndarray, observed: np.ndarray | None, sigma: float, model: ImageModel,
                 low_pass: float | None, shifts: np.ndarray, tile: int | None,
                 progress: bool | Progress | None = None) -> np.ndarray:
    """Planes without noise of standard deviation ``sigma``, missing pixels filled in.

    Args:
        planes: (batch, height, width, channels), in a unit in which white minus black is about 1.
        observed: None or 0/1 of the same shape; 0 marks a missing pixel.
        sigma: in the planes' unit.
        model: as ``as_image_model`` gives it.
        low_pass, tile, progress: see ``denoise``.
        shifts: (shifts, 2), as ``ImageModel.shifts`` gives them.

    Returns:
        float32 of the planes' shape, not clipped.

    Warns:
        UserWarning: a hole is wider than the model's filters.
    """
    with progress_bar(progress) as report:
        done = _counter(report, planes.shape, model, shifts, tile, observed is None)
        if observed is None:
            return _smooth(planes, sigma, model, low_pass, shifts, tile, done)
        warn_of_wide_holes(observed, model.kernel_size)
        return inpaint(planes, observed, lambda filled, level, number: _smooth(
            filled, level, model, low_pass, _some_shifts(shifts, number), tile, done), sigma)


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

    return slow + in_tiles(reconstruct, rest, model, shifts, tile)


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


def in_tiles(reconstruct: Any, images: np.ndarray, model: ImageModel, shifts: np.ndarray, tile: int | None
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
