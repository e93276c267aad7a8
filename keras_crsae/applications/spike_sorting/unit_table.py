"""Statistics of each unit as text, for the command line and the report (NumPy)."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_crsae.applications.spike_sorting.quality import unit_quality


def unit_table(result: Any) -> dict[str, list[str]]:
    """{column: [text, one a unit]} of a ``SpikeSortingResult``: size, rate and quality metrics.

    ``SNR`` is the template's extremum over the noise of its channel; ``< 1.5 ms`` counts the intervals that are too
    short for one neuron, with their fraction of all; ``contamination`` is the fraction of foreign spikes that explains
    pairs within 1 ms; ``presence`` the fraction of whole minutes with a spike ("-": shorter than a minute). See
    ``quality.unit_quality``.

    Args:
        result: with ``spike_samples``, ``spike_units``, ``spike_amplitudes``, ``templates``, ``noise``,
            ``sampling_frequency`` and ``recording_samples``.

    Example:
        >>> from types import SimpleNamespace
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting.unit_table import unit_table
        >>> result = SimpleNamespace(spike_samples=np.array([30, 7000, 9000]), spike_units=np.zeros(3, int),
        ...                          spike_amplitudes=np.full(3, -9.0), templates=-9 * np.ones((1, 20, 1)),
        ...                          noise=np.array([1.5]), sampling_frequency=10000.0, recording_samples=20000)
        >>> table = unit_table(result)
        >>> table["rate (Hz)"], table["SNR"]
        (['1.50'], ['6.0'])
    """
    num_units = len(result.templates)
    quality = unit_quality(result.spike_samples, result.spike_units, num_units, samples=result.recording_samples,
                           sampling_frequency=result.sampling_frequency,
                           templates=None if result.noise is None else result.templates, noise=result.noise)
    amplitude = [np.median(result.spike_amplitudes[result.spike_units == unit]) if count else np.nan
                 for unit, count in enumerate(quality["num_spikes"])]
    short = [f"{count} ({count / max(spikes - 1, 1):.2%})" for count, spikes in
             zip(quality["isi_violations_count"].tolist(), quality["num_spikes"].tolist(), strict=True)]
    snr = quality.get("snr", np.full(num_units, np.nan))
    return {"unit": [str(unit) for unit in range(num_units)], "spikes": [str(n) for n in quality["num_spikes"]],
            "rate (Hz)": _texts(quality["firing_rate"], ".2f"), "SNR": _texts(snr, ".1f"),
            "< 1.5 ms": short, "contamination": _texts(quality["rp_contamination"], ".3f"),
            "presence": _texts(quality["presence_ratio"], ".2f"), "amplitude": _texts(amplitude, ".4g")}


def _texts(values: Any, form: str) -> list[str]:
    return [format(value, form) if np.isfinite(value) else "-" for value in values]
