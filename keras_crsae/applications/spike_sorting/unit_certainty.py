"""How sure the numbers of a unit table are: 95 % intervals, and the errors that the model expects (NumPy, SciPy)."""

from __future__ import annotations

from typing import Any

import numpy as np
from crsae_onnx.core.spikes.correlations import gram
from crsae_onnx.core.spikes.detector import SpikeReader
from crsae_onnx.core.spikes.spike_search import AmplitudeModel

from keras_crsae.applications.spike_sorting.quality import unit_quality

#: Quantile of the normal distribution for intervals that hold 95 %.
_Z = 1.96
#: Variance of a median of normal values over that of their mean.
_MEDIAN_VARIANCE = np.pi / 2
#: Shares below are written as smaller than it.
_LEAST_SHARE = 0.001


def share_interval(count: int, total: int) -> tuple[float, float]:
    """95 % interval of a probability of which ``count`` of ``total`` trials say something (Wilson's).

    Example:
        >>> from keras_crsae.applications.spike_sorting.unit_certainty import share_interval
        >>> [round(v, 3) for v in share_interval(0, 100)], [round(v, 2) for v in share_interval(50, 100)]
        ([0.0, 0.037], [0.4, 0.6])
    """
    if not total:
        return 0.0, 1.0
    share, square = count / total, _Z**2 / total
    middle, half = share + square / 2, _Z * np.sqrt(share * (1 - share) / total + square / (4 * total))
    return max(0.0, float((middle - half) / (1 + square))), min(1.0, float((middle + half) / (1 + square)))


def count_interval(count: int) -> tuple[float, float]:
    """95 % interval of the mean of a Poisson distribution of which ``count`` was drawn (exact, Garwood 1936).

    Example:
        >>> from keras_crsae.applications.spike_sorting.unit_certainty import count_interval
        >>> [round(v, 2) for v in count_interval(0)], [round(v, 2) for v in count_interval(10)]
        ([0.0, 3.69], [4.8, 18.39])
    """
    from scipy.stats import chi2

    return (float(chi2.ppf(0.025, 2 * count) / 2) if count else 0.0), float(chi2.ppf(0.975, 2 * count + 2) / 2)


def contamination_interval(violations: int, spikes: int, samples: int, period: int) -> tuple[float, float]:
    """95 % interval of ``quality.rp_violations``' contamination, by that of the number of violations."""
    if spikes < 2:
        return 0.0, 1.0
    rest = 1 - np.array(count_interval(violations)) * samples / (spikes**2 * period)
    low, high = (1 - np.sqrt(np.maximum(rest, 0))).tolist()
    return low, high


def expected_misses(reader: SpikeReader) -> np.ndarray:
    """Share of each unit's isolated spikes that noise and their amplitude hide from the search, (units,).

    A spike is found where it makes the signal more probable: its correlation must exceed a least one, and it has the
    variance of the noise, 1, plus that of the amplitudes.
    """
    from scipy.special import ndtr

    mean, cv = reader.mean_amplitude, reader.amplitude_cv
    model = AmplitudeModel.from_prior(gram(reader.kernel), mean, cv, reader.log_odds_against)
    return ndtr((model.min_correlation[:, 0] - mean) / np.sqrt(1 + np.square(cv * mean)))


def expected_mixups(reader: SpikeReader) -> tuple[np.ndarray, np.ndarray]:
    """(unit that is nearest by its whitened waveform, -1: none; share of isolated spikes that it gets), (units,) each.

    Between the two mean waveforms a spike goes to the nearer one; along that direction it has the variance of the
    noise, 1, plus that of its amplitude.
    """
    from scipy.special import ndtr

    mean, cv = reader.mean_amplitude, reader.amplitude_cv
    overlap = gram(reader.kernel).max(axis=2).astype(np.float64)
    units = len(mean)
    nearest, share = np.full(units, -1), np.zeros(units)
    for u in range(units):
        distance = np.sqrt(np.maximum(mean[u] ** 2 + np.square(mean) - 2 * mean[u] * mean * overlap[u], 1e-12))
        along = (mean[u] - mean * overlap[u]) / distance
        confused = ndtr(-distance / 2 / np.sqrt(1 + np.square(cv[u] * mean[u] * along)))
        confused[u] = -1
        if units > 1:
            nearest[u], share[u] = int(confused.argmax()), float(confused.max())
    return nearest, share


def certain_table(result: Any) -> dict[str, list[str]]:
    """{column: [text, one a unit]} of a ``SpikeSortingResult``: what ``unit_table`` says, and how sure it is.

    ``missed`` and ``mixed up`` are what the model expects of spikes that no other overlaps.
    """
    units, samples, frequency = len(result.templates), result.recording_samples, result.sampling_frequency
    quality = unit_quality(result.spike_samples, result.spike_units, units, samples=samples,
                           sampling_frequency=frequency,
                           templates=None if result.noise is None else result.templates, noise=result.noise)
    counts, seconds = quality["num_spikes"], samples / frequency
    missed, (nearest, mixed) = expected_misses(result.reader), expected_mixups(result.reader)
    rows: list[tuple[str, ...]] = []
    for u, n in enumerate(counts.tolist()):
        amplitudes = result.spike_amplitudes[result.spike_units == u].astype(np.float64)
        size, error = (float(np.median(amplitudes)), float(_Z * amplitudes.std() * np.sqrt(_MEDIAN_VARIANCE / n))
                       ) if n else (np.nan, np.nan)
        snr = float(quality["snr"][u]) if "snr" in quality else np.nan
        short = int(quality["isi_violations_count"][u])
        foreign = contamination_interval(int(quality["rp_violations"][u]), n, samples, max(1, round(frequency / 1000)))
        rows.append((
            str(u), str(n), _plus_minus(n / seconds, _Z * np.sqrt(n) / seconds),
            _plus_minus(snr, snr * error / abs(size) if size else np.nan),
            f"{short} ({_range(share_interval(short, n - 1))})" if n > 1 else "-",
            f"{_percent(quality['rp_contamination'][u])}% ({_range(foreign)})" if n > 1 else "-",
            f"{quality['presence_ratio'][u]:.2f}" if np.isfinite(quality["presence_ratio"][u]) else "-",
            _plus_minus(size, error), _share(missed[u]),
            f"{_share(mixed[u])} with {nearest[u]}" if nearest[u] >= 0 else "-"))
    names = ("unit", "spikes", "rate (Hz)", "SNR", "< 1.5 ms", "contamination", "presence", "amplitude", "missed",
             "mixed up")
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def _plus_minus(value: float, error: float) -> str:
    """A value to the digits that its error leaves: two of the error count."""
    if not np.isfinite(value):
        return "-"
    if not np.isfinite(error) or error <= 0:
        return f"{value:.3g}"
    digits = max(0, int(np.ceil(-np.log10(error))) + 1)
    return f"{value:.{min(digits, 4)}f} ± {error:.{min(digits, 4)}f}"


def _range(interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{_percent(low)} to {_percent(high)}%"


def _share(value: float) -> str:
    return f"< {100 * _LEAST_SHARE:g}%" if value < _LEAST_SHARE else f"{_percent(value)}%"


def _percent(share: float) -> str:
    """Two digits, never a power of ten: 2.3, 45, 100."""
    return f"{100 * share:.2g}" if abs(share) < 0.995 else f"{100 * share:.0f}"
