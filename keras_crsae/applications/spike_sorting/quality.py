"""What can be said of sorted units without a truth: refractory violations, presence, rate, signal to noise (NumPy).

Names and definitions are those of SpikeInterface's quality metrics, so that figures can be set side by side.
"""

import numpy as np
from crsae_onnx.core.validation import as_positive, as_positive_int

from keras_crsae.applications.spike_sorting.noise import channel_noise


def unit_quality(spike_samples, spike_units, units, *, samples, sampling_frequency, templates=None, noise=None,
                 isi_threshold_ms=1.5, refractory_period_ms=1.0, bin_seconds=60.0):
    """Truth-free quality of each unit.

    Args:
        spike_samples: (spikes,) whole samples, in any order.
        spike_units: (spikes,) whole numbers in 0 ... units - 1.
        units: number of units.
        samples: length of the recording.
        sampling_frequency: Hz.
        templates: (units, time, channels), in the unit of ``noise``; None: no ``snr``.
        noise: (channels,) noise standard deviations.
        isi_threshold_ms: intervals below it violate the refractory period, for ``isi_violations_*``.
        refractory_period_ms: the same for ``rp_*``.
        bin_seconds: width of the bins of ``presence_ratio``.

    Returns:
        dict of arrays (units,):

        - ``num_spikes``; ``firing_rate``: spikes / s.
        - ``presence_ratio``: share of whole bins with a spike; NaN in a recording shorter than a bin.
        - ``isi_violations_count``: intervals below the threshold; ``isi_violations_ratio``: their rate within the time
          2 * spikes * threshold, over the unit's firing rate (Hill et al., J. Neurosci. 31, 2011, as SpikeInterface
          computes it). 0 is a clean unit; it is no share and may exceed 1.
        - ``rp_violations``: pairs of spikes at most the refractory period apart; ``rp_contamination``: share of spikes
          from other neurons that explains them, 1 - sqrt(1 - violations * samples / (spikes^2 * period)), 1 where the
          root does not exist (Llobet, Wyngaard and Barbour, bioRxiv 2022.02.08.479192).
        - ``snr``: largest magnitude of the template over the noise of that channel. Only with templates.

        Rates and shares of a unit without spikes are NaN, its counts 0.

    Raises:
        ValueError: lengths, shapes or numbers that do not fit.

    Example:
        >>> found = unit_quality([0, 10, 3000, 9000], [0, 0, 0, 1], 2, samples=10000, sampling_frequency=10000)
        >>> found["firing_rate"].tolist(), found["isi_violations_count"].tolist()
        ([3.0, 1.0], [1, 0])
    """
    times, labels, units = _checked(spike_samples, spike_units, units, samples)
    fs = as_positive(sampling_frequency, "sampling_frequency")
    trains = [np.sort(times[labels == unit]) for unit in range(units)]
    counts = np.array([len(train) for train in trains])
    isi, isi_count = np.array([isi_violations(t, samples, fs, isi_threshold_ms) for t in trains]).reshape(-1, 2).T
    rp, rp_count = np.array([rp_violations(t, samples, fs, refractory_period_ms) for t in trains]).reshape(-1, 2).T
    out = {"num_spikes": counts, "firing_rate": np.where(counts, counts / (samples / fs), np.nan),
           "presence_ratio": np.array([presence_ratio(t, samples, fs, bin_seconds) for t in trains]),
           "isi_violations_ratio": isi, "isi_violations_count": isi_count.astype(np.int64),
           "rp_contamination": rp, "rp_violations": rp_count.astype(np.int64)}
    if templates is not None:
        out["snr"] = snr(templates, noise)
        if len(out["snr"]) != units:
            raise ValueError(f"`templates` must hold one template a unit. Received: {len(out['snr'])} templates for "
                             f"{units} units")
    return out


def isi_violations(train, samples, sampling_frequency, threshold_ms=1.5):
    """(ratio, count) of intervals below the threshold in one sorted spike train; see ``unit_quality``."""
    threshold = as_positive(threshold_ms, "threshold_ms") / 1000
    if not len(train):
        return np.nan, 0
    count = int(np.sum(np.diff(np.asarray(train) / sampling_frequency) < threshold))
    rate = len(train) / (samples / sampling_frequency)
    return count / (2 * len(train) * threshold) / rate, count


def rp_violations(train, samples, sampling_frequency, period_ms=1.0):
    """(contamination, count) of pairs at most the period apart in one sorted spike train; see ``unit_quality``."""
    period = int(round(as_positive(period_ms, "period_ms") * sampling_frequency / 1000))
    if period < 1:
        raise ValueError(f"A refractory period of {period_ms} ms is shorter than a sample at {sampling_frequency} Hz. "
                         "Give a longer one.")
    train = np.asarray(train)
    count = int(np.sum(np.searchsorted(train, train + period, side="right") - np.arange(len(train)) - 1))
    if len(train) < 2:
        return np.nan, count
    remainder = 1 - count * samples / (len(train) ** 2 * period)
    return (1 - np.sqrt(remainder) if remainder >= 0 else 1.0), count


def presence_ratio(train, samples, sampling_frequency, bin_seconds=60.0):
    """Share of the recording's whole bins in which one spike train has a spike; NaN without spikes or bins."""
    width = int(as_positive(bin_seconds, "bin_seconds") * sampling_frequency)
    bins = int(samples) // width if width else 0
    if not len(train) or not bins:
        return np.nan
    # A spike on the last edge belongs to the last bin, as in numpy.histogram.
    inside = np.asarray(train)[np.asarray(train) <= bins * width]
    return len(np.unique(np.minimum(inside // width, bins - 1))) / bins


def snr(templates, noise):
    """Largest magnitude of each template (units, time, channels) over the noise (channels,) of its channel."""
    templates, noise = np.asarray(templates, float), np.asarray(noise, float)
    if templates.ndim != 3 or noise.shape != templates.shape[2:]:
        raise ValueError("`templates` must have the shape (units, time, channels) and `noise` (channels,). "
                         f"Received: {templates.shape} and {noise.shape}")
    peaks = np.abs(templates).max(axis=1)
    best = peaks.argmax(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return peaks[np.arange(len(peaks)), best] / noise[best]


def noise_level(traces):
    """Robust noise standard deviation of each channel: median absolute deviation / 0.6745, of (samples, channels)."""
    traces = np.asarray(traces, np.float32)
    if traces.ndim != 2 or not len(traces):
        raise ValueError(f"`traces` must have the shape (samples, channels). Received: shape {traces.shape}")
    return channel_noise(traces)


def _checked(spike_samples, spike_units, units, samples):
    times, labels, units = np.asarray(spike_samples), np.asarray(spike_units), as_positive_int(units, "units")
    whole = all(a.dtype.kind in "iu" or not a.size for a in (times, labels))
    if not whole or times.ndim != 1 or times.shape != labels.shape:
        raise ValueError("`spike_samples` and `spike_units` must be whole numbers, one each a spike. Received: "
                         f"{times.dtype} of shape {times.shape} and {labels.dtype} of shape {labels.shape}")
    samples = as_positive_int(samples, "samples")
    times, labels = times.astype(np.int64), labels.astype(np.int64)
    if times.size and not (0 <= times.min() and times.max() < samples):
        raise ValueError(f"`spike_samples` must lie in 0 ... {samples - 1}, the recording. Received: "
                         f"{times.min()} ... {times.max()}")
    if labels.size and not (0 <= labels.min() and labels.max() < units):
        raise ValueError(f"`spike_units` must lie in 0 ... {units - 1}. Received: {labels.min()} ... {labels.max()}")
    return times, labels, units
