"""The noise of a recording: its level, its correlation over time and channels, and the whitening that undoes it."""

import numpy as np
from crsae_onnx.core.signals import robust_std
from crsae_onnx.core.spikes.whitening import Whitening
from scipy.linalg import solve_toeplitz
from scipy.signal import firwin

#: Seconds that the whitening filter looks back, and the band-pass filter's length in periods of its lower edge.
MEMORY, PERIODS = 0.0003, 1.5
#: Samples that it looks back at least.
SHORTEST = 8
#: White noise added to the estimated one, as a share of it: bounds how much weak frequencies are amplified.
FLOOR = 1e-4
#: A sample above so many noise standard deviations is a spike's, and so are those within QUIET seconds of it.
LOUD, QUIET = 4.0, 0.001


def channel_noise(signal):
    """Robust noise standard deviation of each channel, (channels,): median |y - median y| / 0.6745.

    Example:
        >>> float(channel_noise(np.array([[-1.0], [0.0], [1.0]]))[0].round(3))
        1.483
    """
    return robust_std(signal, axis=0)


def quiet_samples(signal, sampling_frequency):
    """Boolean (samples,): no channel is near a spike."""
    scale = np.where((noise := channel_noise(signal)) > 0, noise, 1)
    loud = (np.abs(signal - np.median(signal, axis=0)) > LOUD * scale).any(axis=1)
    reach = max(1, round(QUIET * sampling_frequency))
    near = np.convolve(loud, np.ones(2 * reach + 1), "same") > 0.5
    return ~near if near.mean() < 0.9 else ~loud


def band_pass(low, high, sampling_frequency):
    """Taps of a linear-phase band-pass filter, odd in number; ``high`` is held below half the sampling frequency.

    Raises:
        ValueError: edges out of order or beyond half the sampling frequency.
    """
    nyquist = sampling_frequency / 2
    if not 0 < low < nyquist or not low < high:
        raise ValueError(f"`band` must be (low, high) in Hz with 0 < low < high and low below half the sampling "
                         f"frequency ({nyquist:g} Hz). Received: band=({low!r}, {high!r})")
    length = 2 * int(np.ceil(PERIODS * sampling_frequency / low / 2)) + 1
    if high >= 0.99 * nyquist:  # nothing above to take away: a high-pass filter
        return firwin(length, low, fs=sampling_frequency, pass_zero=False)
    return firwin(length, (low, high), fs=sampling_frequency, pass_zero=False)


def fit_whitening(signal, sampling_frequency, *, offset, band=None, common_reference=False):
    """Estimate a ``Whitening`` from a stretch of recording.

    In time each channel gets the prediction-error filter of its noise (an autoregression fitted to the quiet samples
    by the Yule-Walker equations), in space the symmetric inverse root of what covariance remains (Mahalanobis, "ZCA").

    Args:
        signal: float (samples, channels), the recording without ``offset``, reference taken and band-passed.
        sampling_frequency: Hz.
        offset: (channels,), for the ``Whitening``.
        band: taps of the band-pass filter that the signal went through, or None.
        common_reference: for the ``Whitening``.

    Returns:
        ``Whitening``. A channel without noise is given weight zero.
    """
    quiet = quiet_samples(signal, sampling_frequency)
    order = max(SHORTEST, round(MEMORY * sampling_frequency))
    channels = signal.shape[1]
    predict = np.zeros((order + 1, channels))
    for c in range(channels):
        predict[:, c] = _prediction_error_filter(signal[:, c], quiet, order)
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


def _prediction_error_filter(values, quiet, order):
    """Taps (order + 1,) that turn a channel's noise into white noise of variance 1; zeros for a silent channel."""
    kept, weight = np.where(quiet, values, 0).astype(np.float64), quiet.astype(np.float64)
    n = len(values)
    lags = np.array([kept[:n - k] @ kept[k:] / max(1.0, weight[:n - k] @ weight[k:]) for k in range(order + 1)])
    if not lags[0] > 0:
        return np.zeros(order + 1)
    lags[0] *= 1 + FLOOR
    coefficients = solve_toeplitz(lags[:order], lags[1:])
    variance = lags[0] - coefficients @ lags[1:]
    if not variance > 0:  # too few samples for a positive-definite estimate
        coefficients, variance = np.zeros(order), lags[0]
    return np.concatenate([[1.0], -coefficients]) / np.sqrt(variance)
