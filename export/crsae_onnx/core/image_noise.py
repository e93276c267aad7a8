"""The noise of images, from the areas that hold some: not from borders, saturated skies and blank pictures (NumPy)."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np

from crsae_onnx.core.signals import robust_std
from crsae_onnx.core.typing import Array

#: A coefficient below this fraction of the noise counts as zero; where fewer than this share are zero, no area is.
#: The estimate is repeated where it grows by more than a factor.
_QUIET_FRACTION, _QUIET_SHARE, _STEADY = 0.02, 0.04, 1.5
#: Sides of the windows that an area without noise is made of, in coefficients, and the fewest known ones in a window.
_WINDOWS, _FEWEST = (4, 8, 16), 12
#: Windows that chance may find in all noise that holds zeros of its own, by rounding.
_CHANCE_WINDOWS = 0.05
#: Coefficients with noise that are needed: at least these, an eighth of a small image, a share of a large one.
_NEEDED, _NEEDED_SMALL, _NEEDED_SHARE = 16, 64, 0.002
#: Pixels of the lowest or highest value, as a share of all, from which they count as cut there.
_CLIPPED_SHARE = 0.01
#: Areas are looked for in about so many coefficients; rows of a band of a larger image.
_MOST_COEFFICIENTS, _BAND_PIXELS = 2**21, 128
#: Coefficients that show whether all are multiples of one step, the fewest near zero that do, and noise of more steps
#: than rounding changes.
_STEP_VALUES, _STEP_SIGHTINGS, _MODELLED_STEPS = 8192, 12, 64


def image_noise_std(images: Any) -> float:
    """Standard deviation of white noise in images: robust against edges, borders, saturation and rounding.

    Median of the magnitudes of the finest diagonal Haar coefficients / 0.6745 (Donoho and Johnstone 1994). Left out are
    areas in which all of them are zero (a border, a blank picture, a sky at the highest value), and, where many pixels
    have the lowest or highest value, the areas around these, if that gives more. Where all coefficients are multiples
    of a step, the normal distribution that was rounded to them.

    Args:
        images: (batch, height, width, channels); missing pixels are NaN.

    Returns:
        float in the pixels' unit; 0.0 where no area holds noise.

    Example:
        >>> import numpy as np
        >>> from crsae_onnx.core.image_noise import image_noise_std
        >>> image = np.random.default_rng(0).normal(100, 25, (1, 200, 200, 1)).round()
        >>> image[:, :80] = 0                                                # a black border of 40 %
        >>> round(image_noise_std(image))
        25
    """
    images = np.asarray(images)
    if images.dtype.kind != "f" or images.dtype.itemsize < 4:
        images = images.astype(np.float32 if images.dtype.kind == "f" else np.float64)
    if min(images.shape[1:3]) < 2:
        return 0.0
    detail = diagonal_haar(images)
    known = np.isfinite(detail)
    values = detail[known]
    if not values.size:
        return 0.0
    error = _rounding_error(images)
    if values.size > _MOST_COEFFICIENTS:
        std = _zero_mean_std(values, error)
        quiet = np.count_nonzero(np.abs(values) <= max(error, _QUIET_FRACTION * std))
        if quiet <= _QUIET_SHARE * values.size and not _clipped_pixels(images).any():
            return std
        images = _parts(images, -(-detail.size // _MOST_COEFFICIENTS))  # to look for areas takes long; a part will do
        detail = diagonal_haar(images)
        known = np.isfinite(detail)
        values = detail[known]
    alive = _alive(detail, known, error)
    if alive is None:
        return _zero_mean_std(values, error)
    std = _zero_mean_std(detail[alive], error)
    inside = alive & ~_clipped(images)
    if np.count_nonzero(inside) < np.count_nonzero(alive):
        inside = inside & _thick(inside, known)
        if np.count_nonzero(inside) >= _needed(values.size):
            std = max(std, _zero_mean_std(detail[inside], error))
    return std


def diagonal_haar(images: Array) -> Array:
    """Finest diagonal Haar coefficients of images (batch, height, width, channels); odd edges are cut."""
    rows, columns = (n // 2 * 2 for n in images.shape[1:3])
    even = images[:, :rows, :columns]
    return (even[:, ::2, ::2] - even[:, 1::2, ::2] - even[:, ::2, 1::2] + even[:, 1::2, 1::2]) / 2.0


def _zero_mean_std(values: Array, error: float) -> float:
    """``robust_std`` around zero; of multiples of a step, to ``error``, the normal distribution that was rounded."""
    std = float(robust_std(values, center=0.0))
    step = _step_of(values, error)
    if not step or std > _MODELLED_STEPS * step:
        return std
    index = np.rint(np.abs(values) / step)
    middle = float(np.median(index))
    share = float(np.mean(index <= middle))  # P(|x| < (middle + 1/2) steps)
    rounded = (middle + 0.5) / NormalDist().inv_cdf(0.5 + min(share, 1 - 0.5 / values.size) / 2)
    # Half the sum of four pixels, each rounded to two of its steps: their 2^2 / 12 is in it, but for its own 1 / 12.
    return step * math.sqrt(max(0.0, rounded**2 - 0.25))


def _step_of(values: Array, error: float) -> float:
    """The step of which all values are multiples, as far as some of them show; 0.0: none."""
    some = np.abs(values[::max(1, len(values) // _STEP_VALUES)].astype(np.float64))
    gaps = np.diff(np.unique(np.append(some, 0.0)))
    gaps = gaps[gaps > 2 * error]  # others are rounding errors, as after a change of unit
    if not gaps.size:
        return 0.0
    step = float(gaps.min())
    multiple = some[some < 100 * step] / step
    many = multiple.size >= _STEP_SIGHTINGS  # chance may put a few on a grid
    return step if many and np.mean(np.abs(multiple - np.rint(multiple)) > 0.1) < 1e-3 else 0.0


def _alive(detail: Array, known: Array, error: float) -> Array | None:
    """Boolean, detail's shape: known coefficients in areas with noise; None where there is no such area."""
    count = int(np.count_nonzero(known))
    magnitude = np.abs(detail)
    alive, tolerance = known, 0.0
    for _ in range(4):  # the tolerance follows the estimate
        noise = magnitude if np.count_nonzero(alive) == alive.size else magnitude[alive]
        last, tolerance = tolerance, max(error, _QUIET_FRACTION * float(robust_std(noise, center=0.0)))
        quiet = magnitude <= tolerance  # False where NaN
        if tolerance <= _STEADY * last or np.count_nonzero(quiet) <= _QUIET_SHARE * count:
            break
        alive = known & ~_flat(quiet, known)
        alive &= _thick(alive, known)
        if np.count_nonzero(alive) < _needed(count):
            return None
    return alive


def _rounding_error(images: Array) -> float:
    """The largest coefficient that rounding to the pixels' dtype makes of none."""
    largest = float(max(np.fmax.reduce(images, axis=None), -np.fmin.reduce(images, axis=None)))
    if not math.isfinite(largest):
        largest = float(np.max(np.abs(images[np.isfinite(images)]), initial=0.0))
    return 4 * float(np.finfo(images.dtype).eps) * largest


def _parts(images: Array, share: int) -> Array:
    """About one in ``share`` of some images, or of the rows of large ones in bands."""
    if len(images) >= share or images.shape[1] < 2 * _BAND_PIXELS:
        return images[::share]
    return np.concatenate([images[:, row:row + _BAND_PIXELS] for row in
                           range(0, images.shape[1] - _BAND_PIXELS + 1, share * _BAND_PIXELS)])


def _needed(count: int) -> float:
    return max(_NEEDED, min(_NEEDED_SMALL, count / 8), _NEEDED_SHARE * count)


def _flat(quiet: Array, known: Array) -> Array:
    """Boolean: covered by a window all of whose known coefficients are zero, and more than chance makes."""
    busy = known & ~quiet

    def covered(size: int, fewest: int) -> Array:
        return _covered((_window_sums(busy, size) == 0) & (_window_sums(quiet, size) >= fewest), size)

    # How many zeros noise has by rounding shows outside of what is flat beyond doubt.
    rest = known & ~covered(_WINDOWS[-1], _WINDOWS[-1] ** 2 // 4)
    count = max(1, np.count_nonzero(rest))
    chance = np.count_nonzero(quiet & rest) / count
    needed = math.log(count / _CHANCE_WINDOWS) / -math.log(chance) if 0 < chance < 1 else 0.0
    fewest = int(np.clip(math.ceil(needed), _FEWEST, _WINDOWS[-1] ** 2))
    flat = np.zeros_like(quiet)
    for size in _WINDOWS:
        if size**2 >= fewest:
            flat |= covered(size, fewest)
    return flat


def _thick(flags: Array, known: Array) -> Array:
    """Boolean: covered by a window without a known coefficient outside ``flags``: no thin line, no lone pixel."""
    size = min(_WINDOWS[0], *flags.shape[1:3])
    return _covered(_window_sums(known & ~flags, size, padded=False) == 0, size, padded=False)


def _window_sums(flags: Array, size: int, padded: bool = True) -> Array:
    """Number of True in every window of ``size`` x ``size``; padded: also in those that reach beyond the image.

    Counts of a window fit 16 bits; running sums wrap, and their differences do not mind.
    """
    if padded:
        flags = np.pad(flags, ((0, 0), (size - 1, size - 1), (size - 1, size - 1), (0, 0)))
    total = np.cumsum(flags, axis=1, dtype=np.uint16)
    sums = total[:, size - 1:].copy()
    sums[:, 1:] -= total[:, :-size]
    total = np.cumsum(sums, axis=2, dtype=np.uint16)
    sums = total[:, :, size - 1:].copy()
    sums[:, :, 1:] -= total[:, :, :-size]
    return sums


def _covered(windows: Array, size: int, padded: bool = True) -> Array:
    """Boolean: inside a window that is True; the windows are those of ``_window_sums``."""
    return _window_sums(windows, size, padded=not padded) > 0


def _clipped(images: Array) -> Array:
    """Boolean, shape of ``diagonal_haar``: has a pixel that ``_clipped_pixels`` marks."""
    rows, columns = (n // 2 * 2 for n in images.shape[1:3])
    cut = _clipped_pixels(images)[:, :rows, :columns]
    return cut[:, ::2, ::2] | cut[:, 1::2, ::2] | cut[:, ::2, 1::2] | cut[:, 1::2, 1::2]


def _clipped_pixels(images: Array) -> Array:
    """Boolean: has the channel's lowest or highest value, if many have it."""
    cut = np.zeros(images.shape, bool)
    for channel in range(images.shape[-1]):
        values = images[..., channel]
        for extreme in (np.fmin, np.fmax):
            at = values == extreme.reduce(values, axis=None)
            if np.count_nonzero(at) > max(2, _CLIPPED_SHARE * values.size):
                cut[..., channel] |= at
    return cut
