"""The noise of a recording: its level, its correlation over time and channels, and the whitening filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from crsae_onnx.core.noise import NoiseLevel
from crsae_onnx.core.signals import robust_std
from crsae_onnx.core.spikes.whitening import Whitening
from scipy.linalg import solve_toeplitz
from scipy.signal import firwin
from scipy.special import ndtr

from keras_crsae.applications.spike_sorting.parameters import DEFAULTS, SortingParameters

#: Samples whose products are summed together.
_PIECE_SAMPLES = 1 << 16
#: Samples that medians are taken of, at least.
_MEDIAN_SAMPLES = 1 << 17


def thinned(values: np.ndarray) -> np.ndarray:
    """Every k-th of many samples: as many as medians need to be right to half a percent.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting.noise import thinned
        >>> thinned(np.zeros((1_000_000, 2))).shape
        (142858, 2)
    """
    return values[::max(1, len(values) // _MEDIAN_SAMPLES)]


def channel_noise(signal: np.ndarray, holds_noise: np.ndarray | None = None) -> np.ndarray:
    """Robust noise standard deviation of each channel, (channels,): median |y - median y| / 0.6745.

    Args:
        signal: (samples, channels).
        holds_noise: None, or boolean (samples, channels): the others have no say. A channel without any gets 0.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting.noise import channel_noise
        >>> float(channel_noise(np.array([[-1.0], [0.0], [1.0]]))[0].round(3))
        1.483
    """
    if holds_noise is None or holds_noise.all():
        return robust_std(signal, axis=0)
    return np.array([robust_std(column[held]) if held.any() else 0.0
                     for column, held in zip(signal.T, holds_noise.T, strict=True)], signal.dtype)


def channel_median(signal: np.ndarray, holds_noise: np.ndarray) -> np.ndarray:
    """Median of each channel's samples that hold noise, (channels,), 0 where none does; see ``channel_noise``."""
    if holds_noise.all():
        return np.median(signal, axis=0)
    return np.array([np.median(column[held]) if held.any() else 0.0
                     for column, held in zip(signal.T, holds_noise.T, strict=True)])


def referenced_noise(signal: np.ndarray, holds_noise: np.ndarray, levels: Sequence[NoiseLevel]) -> np.ndarray:
    """``channel_noise`` of a recording of few counts after the common reference, (channels,), before rounding.

    Differences of coarse numbers have few values, of which a median absolute deviation sees nothing. So uniform noise
    of one step is added first; its variance, and that of rounding in a difference from the mean of the channels, are
    subtracted again.

    Args:
        signal: (samples, channels), the common reference subtracted.
        holds_noise: boolean, the same shape: the others have no say.
        levels: of each channel before the reference; where the step is 0 nothing is added.
    """
    step = np.array([level.step for level in levels])
    if not step.any():
        return channel_noise(signal, holds_noise)
    dither = np.random.default_rng(0).uniform(-0.5, 0.5, signal.shape) * step
    variance = np.square(channel_noise(signal + dither, holds_noise)) - np.square(step) / 12
    rounding = np.array([_rounding_variance(level) for level in levels]) * (1 - 1 / signal.shape[1])
    return np.sqrt(np.maximum(variance - rounding, np.square(step) * 1e-4)).astype(signal.dtype)


def _rounding_variance(level: NoiseLevel) -> float:
    """Variance that rounding adds to noise."""
    if not level.step or not level.std:
        return 0.0
    sigma, center = level.std / level.step, level.center / level.step % 1
    values = np.arange(-np.ceil(6 * sigma) - 1, np.ceil(6 * sigma) + 3)
    mass = np.diff(ndtr((np.append(values, values[-1] + 1) - 0.5 - center) / sigma))
    variance = mass @ np.square(values) - (mass @ values) ** 2
    return float(level.step**2 * max(0.0, variance - sigma**2))


def quiet_samples(signal: np.ndarray, sampling_frequency: float, parameters: SortingParameters = DEFAULTS, *,
                  noise: np.ndarray | None = None, holds_noise: np.ndarray | None = None) -> np.ndarray:
    """Boolean (samples,): no channel is near a spike.

    Args:
        signal: (samples, channels).
        sampling_frequency: Hz.
        parameters: what is a spike, and near it.
        noise: (channels,) standard deviations; None: ``channel_noise``.
        holds_noise: None, or boolean (samples, channels); where no channel does is not quiet either.
    """
    holds = np.ones(signal.shape, bool) if holds_noise is None else holds_noise
    noise = channel_noise(thinned(signal), thinned(holds)) if noise is None else noise
    scale = np.where(noise > 0, noise, 1)
    middle, limit = channel_median(thinned(signal), thinned(holds)), parameters.noise_threshold_sd * scale
    loud = np.zeros(len(signal), bool)
    for start in range(0, len(signal), _PIECE_SAMPLES):  # recordings of wide probes are large
        piece = slice(start, start + _PIECE_SAMPLES)
        loud[piece] = ((np.abs(signal[piece] - middle) > limit) & holds[piece]).any(axis=1)
    radius = parameters.samples(parameters.noise_margin_ms, sampling_frequency)
    near = np.convolve(loud, np.ones(2 * radius + 1), "same") > 0.5
    left = holds.any(axis=1)
    return np.logical_not(near if near[left].mean() < 0.9 else loud) & left


def band_pass(band: Sequence[float], sampling_frequency: float, periods: float = DEFAULTS.band_pass_periods
              ) -> np.ndarray:
    """Taps of a linear-phase band-pass filter, odd in number.

    Args:
        band: (low, high), edges in Hz, up to half the sampling frequency. At (nearly) half of it there is nothing
            above to remove, and the filter is a high-pass one.
        sampling_frequency: Hz.
        periods: length of the filter in periods of the lower edge.

    Raises:
        ValueError: not two edges, out of order or beyond half the sampling frequency.

    Example:
        >>> from keras_crsae.applications.spike_sorting.noise import band_pass
        >>> band_pass((300, 6000), sampling_frequency=30000).shape
        (151,)
    """
    nyquist = sampling_frequency / 2
    low, high = band if len(band) == 2 else (0.0, 0.0)
    if not 0 < low < high:
        raise ValueError(f"`band` must be (low, high) in Hz with 0 < low < high. Received: band={tuple(band)!r}.")
    if high > nyquist or low >= 0.99 * nyquist:
        raise ValueError(f"`band` must lie below half the sampling frequency: {nyquist:g} Hz at {sampling_frequency:g} "
                         f"Hz. Received: band={tuple(band)!r}. Lower it, or look at the sampling frequency.")
    length = 2 * int(np.ceil(periods * sampling_frequency / low / 2)) + 1
    if high >= 0.99 * nyquist:  # nothing above to remove: a high-pass filter
        return np.asarray(firwin(length, low, fs=sampling_frequency, pass_zero=False))
    return np.asarray(firwin(length, (low, high), fs=sampling_frequency, pass_zero=False))


def filter_radius(taps: np.ndarray, energy: float = 0.99) -> int:
    """Samples on each side of the center of ``taps`` that hold a fraction ``energy`` of their energy.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting.noise import filter_radius
        >>> filter_radius(np.array([0.01, 0.5, 1.0, 0.5, 0.01]))
        1
    """
    square = np.square(taps)
    half = len(taps) // 2
    inside = np.cumsum(square[half:]) + np.cumsum(square[half::-1]) - square[half]
    return int(np.argmax(inside >= energy * square.sum()))


def erode(holds_noise: np.ndarray, radius: int) -> np.ndarray:
    """Boolean (samples, channels): all samples within ``radius`` hold noise; what is left nothing of is kept as it is.
    """
    from scipy.ndimage import minimum_filter1d

    eroded = minimum_filter1d(holds_noise.astype(np.uint8), 2 * radius + 1, axis=0, mode="nearest").astype(bool)
    return np.where(eroded.any(axis=0), eroded, holds_noise)


def fit_whitening(signal: np.ndarray, sampling_frequency: float, *, offset: np.ndarray,
                  band: np.ndarray | None = None, common_reference: bool = False,
                  parameters: SortingParameters = DEFAULTS, noise: np.ndarray | None = None,
                  holds_noise: np.ndarray | None = None, blank_samples: int = 0, blank_tolerance: Any = 0.0
                  ) -> Whitening:
    """Estimate a ``Whitening`` from a stretch of recording.

    In time each channel gets the prediction-error filter of its noise (an autoregression fitted to the quiet samples
    by the Yule-Walker equations), in space the symmetric inverse root of the remaining covariance (Mahalanobis, "ZCA").

    Args:
        signal: float (samples, channels), the recording without ``offset``, referenced and band-passed.
        sampling_frequency: Hz.
        offset: (channels,), for the ``Whitening``.
        band: taps of the band-pass filter that was applied to the signal, or None.
        common_reference: for the ``Whitening``.
        parameters: length and floor of the filter, and what counts as quiet.
        noise: (channels,) standard deviations, 0 for a channel to leave out; None: ``channel_noise``.
        holds_noise: None, or boolean (samples, channels): the others have no say.
        blank_samples, blank_tolerance: for the ``Whitening``.

    Returns:
        ``Whitening``. A channel without noise has weight zero.
    """
    holds = np.ones(signal.shape, bool) if holds_noise is None else holds_noise
    predict, quiet = prediction_filters(signal, sampling_frequency, parameters, noise=noise, holds_noise=holds)
    mixing = space_mixing(filter_time(signal, predict, 0), predict, holds, quiet)
    return in_one(predict, mixing, offset=offset, band=band, common_reference=common_reference,
                  blank_samples=blank_samples, blank_tolerance=blank_tolerance)


def whitening_order(sampling_frequency: float, parameters: SortingParameters = DEFAULTS) -> int:
    """Samples of the past that whitening in time uses."""
    return max(parameters.minimum_whitening_samples, round(parameters.whitening_memory_ms / 1000 * sampling_frequency))


def prediction_filters(signal: np.ndarray, sampling_frequency: float, parameters: SortingParameters = DEFAULTS, *,
                       noise: np.ndarray | None = None, holds_noise: np.ndarray | None = None
                       ) -> tuple[np.ndarray, np.ndarray]:
    """(prediction-error filters (order + 1, channels), ``quiet_samples`` that they were fitted to).

    Args: see ``fit_whitening``. The filter of a channel without noise is zero.
    """
    holds = np.ones(signal.shape, bool) if holds_noise is None else holds_noise
    quiet = quiet_samples(signal, sampling_frequency, parameters, noise=noise, holds_noise=holds)
    order = whitening_order(sampling_frequency, parameters)
    predict = np.zeros((order + 1, signal.shape[1]))
    counts = _pair_counts(quiet, order) if holds[quiet].all() else None  # the same for all channels
    for c in range(signal.shape[1]):
        if noise is None or noise[c] > 0:
            some = quiet if counts is not None else quiet & holds[:, c]
            predict[:, c] = _prediction_error_filter(
                signal[:, c], some, _pair_counts(some, order) if counts is None else counts,
                parameters.whitening_floor_fraction)
    return predict, quiet


def filter_time(signal: np.ndarray, predict: np.ndarray, start: int) -> np.ndarray:
    """Samples from ``start`` on of each channel (samples, channels) after its filter, zeros before the first."""
    channels = signal.shape[1]
    return Whitening(predict, np.eye(channels), np.zeros(channels))(signal, start, len(signal))


def space_mixing(filtered: np.ndarray, predict: np.ndarray, holds: np.ndarray, quiet: np.ndarray) -> np.ndarray:
    """Symmetric inverse root (channels, channels) of the covariance of filtered quiet samples."""
    channels, alive = filtered.shape[1], predict.any(axis=0)
    mixing = np.zeros((channels, channels))
    if alive.any():
        values, vectors = np.linalg.eigh(_covariance(filtered, holds, quiet)[np.ix_(alive, alive)])
        values = np.maximum(values, 1e-3 * values.max())
        mixing[np.ix_(alive, alive)] = vectors / np.sqrt(values) @ vectors.T
    return mixing


def in_one(predict: np.ndarray, mixing: np.ndarray, *, offset: np.ndarray, band: np.ndarray | None,
           common_reference: bool, blank_samples: int, blank_tolerance: Any) -> Whitening:
    """The ``Whitening`` from the recording on: ``predict`` after the taps ``band``, then ``mixing``."""
    if band is None:
        return Whitening(predict, mixing, offset, 0, common_reference, blank_samples, blank_tolerance)
    taps = np.stack([np.convolve(band, column) for column in predict.T], axis=1)
    return Whitening(taps, mixing, offset, len(band) // 2, common_reference, blank_samples, blank_tolerance, len(band))


def _covariance(white: np.ndarray, holds: np.ndarray, quiet: np.ndarray) -> np.ndarray:
    """Mean products (channels, channels) of the quiet samples at which both channels hold noise."""
    channels = white.shape[1]
    products, counts = np.zeros((channels, channels)), np.zeros((channels, channels))
    for start in range(0, len(white), _PIECE_SAMPLES):
        some = quiet[start:start + _PIECE_SAMPLES]
        weight = holds[start:start + _PIECE_SAMPLES][some]
        sample = white[start:start + _PIECE_SAMPLES][some].astype(np.float64)
        if weight.all():
            counts += len(sample)
        else:
            sample = sample * weight
            counts += weight.T.astype(np.float64) @ weight
        products += sample.T @ sample
    return products / np.maximum(1, counts)


def _pair_counts(quiet: np.ndarray, order: int) -> np.ndarray:
    """(order + 1,): pairs of quiet samples so far from each other."""
    return np.array([np.count_nonzero(quiet[:len(quiet) - k] & quiet[k:]) for k in range(order + 1)])


def _prediction_error_filter(values: np.ndarray, quiet: np.ndarray, counts: np.ndarray, floor: float) -> np.ndarray:
    """Taps (order + 1,) that turn a channel's noise into white noise of variance 1; zeros for a silent channel."""
    kept, n, order = np.where(quiet, values, 0).astype(np.float64), len(values), len(counts) - 1
    lags = np.array([kept[:n - k] @ kept[k:] / max(1, counts[k]) for k in range(order + 1)])
    if not lags[0] > 0:
        return np.zeros(order + 1)
    lags[0] *= 1 + floor
    coefficients = solve_toeplitz(lags[:order], lags[1:])
    variance = lags[0] - coefficients @ lags[1:]
    if not variance > 0:  # too few samples for a positive-definite estimate
        coefficients, variance = np.zeros(order), lags[0]
    return np.concatenate([[1.0], -coefficients]) / np.sqrt(variance)
