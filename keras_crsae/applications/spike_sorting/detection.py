"""First templates: extrema above the noise, and clusters of their waveforms (NumPy, SciPy, scikit-learn)."""

from __future__ import annotations

import numpy as np

from keras_crsae.applications.spike_sorting.parameters import DEFAULTS, SortingParameters
from keras_crsae.applications.spike_sorting.templates import (
    WIDE_PROBE_CHANNELS,
    principal_axes,
    reached_channels,
    waveforms,
)

#: Waveforms whose energy on each channel is compared with that of the rest.
_COMPARED_WAVEFORMS = 50
#: Variance of a median of normal noise over that of a mean.
_MEDIAN_VARIANCE = 1.6


def detect_extrema(signal: np.ndarray, noise: np.ndarray, kernel_size: int, before: int, distance: int,
                   threshold: float = DEFAULTS.detection_threshold_sd) -> tuple[np.ndarray, np.ndarray]:
    """(start_sample, channel) of waveforms whose extremum passes the threshold on some channel.

    Args:
        signal: (time, channels), not whitened.
        noise: (channels,) standard deviations; 0 marks a dead channel.
        kernel_size, before: samples of a waveform, and before its extremum.
        distance: samples; of extrema closer than that only the largest is kept.
        threshold: noise standard deviations.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting.detection import detect_extrema
        >>> signal = np.zeros((100, 1)); signal[50] = -9
        >>> [a.tolist() for a in detect_extrema(signal, np.ones(1), kernel_size=20, before=5, distance=10)]
        [[45], [0]]
    """
    from scipy.ndimage import maximum_filter1d

    scaled = np.abs(signal) / np.where(noise > 0, noise, np.inf)
    largest = scaled.max(axis=1)
    extremum = np.flatnonzero((maximum_filter1d(largest, 2 * distance + 1) == largest) & (largest > threshold))
    extremum = extremum[(extremum >= kernel_size) & (extremum < len(signal) - 2 * kernel_size)]
    return extremum - before, scaled[extremum].argmax(axis=1)


def cluster_waveforms(signal: np.ndarray, start_sample: np.ndarray, channel: np.ndarray, kernel_size: int,
                      clusters: int, seed: int, parameters: SortingParameters = DEFAULTS) -> np.ndarray:
    """Median waveforms of k-means clusters, (templates, kernel_size, channels).

    Args:
        signal: (time, channels), whitened.
        start_sample, channel: of each detection; each detection channel is clustered by itself.
        kernel_size: samples of a waveform.
        clusters: a channel.
        seed: int.
        parameters: size of the smallest cluster, principal components.
    """
    from sklearn.cluster import KMeans

    every, wide = np.arange(signal.shape[1]), signal.shape[1] > WIDE_PROBE_CHANNELS
    energy = np.asarray(np.mean(np.square(signal), axis=0)) if wide else np.ones(len(every))
    medians: list[np.ndarray] = []
    counts: list[int] = []
    for c in np.unique(channel):
        starts = start_sample[channel == c]
        if len(starts) < parameters.minimum_spikes:
            continue
        near = _channels_near(signal, starts, kernel_size, energy) if wide else every
        flat = waveforms(signal, starts, kernel_size, near).reshape(len(starts), -1)
        axes = principal_axes(flat[:parameters.pca_waveforms], parameters.cluster_components)
        count = int(min(clusters, max(1, len(starts) // (2 * parameters.minimum_spikes))))
        label = KMeans(count, n_init=3, random_state=seed).fit_predict(flat @ axes)
        for k in range(count):
            members = np.flatnonzero(label == k)
            if len(members) >= parameters.minimum_spikes // 2:
                median = np.zeros((kernel_size, signal.shape[1]), np.float32)
                median[:, near] = np.median(flat[members], axis=0).reshape(kernel_size, -1)
                medians.append(median)
                counts.append(len(members))
    if not medians:
        return np.zeros((0, kernel_size, signal.shape[1]), np.float32)
    templates = np.stack(medians)
    if wide:
        templates *= reached_channels(templates, np.array(counts) / _MEDIAN_VARIANCE)[:, None]
    return templates


def _channels_near(signal: np.ndarray, start_sample: np.ndarray, kernel_size: int, energy: np.ndarray) -> np.ndarray:
    """Channels with more energy in these waveforms than at other times, ascending.

    Args:
        signal, start_sample, kernel_size: of the waveforms.
        energy: (channels,), mean square of the signal.
    """
    some = start_sample[::max(1, len(start_sample) // _COMPARED_WAVEFORMS)]
    inside = np.mean(np.square(waveforms(signal, some, kernel_size)), axis=(0, 1), dtype=np.float64)
    near = inside > energy + 4 * np.sqrt(2 / (len(some) * kernel_size))
    near[inside.argmax()] = True
    return np.flatnonzero(near)
