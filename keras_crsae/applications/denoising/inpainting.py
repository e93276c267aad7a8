"""Fill in missing pixels: a smooth surface through the observed ones, and what the denoiser knows of images.

A round denoises the filled image, x, at a level that falls from round to round, and carries what this took from the
observed pixels smoothly into the holes:

    d = denoise(x, level),    x = observed pixels where there are some, else d + w * surface through (y - d),

a plug-and-play prior (Zhang et al., arXiv 2008.13751) whose data step is an interpolation in place of a copy: alone,
the surface is the biharmonic fill, so a denoiser that says nothing does no harm. Some observed pixels, a moved copy of
the holes, are held out meanwhile. They tell w (about 1 for clean images, 0 under noise, which no surface predicts) and
the weights of the fills that are averaged at the end: two surfaces, and the denoiser's results with and without one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from crsae_onnx.core.typing import Array

#: Standard deviations of the blurs that a surface begins with, in pixels, and the least blurred mask to divide by.
_BLURS_PIXELS, _LEAST_SEEN = (1.0, 2.0, 4.0, 8.0, 16.0), 0.05
#: (batch, height, width, channels), level in [0, 1], round (None: the last) -> the same without noise
Denoise = Callable[[Array, float, int | None], Array]


@dataclass(frozen=True)
class InpaintingParameters:
    """How holes are filled.

    Args:
        rounds: denoises, on a part of the shifts, in which pixels are held out.
        last_rounds: as many again with all observed pixels; one on all shifts follows.
        first_level, last_level: noise levels of the first and last round, in units of [0, 1]; those between are in
            geometric progression, and none is below the image's own.
        held_out_share: part of the observed pixels that is held out, at most.
        block_pixels: side of the squares in which they lie.
        least_held_out_pixels: fewer than these decide nothing.
        clean_weights, noisy_weights: prior weights of the biharmonic surface, the harmonic one, the denoised image
            without and with the surface, where the surface through ``y - d`` is trusted (w = 1) and where not (w = 0).
        prior_strength: of these weights, as a part of the held-out pixels.
        surface_iterations: of conjugate gradients at most, for a surface from the start; a round takes a quarter.
        surface_tolerance: of their residual, relative.
    """

    rounds: int = 6
    last_rounds: int = 1
    first_level: float = 40 / 255
    last_level: float = 10 / 255
    held_out_share: float = 0.15
    block_pixels: int = 8
    least_held_out_pixels: int = 50
    clean_weights: tuple[float, ...] = (0.15, 0.0, 0.35, 0.5)
    noisy_weights: tuple[float, ...] = (0.0, 0.0, 1.0, 0.0)
    prior_strength: float = 1.0
    surface_iterations: int = 160
    surface_tolerance: float = 1e-4

    def levels(self, sigma: float) -> Array:
        """Noise levels of the rounds for an image of noise ``sigma``."""
        return np.maximum(np.geomspace(self.first_level, self.last_level, self.rounds), sigma)


def inpaint(planes: Array, observed: Array, denoise: Denoise, sigma: float,
            parameters: InpaintingParameters | None = None) -> Array:
    """Planes whose missing pixels are filled in and whose observed ones have lost their noise.

    Args:
        planes: (batch, height, width, channels) in [0, 1]; what stands at missing pixels has no influence.
        observed: 0/1 of the same shape; 0 marks a missing pixel.
        denoise: function from planes, a noise level and the number of the round (None: the last) to planes.
        sigma: standard deviation of the noise of the observed pixels, in units of [0, 1]; 0: they are kept.
        parameters: None: ``InpaintingParameters()``.

    Returns:
        float32 of the same shape.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.denoising.inpainting import inpaint
        >>> ramp = np.linspace(0, 1, 400, dtype="float32").reshape(1, 20, 20, 1)
        >>> observed = (np.arange(400).reshape(ramp.shape) % 7 > 0).astype("float32")
        >>> filled = inpaint(ramp * observed, observed, lambda planes, level, part: planes, sigma=0.0)
        >>> bool(np.abs(filled - ramp).max() < 0.02)
        True
    """
    settings = parameters or InpaintingParameters()
    seen = observed > 0
    levels = [float(level) for level in settings.levels(sigma)]
    smooth, weights = _first_rounds(planes, seen, denoise, levels, sigma, settings)
    surfaces = _surfaces(planes, seen, settings)

    def fill() -> Array:
        rest = biharmonic_fill(planes - smooth, seen, settings)
        made = sum(weight * one for weight, one in zip(weights, [*surfaces, smooth, smooth + rest], strict=True))
        return np.where(seen, planes, made).astype(np.float32)

    for number in (*range(len(levels), len(levels) + settings.last_rounds), None):
        smooth = denoise(fill(), levels[-1], number)
    return np.where(seen, without_noise(planes, smooth, seen, sigma), fill()).astype(np.float32)


def _first_rounds(planes: Array, seen: np.ndarray, denoise: Denoise, levels: Sequence[float], sigma: float,
                  settings: InpaintingParameters) -> tuple[Array, Array]:
    """(denoised planes, weights of the fills) after the rounds in which pixels are held out."""
    held_out = held_out_pixels(seen, settings)
    known = seen & ~held_out
    surfaces = _surfaces(planes, known, settings)
    filled, rest, smooth, weight = surfaces[0], surfaces[0], surfaces[0], 1.0
    for number, level in enumerate(levels):
        smooth = denoise(filled, level, number)
        rest = biharmonic_fill(planes - smooth, known, settings, quick=True)
        weight = surface_share(planes - smooth, rest, held_out, seen, sigma, settings)
        filled = np.where(known, planes, smooth + weight * rest).astype(np.float32)
    prior = weight * np.array(settings.clean_weights) + (1 - weight) * np.array(settings.noisy_weights)
    return smooth, fill_weights(planes, [*surfaces, smooth, smooth + rest], held_out, prior, settings)


def without_noise(planes: Array, smooth: Array, seen: np.ndarray, sigma: float) -> Array:
    """Observed pixels without the part of ``planes - smooth`` that is noise: its best linear estimate.

    A denoiser takes detail, too: of weak noise it would take more than there is. Of the difference, of mean square
    r^2, noise of level sigma has the share sigma^2 / r^2 (at most 1).

    Args:
        planes, smooth: before and after the denoiser.
        seen: where pixels are observed.
        sigma: in units of the planes.
    """
    removed = planes - smooth
    energy = float(np.mean(np.square(removed[seen], dtype=np.float64)))
    return planes - np.float32(min(1.0, sigma**2 / energy) if energy > 0 else 0.0) * removed


def held_out_pixels(seen: np.ndarray, settings: InpaintingParameters) -> np.ndarray:
    """Observed pixels that stand for the missing ones: the holes themselves, moved, in some squares of the image.

    Of a few moves the one whose pixels lie as far from known ones as the missing pixels do from observed ones.

    Args:
        seen: (batch, height, width, channels), where pixels are observed.
        settings: their number and squares.

    Returns:
        bool of the same shape.
    """
    rng = np.random.default_rng(0)
    space, block = seen.shape[1:3], settings.block_pixels
    draw = np.repeat(np.repeat(rng.random([-(-n // block) for n in space]), block, axis=0), block, axis=1)
    draw = draw[:space[0], :space[1]][None, ..., None]
    depth, best, chosen = _mean_depth(~seen, seen), np.inf, np.zeros_like(seen)
    for move in ((5, 9), (11, 4), (9, -7), (14, 13), (21, -6), (33, 27)):
        moved = np.roll(~seen, move, axis=(1, 2)) & seen
        if not moved.any():
            continue
        moved = moved & (draw < settings.held_out_share * seen.sum() / moved.sum())
        if moved.any() and (seen & ~moved).any():
            difference = abs(_mean_depth(moved, seen & ~moved) - depth)
            if difference < best:
                best, chosen = difference, moved
    return chosen


def surface_share(residual: Array, surface: Array, held_out: np.ndarray, seen: np.ndarray, sigma: float,
                  settings: InpaintingParameters) -> float:
    """Factor in [0, 1] with which a surface comes nearest to the residual where it was held out.

    Without pixels that were held out: the part of the residual that is no noise.
    """
    if held_out.sum() < settings.least_held_out_pixels:
        explained, energy = sigma**2, float(np.mean(np.square(residual[seen], dtype=np.float64)))
        return float(np.clip(1 - explained / energy, 0.0, 1.0)) if energy > 0 else 0.0
    there, made = residual[held_out].astype(np.float64), surface[held_out].astype(np.float64)
    energy = float(made @ made)
    return float(np.clip(there @ made / energy, 0.0, 1.0)) if energy > 0 else 0.0


def fill_weights(planes: Array, candidates: Sequence[Array], held_out: np.ndarray, prior: Array,
                 settings: InpaintingParameters) -> Array:
    """Weights >= 0 of sum 1 with which the mean of ``candidates`` comes nearest to the pixels that were held out.

    A ridge holds them near ``prior``, as pixels would in whose errors the candidates had nothing in common.
    """
    from scipy.optimize import nnls

    if held_out.sum() < settings.least_held_out_pixels:
        return prior
    # With weights of sum 1 the error is the weighted mean of errors; the last row asks for the sum.
    errors = np.stack([(one - planes)[held_out] for one in candidates], axis=-1).astype(np.float64)
    ridge = max(np.sqrt(settings.prior_strength) * np.linalg.norm(errors, axis=0).min(), 1e-9)
    scale = 1e3 * max(float(np.linalg.norm(errors)), ridge)
    system = np.concatenate([errors, ridge * np.eye(len(prior)), np.full((1, len(prior)), scale)])
    weights, _ = nnls(system, np.concatenate([np.zeros(len(errors)), ridge * prior, [scale]]))
    return weights / weights.sum()


def biharmonic_fill(values: Array, seen: np.ndarray, settings: InpaintingParameters | None = None,
                    quick: bool = False) -> Array:
    """Values whose missing ones are a surface of least squared Laplacian through the observed ones.

    Args:
        values: (batch, height, width, channels); edges are mirrored.
        seen: bool of the same shape, where values are observed.
        settings: accuracy of the solution.
        quick: begin at zero, and at a quarter of the iterations stop.

    Returns:
        Array of the same shape, equal to ``values`` where ``seen``.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.denoising.inpainting import biharmonic_fill
        >>> plane = np.add.outer(np.arange(9.0), np.arange(9.0))[None, ..., None]
        >>> seen = np.ones(plane.shape, bool)
        >>> seen[:, 4, 4] = False
        >>> round(float(biharmonic_fill(plane * seen, seen)[0, 4, 4, 0]), 3)
        8.0
    """
    return _fill(values, seen, lambda u: _laplacian(_laplacian(u)), settings or InpaintingParameters(), quick)


def harmonic_fill(values: Array, seen: np.ndarray, settings: InpaintingParameters | None = None) -> Array:
    """Values whose missing ones are a surface of Laplacian 0 between the observed ones; see ``biharmonic_fill``."""
    return _fill(values, seen, lambda u: -_laplacian(u), settings or InpaintingParameters(), False)


def widest_hole(observed: Array) -> int:
    """Largest width of a hole in pixels: that of the largest square inside, as far as whole pixels tell.

    Args:
        observed: 0/1 of (batch, height, width, channels).

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.denoising.inpainting import widest_hole
        >>> observed = np.ones((1, 20, 20, 1))
        >>> observed[:, 5:12, 3:18] = 0
        >>> widest_hole(observed)
        7
    """
    depth = max((float(_depth(plane).max()) for plane in _planes(observed > 0)), default=0.0)
    return max(0, int(np.ceil(2 * depth - 1)))


def warn_of_wide_holes(observed: Array, kernel_size: Sequence[int], stacklevel: int = 3) -> None:
    """Warn where a hole is wider than the filters: its middle is a guess from afar."""
    width = widest_hole(observed)
    if width > min(kernel_size):
        warnings.warn(f"The widest hole of `mask` is {width} pixels across, and the model's filters are "
                      f"{' x '.join(map(str, kernel_size))}: no filter reaches over it. Its middle becomes a smooth "
                      "surface without detail. Expected holes no wider than the filters.", stacklevel=stacklevel)


def _surfaces(planes: Array, seen: np.ndarray, settings: InpaintingParameters) -> list[Array]:
    return [biharmonic_fill(planes, seen, settings), harmonic_fill(planes, seen, settings)]


def _fill(values: Array, seen: np.ndarray, operator: Callable[[Array], Array],
          settings: InpaintingParameters, quick: bool) -> Array:
    """Missing values at which a quadratic form is least, where its operator is zero: plane by plane."""
    filled = np.array(values, np.float32)
    for index in range(filled.shape[0]):
        for channel in range(filled.shape[-1]):
            known = seen[index, :, :, channel]
            if known.any() and not known.all():
                filled[index, :, :, channel] = _fill_plane(filled[index, :, :, channel], known, operator, settings,
                                                           quick)
    return filled


def _fill_plane(values: Array, seen: np.ndarray, operator: Callable[[Array], Array],
                settings: InpaintingParameters, quick: bool) -> Array:
    """``_fill`` of (height, width), by conjugate gradients."""
    from scipy.sparse.linalg import LinearOperator, cg

    missing = ~seen
    count = int(missing.sum())
    filled = np.where(seen, values, 0).astype(np.float64)
    surface = np.zeros_like(filled)

    def apply(some: Array) -> Array:
        surface[missing] = np.ravel(some)
        return operator(surface)[missing]

    start = None if quick else _blurred(filled, seen)[missing]
    found, _ = cg(LinearOperator((count, count), matvec=apply), -operator(filled)[missing], x0=start,
                  rtol=settings.surface_tolerance, maxiter=settings.surface_iterations // (4 if quick else 1))
    filled[missing] = found
    return filled


def _laplacian(values: Array) -> Array:
    """Sum of differences to the neighbours, edges mirrored, of (height, width)."""
    made = np.zeros_like(values)
    down, right = np.diff(values, axis=0), np.diff(values, axis=1)
    made[:-1] += down
    made[1:] -= down
    made[:, :-1] += right
    made[:, 1:] -= right
    return made


def _blurred(filled: Array, seen: np.ndarray) -> Array:
    """Missing values from blurs of the observed ones, each from the narrowest that reaches it, or from the next."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    nearest = distance_transform_edt(~seen, return_distances=False, return_indices=True)
    made, left = filled[tuple(nearest)], ~seen
    for width in _BLURS_PIXELS:
        if not left.any():
            break
        total, weight = (gaussian_filter(a, width, mode="reflect", truncate=2.0)
                         for a in (filled, seen.astype(np.float64)))
        reached = left & (weight > _LEAST_SEEN)
        made[reached] = total[reached] / weight[reached]
        left &= ~reached
    return made


def _planes(seen: np.ndarray) -> list[np.ndarray]:
    return [seen[i, :, :, c] for i in range(seen.shape[0]) for c in range(seen.shape[-1])]


def _depth(seen: np.ndarray) -> np.ndarray:
    """Distance of each pixel of (height, width) to the next observed one; beyond the image there is none."""
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(~seen) if seen.any() else np.full(seen.shape, float(max(seen.shape)))


def _mean_depth(where: np.ndarray, seen: np.ndarray) -> float:
    pairs = zip(_planes(where), _planes(seen), strict=True)
    return float(np.mean(np.concatenate([_depth(known)[here] for here, known in pairs])))
