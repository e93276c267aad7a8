"""A report of a sorting result: one HTML file with its figures inside. Needs the extra ``plots``."""

from __future__ import annotations

import os
from typing import Any

from keras_crsae.applications import html_page
from keras_crsae.applications.spike_sorting.report_figures import figures
from keras_crsae.applications.spike_sorting.result import SpikeSortingResult
from keras_crsae.applications.spike_sorting.unit_table import unit_table

_TABLE_NOTE = ("SNR: extremum of the template over the noise of its channel. < 1.5 ms: intervals too short for "
               "one neuron. Contamination: fraction of foreign spikes that explains pairs within 1 ms. Presence: "
               "fraction of whole minutes with a spike. Amplitude: median, in the recording's unit.")


def write_report(result: SpikeSortingResult, path: str | os.PathLike[str], recording: Any) -> None:
    """Write quality metrics, figures, settings and parameters of a sorting as one self-contained HTML file.

    Args:
        result: of ``spike_sorting.sort``.
        path: file to write; an existing one is replaced.
        recording: the recording that was sorted, as ``sort`` takes it.

    Raises:
        ValueError: a recording of another length or number of channels than the one that was sorted.
        ModuleNotFoundError: matplotlib is missing.
    """
    seconds, channels = result.recording_samples / result.sampling_frequency, result.templates.shape[2]
    head = (f"{result.num_units} unit{'s' * (result.num_units > 1)}, {len(result.spike_samples)} spikes in "
            f"{seconds:.6g} s at {result.sampling_frequency:g} Hz, {channels} channel{'s' * (channels > 1)}")
    html_page.write_page(path, "Spike sorting report", head, [
        html_page.table(unit_table(result)), html_page.note(_TABLE_NOTE),
        html_page.heading("Messages"), html_page.messages(result.messages),
        *(html_page.picture(*parts) for parts in figures(result, recording)),
        html_page.heading("Settings"), html_page.settings(result.settings),
        html_page.heading("Parameters"), html_page.settings(result.parameters.to_dict())])
