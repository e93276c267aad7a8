"""Ground-truth-free quality metrics of sorted units (NumPy).

Names and definitions are those of SpikeInterface's quality metrics, so that the values are comparable. Rates and
fractions of time therefore count the whole recording, also where it is blanked or missing and holds no spikes; the
noise in ``snr`` is that of the samples that hold noise.
"""

from __future__ import annotations

import numpy as np
from crsae_onnx.core.validation import as_positive, as_positive_int
from numpy.typing import ArrayLike


def unit_quality(spike_samples: ArrayLike, spike_units: ArrayLike, num_units: int, *, samples: int,
                 sampling_frequency: float, templates: ArrayLike | None = None, noise: ArrayLike | None = None,
                 isi_threshold_ms: float = 1.5, refractory_period_ms: float = 1.0, bin_seconds: float = 60.0
                 ) -> dict[str, np.ndarray]:
    """Quality metrics of each unit.

    Args:
        spike_samples: (spikes,) ints, in any order.
        spike_units: (spikes,) ints in 0 ... num_units - 1.
        num_units: number of units.
        samples: length of the recording.
        sampling_frequency: Hz.
        templates: (units, time, channels), in the unit of ``noise``; None: no ``snr``.
        noise: (channels,) noise standard deviations.
        isi_threshold_ms: shorter intervals violate the refractory period, for ``isi_violations_*``.
        refractory_period_ms: the same for ``rp_*``.
        bin_seconds: width of the bins of ``presence_ratio``.

    Returns:
        dict of arrays (units,):

        - ``num_spikes``; ``firing_rate``: spikes / s.
        - ``presence_ratio``: fraction of whole bins with a spike; NaN in a recording shorter than a bin.
        - ``isi_violations_count``, ``isi_violations_ratio``: see ``isi_violations``.
        - ``rp_violations``, ``rp_contamination``: see ``rp_violations``.
        - ``snr``: largest magnitude of the template over the noise of that channel. Only with templates.

        Rates and fractions of a unit without spikes are NaN, its counts 0.

    Raises:
        ValueError: lengths, shapes or numbers that do not match.

    Example:
        >>> from keras_crsae.applications.spike_sorting import unit_quality
        >>> quality = unit_quality([0, 10, 3000, 9000], [0, 0, 0, 1], 2, samples=10000, sampling_frequency=10000)
        >>> quality["firing_rate"].tolist(), quality["isi_violations_count"].tolist()
        ([3.0, 1.0], [1, 0])
    """
    times, labels, num_units, samples = _check_spikes(spike_samples, spike_units, num_units, samples)
    fs = as_positive(sampling_frequency, "sampling_frequency")
    trains = [np.sort(times[labels == unit]) for unit in range(num_units)]
    counts = np.array([len(train) for train in trains])
    isi, isi_count = np.array([isi_violations(t, samples, fs, isi_threshold_ms) for t in trains]).reshape(-1, 2).T
    rp, rp_count = np.array([rp_violations(t, samples, fs, refractory_period_ms) for t in trains]).reshape(-1, 2).T
    out = {"num_spikes": counts, "firing_rate": np.where(counts, counts / (samples / fs), np.nan),
           "presence_ratio": np.array([presence_ratio(t, samples, fs, bin_seconds) for t in trains]),
           "isi_violations_ratio": isi, "isi_violations_count": isi_count.astype(np.int64),
           "rp_contamination": rp, "rp_violations": rp_count.astype(np.int64)}
    if templates is not None:
        out["snr"] = _unit_snr(templates, noise, num_units)
    return out


def isi_violations(train: np.ndarray, samples: int, sampling_frequency: float, threshold_ms: float = 1.5
                   ) -> tuple[float, int]:
    """(ratio, count) of intervals below the threshold in one sorted spike train.

    The ratio is the rate of violations within the time 2 * spikes * threshold, divided by the unit's firing rate (Hill
    et al., J. Neurosci. 31, 2011, as SpikeInterface computes it). 0 is a clean unit; it may exceed 1.
    """
    threshold = as_positive(threshold_ms, "threshold_ms") / 1000
    if not len(train):
        return np.nan, 0
    count = int(np.sum(np.diff(np.asarray(train) / sampling_frequency) < threshold))
    rate = len(train) / (samples / sampling_frequency)
    return count / (2 * len(train) * threshold) / rate, count


def rp_violations(train: np.ndarray, samples: int, sampling_frequency: float, period_ms: float = 1.0
                  ) -> tuple[float, int]:
    """(contamination, count) of pairs of spikes at most the period apart in one sorted spike train.

    The contamination is the fraction of spikes from other neurons that explains the pairs, 1 - sqrt(1 - violations *
    samples / (spikes^2 * period)), 1 where the root does not exist (Llobet, Wyngaard and Barbour, bioRxiv
    2022.02.08.479192).

    Raises:
        ValueError: a period shorter than a sample.
    """
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


def presence_ratio(train: np.ndarray, samples: int, sampling_frequency: float, bin_seconds: float = 60.0) -> float:
    """Fraction of the recording's whole bins in which one spike train has a spike; NaN without spikes or bins."""
    width = int(as_positive(bin_seconds, "bin_seconds") * sampling_frequency)
    bins = int(samples) // width if width else 0
    if not len(train) or not bins:
        return np.nan
    # A spike on the last edge belongs to the last bin, as in numpy.histogram.
    inside = np.asarray(train)[np.asarray(train) <= bins * width]
    return len(np.unique(np.minimum(inside // width, bins - 1))) / bins


def snr(templates: ArrayLike, noise: ArrayLike) -> np.ndarray:
    """Largest magnitude of each template (units, time, channels) over the noise (channels,) of its channel.

    Example:
        >>> from keras_crsae.applications.spike_sorting.quality import snr
        >>> snr([[[-4.0, 1.0], [0.0, 0.0]]], [2.0, 1.0]).tolist()
        [2.0]
    """
    templates, noise = np.asarray(templates, float), np.asarray(noise, float)
    if templates.ndim != 3 or noise.shape != templates.shape[2:]:
        raise ValueError("`templates` must have the shape (units, time, channels) and `noise` (channels,). "
                         f"Received: {templates.shape} and {noise.shape}")
    peaks = np.abs(templates).max(axis=1)
    best = peaks.argmax(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return peaks[np.arange(len(peaks)), best] / noise[best]


def _unit_snr(templates: ArrayLike, noise: ArrayLike | None, num_units: int) -> np.ndarray:
    if noise is None:
        raise ValueError("`templates` need `noise`, one standard deviation a channel. Received: noise=None")
    values = snr(templates, noise)
    if len(values) != num_units:
        raise ValueError(f"`templates` must hold one template a unit. Received: {len(values)} templates for "
                         f"{num_units} units")
    return values


def _check_spikes(spike_samples: ArrayLike, spike_units: ArrayLike, num_units: int, samples: int
                  ) -> tuple[np.ndarray, np.ndarray, int, int]:
    times, labels = np.asarray(spike_samples), np.asarray(spike_units)
    num_units, samples = as_positive_int(num_units, "num_units"), as_positive_int(samples, "samples")
    integers = all(a.dtype.kind in "iu" or not a.size for a in (times, labels))
    if not integers or times.ndim != 1 or times.shape != labels.shape:
        raise ValueError("`spike_samples` and `spike_units` must be ints, one each a spike. Received: "
                         f"{times.dtype} of shape {times.shape} and {labels.dtype} of shape {labels.shape}")
    times, labels = times.astype(np.int64), labels.astype(np.int64)
    if times.size and not (0 <= times.min() and times.max() < samples):
        raise ValueError(f"`spike_samples` must lie in 0 ... {samples - 1}, the recording. Received: "
                         f"{times.min()} ... {times.max()}")
    if labels.size and not (0 <= labels.min() and labels.max() < num_units):
        raise ValueError(f"`spike_units` must lie in 0 ... {num_units - 1}. Received: "
                         f"{labels.min()} ... {labels.max()}")
    return times, labels, num_units, samples
