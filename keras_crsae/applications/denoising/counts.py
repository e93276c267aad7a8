"""Denoise counts of photons: Anscombe transform, a model of images, exact unbiased inverse; bins where counts are few.

In the transform's domain the noise has standard deviation 1. White minus black, A(peak) - A(0), is the image's range
there; in units of it the image lies in [0, 1] and its noise has the level 1 / (A(peak) - A(0)).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from crsae_onnx.core.progress import Progress, progress_bar
from crsae_onnx.core.validation import as_positive

from keras_crsae import zoo
from keras_crsae.applications.denoising.image_model import ImageModel, as_image_model
from keras_crsae.applications.denoising.pixels import as_mask, from_planes, split_own_mask, to_planes
from keras_crsae.applications.denoising.smoothing import TILE_PIXELS, as_tile, in_tiles, remove_noise
from keras_crsae.data.images import image_array
from keras_crsae.problem.anscombe import ZERO, anscombe, inverse_anscombe

#: The zoo's model that learned on counts, and the one of strong light, in whose range of noise the others are.
COUNTS_MODEL, GRAY_MODEL = "denoise-poisson", "denoise-gray"
#: Kinds of noise -> whether the images that hold it are counts.
NOISES = {"gaussian": False, "poisson": True}
#: Sides of bins in pixels that may be chosen.
BINS = (1, 2, 4)
#: Largest noise level that `denoise-gray` was trained for, in units of [0, 1]: of counts with a peak of 7.2.
_STRONGEST_NOISE = 60 / 255
#: A peak that is not given is this quantile of the counts' mean over squares of so many pixels a side.
_PEAK_QUANTILE, _PEAK_SQUARE_PIXELS = 0.995, 6
#: Rates fit the counts if in all but this share of squares their means differ by no more than these standard deviations
#: and this part of the mean.
_MOST_MISFITS, _SQUARE_PIXELS, _DEVIATIONS, _BIAS = 0.02, 8, 5.0, 0.15
#: Factors of the peak that a model is given where its rates do not fit.
_OTHER_PEAKS = (2.0, 4.0)


def check_noise(noise: str, sigma: Any, peak: Any, bins: Any = None) -> bool:
    """Whether images with this noise are counts; ValueError for another noise, and for options of the other kind."""
    if noise not in NOISES:
        raise ValueError(f"`noise` must be one of {tuple(NOISES)}. Received: {noise!r}")
    counted = NOISES[noise]
    if counted and sigma is not None:
        raise ValueError("The noise of counts follows from the counts: give `peak`, the rate of white, or nothing. "
                         f"Received: noise={noise!r}, sigma={sigma!r}")
    if not counted and (peak is not None or bins is not None):
        raise ValueError("`peak` and `bins` are for counts: use noise='poisson'. Received: "
                         f"noise={noise!r}, peak={peak!r}, bins={bins!r}")
    return counted


def denoise_counts(counts: Any, model: Any = None, peak: float | None = None, low_pass: float | None = None,
                   shifts: int | None = None, mask: np.ndarray | None = None, tile: int | None = TILE_PIXELS,
                   progress: bool | Progress | None = None, bins: int | None = None,
                   quality: str | None = None) -> np.ndarray:
    """The rate of each pixel, in counts, from an image of counts: ``denoise(counts, noise="poisson")``.

    Args:
        counts: (height, width) or (height, width, channels): whole numbers >= 0, of any real dtype.
        model: see ``denoise``; None: "denoise-poisson" for peaks that it was trained for, else "denoise-gray". A
            ``CRsAE(likelihood="poisson")`` (arXiv 1907.03211) is given the counts as they are.
        peak: rate of white, in counts of a pixel; None: ``estimate_peak``. It is the unit of the noise level that the
            model is given, no bound of the result.
        low_pass, shifts, mask, tile, progress, quality: see ``denoise``.
        bins: side in pixels of the squares whose counts are added first: 1, 2 or 4; the result is interpolated. None:
            the smallest with enough counts for the model, averaged with the next by a model that learned on counts;
            1 where pixels are missing.

    Returns:
        float32 of the counts' shape, >= 0. The sum of each channel is that of its (observed) counts.

    Raises:
        ValueError: negative, fractional or infinite counts, a peak <= 0, bins together with a mask.
    """
    counts, mask = split_own_mask(image_array(counts) if hasattr(counts, "getbands") else counts, mask)
    array, observed = _as_counts(counts, mask)
    if not array.any():
        return np.zeros(counts.shape, np.float32)
    peak = estimate_peak(array, observed) if peak is None else as_positive(peak, "peak")
    image_model = as_image_model(_model_for(peak * (bins or 1)**2) if model is None else model)
    (image_model, grid), tile = image_model.at_quality(quality, shifts), as_tile(tile)
    shares = _bin_shares(bins, peak, image_model, observed is not None)
    if image_model.takes_counts and observed is not None:
        raise ValueError("A model whose likelihood is Poisson does not fill in missing pixels here. Omit `model`, or "
                         "give the mask to its own `mean(counts, mask=, exposure=peak)`.")
    rates = np.zeros(array.shape, np.float32)
    with progress_bar(progress) as report:
        done = 0.0
        for side, share in shares.items():
            work = side**-2 / sum(one**-2 for one in shares)
            rates += np.float32(share) * _rates(array, side, peak * side**2, observed, image_model,
                                                low_pass, grid, tile, _part(report, done, work))
            done += work
    return _with_sum_of(rates, array, observed).reshape(counts.shape)


def _rates(counts: np.ndarray, side: int, peak: float, observed: np.ndarray | None, model: ImageModel,
           low_pass: float | None, grid: np.ndarray, tile: int | None, progress: Progress) -> np.ndarray:
    """Rate of each pixel (height, width, channels) from counts on bins of ``side`` pixels, of that peak a bin.

    Filters that are free in each iteration may run away on images unlike those of the training (black and white alone,
    one pixel far above the peak). Rates that do not fit the counts are therefore computed again, as of a higher peak,
    which scales the signal down, and at last by the model of white noise.
    """
    binned = _binned(counts, side)
    planes = to_planes(binned, model.channels)
    if model.takes_counts:
        def rate(batch: np.ndarray) -> np.ndarray:
            progress("denoise", 0.0)
            return np.float32(peak) * model.reconstruct(batch, peak)

        return _unbinned(from_planes(in_tiles(rate, planes, model, grid, tile), counts.shape[-1]), side, counts.shape)
    seen = None if observed is None else to_planes(observed, model.channels)
    attempts = [(model, peak)]
    if model.peaks is not None:
        attempts += [(model, factor * peak) for factor in _OTHER_PEAKS]
        attempts += [(as_image_model(GRAY_MODEL), peak)] if model.channels == 1 else []
    for candidate, of_peak in attempts:
        sigma = noise_of_peak(of_peak)
        shifts = grid if candidate is model else candidate.shifts()
        clean = remove_noise((anscombe(planes) - np.float32(ZERO)) * np.float32(sigma), seen, sigma, candidate,
                             low_pass, shifts, tile, progress)
        rates = from_planes(inverse_anscombe(ZERO + clean / sigma), counts.shape[-1])
        if candidate.peaks is None or _fits(rates, binned, observed):
            break
    return _unbinned(rates, side, counts.shape)


def _fits(rates: np.ndarray, counts: np.ndarray, observed: np.ndarray | None) -> bool:
    """Whether means of rates over small squares lie near those of the counts, in units of their standard deviation."""
    from scipy.ndimage import uniform_filter

    weight = np.ones(counts.shape) if observed is None else observed.astype(np.float64)
    size = (_SQUARE_PIXELS, _SQUARE_PIXELS, 0)
    difference, mean, share = (uniform_filter(part, size, mode="reflect")
                               for part in (weight * (rates - counts), weight * counts, weight))
    number = _SQUARE_PIXELS**2
    limit = _DEVIATIONS * np.sqrt((mean + 1.0 / number) / number) + _BIAS * mean
    return bool(np.mean((np.abs(difference) > limit)[share > 0]) < _MOST_MISFITS)


def _part(report: Progress, done: float, share: float) -> Progress:
    """Progress of one part of the work: from ``done`` on, ``share`` of all."""
    return lambda step, fraction: report(step, done + share * fraction)


def peak_of(counts: Any, mask: np.ndarray | None = None) -> float:
    """Rate of white that ``denoise`` takes for counts whose peak is not given; 0 where there are none.

    Args:
        counts, mask: see ``denoise_counts``.

    Raises:
        ValueError: what are no counts.
    """
    counts, mask = split_own_mask(counts, mask)
    array, observed = _as_counts(counts, mask)
    return estimate_peak(array, observed) if array.any() else 0.0


def estimate_peak(counts: np.ndarray, observed: np.ndarray | None = None) -> float:
    """Rate of the image's white, in counts: a high quantile of means over small squares, or the mean.

    Args:
        counts: (height, width, channels).
        observed: None or 0/1 of the same shape.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.denoising.counts import estimate_peak
        >>> counts = np.random.default_rng(0).poisson(4.0, (90, 90, 1))
        >>> abs(estimate_peak(counts) - 4) < 1.5
        True
    """
    from scipy.ndimage import uniform_filter

    size = (_PEAK_SQUARE_PIXELS, _PEAK_SQUARE_PIXELS, 0)
    means = uniform_filter(np.asarray(counts, np.float64), size, mode="reflect")
    if observed is not None:
        share = uniform_filter(np.asarray(observed, np.float64), size, mode="reflect")
        means = (means / np.maximum(share, 1e-6))[observed > 0]
    return max(float(np.quantile(means, _PEAK_QUANTILE)), float(np.mean(means)))


def _as_counts(counts: np.ndarray, mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """(counts as float64 (height, width, channels), 0/1 of the observed pixels or None), missing pixels 0."""
    if counts.ndim not in (2, 3) or counts.size == 0:
        raise ValueError("`image` must hold the counts of one image (height, width) or (height, width, channels). "
                         f"Received: shape {counts.shape}.")
    if counts.dtype.kind not in "biuf":
        raise ValueError(f"noise='poisson' needs counts: whole numbers >= 0. Received: dtype {counts.dtype}.")
    array = np.asarray(counts if counts.ndim == 3 else counts[..., None], np.float64)
    observed = None
    if mask is not None:
        observed = as_mask(mask, array.shape)
        array = np.where(observed > 0, array, 0.0)
        observed = None if observed.all() else observed
    if not np.isfinite(array).all():
        raise ValueError("`image` holds NaN or infinite values. Mark them as missing with `mask`.")
    if array.min() < 0:
        raise ValueError("noise='poisson' needs counts: whole numbers >= 0. Received: values down to "
                         f"{array.min():.4g}. Of a camera, subtract its offset and divide by its gain first; where "
                         "read noise dominates, use noise='gaussian'.")
    if not (array == np.rint(array)).all():
        worst = array[array != np.rint(array)].flat[0]
        raise ValueError(f"noise='poisson' needs counts: whole numbers >= 0. Received: {worst:.6g}. Give the counts "
                         "themselves, not rates or gray levels in [0, 1]: of those, multiply by the counts of white "
                         "and round.")
    return array, observed


def _model_for(peak: float) -> str:
    """The zoo's model for a peak: the one of counts, where it is there, as long as its levels reach."""
    if COUNTS_MODEL not in zoo.names():
        return GRAY_MODEL
    return COUNTS_MODEL if peak <= zoo.metadata(COUNTS_MODEL)["peak"][1] else GRAY_MODEL


def _bin_shares(bins: int | None, peak: float, model: ImageModel, masked: bool) -> dict[int, float]:
    """{side of the bins: share of their rates in the result}: given, or the smallest whose peak the model can take.

    A model that learned on counts is also run on bins of twice that side, if their peak was in its training; there it
    sees slow shapes farther: on images kept back from its training the mean of both was .1 dB better at peaks of 1, 2.
    """
    if bins is not None and bins not in BINS:
        raise ValueError(f"`bins` must be one of {BINS} pixels, or None. Received: {bins!r}")
    if masked:
        if bins not in (None, 1):
            raise ValueError(f"Counts of bins with missing pixels cannot be compared. Use bins=1 with a mask, or omit "
                             f"it. Received: bins={bins}")
        return {1: 1.0}
    if bins is not None:
        return {bins: 1.0}
    if model.takes_counts:
        return {1: 1.0}
    least, most = model.peaks or (_peak_of(_STRONGEST_NOISE), 0.0)
    side = next((side for side in BINS if peak * side**2 >= least), BINS[-1])
    # Beyond the peaks of its training a network of free filters may give anything.
    if 2 * side not in BINS or peak * (2 * side)**2 > most:
        return {side: 1.0}
    return {side: 0.5, 2 * side: 0.5}


def noise_of_peak(peak: float) -> float:
    """Noise of transformed counts in units of the image's range: 1 / (A(peak) - A(0))."""
    return 1.0 / (2.0 * float(np.sqrt(peak + 3.0 / 8.0)) - ZERO)


def _peak_of(sigma: float) -> float:
    """Peak whose noise, in units of the transformed image's range, is ``sigma``."""
    return ((ZERO + 1.0 / sigma) / 2.0) ** 2 - 3.0 / 8.0


def _binned(array: np.ndarray, side: int) -> np.ndarray:
    """Sums over squares of ``side`` pixels; the edges are mirrored to whole squares."""
    if side == 1:
        return array
    rows, columns, channels = array.shape
    padded = np.pad(array, ((0, -rows % side), (0, -columns % side), (0, 0)), mode="symmetric")
    return padded.reshape(padded.shape[0] // side, side, padded.shape[1] // side, side, channels).sum(axis=(1, 3))


def _unbinned(rates: np.ndarray, side: int, shape: tuple[int, ...]) -> np.ndarray:
    """Rates a pixel from rates a bin, by cubic splines through the bins' middles."""
    if side == 1:
        return rates
    from scipy.ndimage import zoom

    fine = zoom(rates / side**2, (side, side, 1), order=min(3, min(rates.shape[:2]) - 1), mode="grid-mirror",
                grid_mode=True)
    return np.maximum(fine, 0.0)[:shape[0], :shape[1]]


def _with_sum_of(rates: np.ndarray, counts: np.ndarray, observed: np.ndarray | None) -> np.ndarray:
    """Rates scaled, channel by channel, to the sum of the counts, which the mean rate is known best from."""
    weight = np.ones_like(counts) if observed is None else observed
    before, after = (np.sum(weight * part, axis=(0, 1), dtype=np.float64) for part in (rates, counts))
    return (rates * np.where(before > 0, after / np.maximum(before, 1e-30), 1.0)).astype(np.float32)
