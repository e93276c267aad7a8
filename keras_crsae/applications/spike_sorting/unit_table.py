"""What is told of each unit of a sorting result, as text: one table for the command line and the report (NumPy)."""

import numpy as np

from keras_crsae.applications.spike_sorting.quality import unit_quality


def unit_table(result):
    """{column: [text, one a unit]} of a ``SpikeSortingResult``: size, rate and truth-free quality.

    ``SNR`` is the template's extremum over the noise of its channel; ``< 1.5 ms`` counts the intervals that no neuron
    makes, with their share of all; ``contamination`` is the share of foreign spikes that explains pairs within 1 ms;
    ``presence`` the share of whole minutes with a spike ("-": shorter than a minute). See ``quality.unit_quality``.

    Example:
        >>> list(unit_table(result))[:4]
        ['unit', 'spikes', 'rate (Hz)', 'SNR']
    """
    units = len(result.templates)
    found = unit_quality(result.spike_samples, result.spike_units, units, samples=result.recording_samples,
                         sampling_frequency=result.sampling_frequency,
                         templates=None if result.noise is None else result.templates, noise=result.noise)
    amplitude = [np.median(result.spike_amplitudes[result.spike_units == unit]) if count else np.nan
                 for unit, count in enumerate(found["num_spikes"])]
    short = [f"{count} ({count / max(spikes - 1, 1):.2%})" for count, spikes in
             zip(found["isi_violations_count"].tolist(), found["num_spikes"].tolist(), strict=True)]
    snr = found.get("snr", [np.nan] * units)
    return {"unit": [str(unit) for unit in range(units)], "spikes": [str(n) for n in found["num_spikes"]],
            "rate (Hz)": _texts(found["firing_rate"], ".2f"), "SNR": _texts(snr, ".1f"),
            "< 1.5 ms": short, "contamination": _texts(found["rp_contamination"], ".3f"),
            "presence": _texts(found["presence_ratio"], ".2f"), "amplitude": _texts(amplitude, ".4g")}


def _texts(values, form):
    return [format(value, form) if np.isfinite(value) else "-" for value in values]
