"""A report of a sorting result: one HTML file with its figures inside. Needs the extra ``plots``."""

from __future__ import annotations

import os
from typing import Any

from keras_crsae.applications import html_page
from keras_crsae.applications.spike_sorting.report_figures import figures
from keras_crsae.applications.spike_sorting.result import SpikeSortingResult
from keras_crsae.applications.spike_sorting.unit_certainty import certain_table

_TABLE_NOTE = ("± and the numbers in brackets are 95 % intervals. SNR: extremum of the template over the noise of its "
               "channel. < 1.5 ms: intervals too short for one neuron, and the share of such intervals. Contamination: "
               "fraction of foreign spikes that explains pairs within 1 ms. Presence: fraction of whole minutes with a "
               "spike. Amplitude: median, in the recording's unit. Missed, mixed up: shares of spikes, overlapped by "
               "no other, that the model expects to lose to the noise, and to give to the unit that is nearest by its "
               "whitened waveform. A click on a name sorts by it.")


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
    drawn = figures(result, recording)
    html_page.write_page(path, "Spike sorting report", head, [
        html_page.contents(["Messages", *(title for title, *_ in drawn), "Settings", "Parameters"]),
        html_page.sortable_table(certain_table(result)), html_page.note(_TABLE_NOTE),
        html_page.heading("Messages"), html_page.messages(result.messages),
        *(html_page.picture(*parts) for parts in drawn),
        html_page.heading("Settings"), html_page.settings(result.settings),
        html_page.heading("Parameters"), html_page.settings(result.parameters.to_dict())])
