"""The noise of a recording: its level, its correlation over time and channels, and the whitening filter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from crsae_onnx.core.signals import robust_std
from crsae_onnx.core.spikes.whitening import Whitening
from scipy.linalg import solve_toeplitz
from scipy.signal import firwin

from keras_crsae.applications.spike_sorting.parameters import DEFAULTS, SortingParameters


def channel_noise(signal: np.ndarray) -> np.ndarray:
    """Robust noise standard deviation of each channel, (channels,): median |y - median y| / 0.6745.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting.noise import channel_noise
        >>> float(channel_noise(np.array([[-1.0], [0.0], [1.0]]))[0].round(3))
        1.483
    """
    return robust_std(signal, axis=0)


def quiet_samples(signal: np.ndarray, sampling_frequency: float,
                  parameters: SortingParameters = DEFAULTS) -> np.ndarray:
    """Boolean (samples,): no channel is near a spike."""
    scale = np.where((noise := channel_noise(signal)) > 0, noise, 1)
    loud = (np.abs(signal - np.median(signal, axis=0)) > parameters.noise_threshold_sd * scale).any(axis=1)
    radius = parameters.samples(parameters.noise_margin_ms, sampling_frequency)
    near = np.convolve(loud, np.ones(2 * radius + 1), "same") > 0.5
    return np.logical_not(near if near.mean() < 0.9 else loud)


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


def fit_whitening(signal: np.ndarray, sampling_frequency: float, *, offset: np.ndarray,
                  band: np.ndarray | None = None, common_reference: bool = False,
                  parameters: SortingParameters = DEFAULTS) -> Whitening:
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

    Returns:
        ``Whitening``. A channel without noise has weight zero.
    """
    quiet = quiet_samples(signal, sampling_frequency, parameters)
    order = max(parameters.minimum_whitening_samples, round(parameters.whitening_memory_ms / 1000 * sampling_frequency))
    channels = signal.shape[1]
    predict = np.zeros((order + 1, channels))
    for c in range(channels):
        predict[:, c] = _prediction_error_filter(signal[:, c], quiet, order, parameters.whitening_floor_fraction)
    alive = predict.any(axis=0)
    white = Whitening(predict, np.eye(channels), np.zeros(channels))(signal, 0, len(signal)).astype(np.float64)
    sample = white[quiet]
    covariance = sample.T @ sample / max(1, len(sample))
    mixing = np.zeros((channels, channels))
    if alive.any():
        values, vectors = np.linalg.eigh(covariance[np.ix_(alive, alive)])
        values = np.maximum(values, 1e-3 * values.max())
        mixing[np.ix_(alive, alive)] = vectors / np.sqrt(values) @ vectors.T
    if band is None:
        return Whitening(predict, mixing, offset, common_reference=common_reference)
    taps = np.stack([np.convolve(band, predict[:, c]) for c in range(channels)], axis=1)
    return Whitening(taps, mixing, offset, lead=len(band) // 2, common_reference=common_reference)


def _prediction_error_filter(values: np.ndarray, quiet: np.ndarray, order: int, floor: float) -> np.ndarray:
    """Taps (order + 1,) that turn a channel's noise into white noise of variance 1; zeros for a silent channel."""
    kept, weight = np.where(quiet, values, 0).astype(np.float64), quiet.astype(np.float64)
    n = len(values)
    lags = np.array([kept[:n - k] @ kept[k:] / max(1.0, weight[:n - k] @ weight[k:]) for k in range(order + 1)])
    if not lags[0] > 0:
        return np.zeros(order + 1)
    lags[0] *= 1 + floor
    coefficients = solve_toeplitz(lags[:order], lags[1:])
    variance = lags[0] - coefficients @ lags[1:]
    if not variance > 0:  # too few samples for a positive-definite estimate
        coefficients, variance = np.zeros(order), lags[0]
    return np.concatenate([[1.0], -coefficients]) / np.sqrt(variance)
