"""A report of events in trials: one HTML file with its figures inside. Needs the extra ``plots``."""

from __future__ import annotations

import os

from keras_crsae.applications import html_page
from keras_crsae.applications.neural_events.report_figures import figures
from keras_crsae.applications.neural_events.result import NeuralEvents
from keras_crsae.applications.neural_events.tables import held_out_table, kernel_table

_HELD_OUT_NOTE = ("Log likelihood in nats of trials that training has not seen, mean over trials. Every bin of such a "
                  "trial is predicted once, from the code of its other bins. The trial-averaged rate (PSTH) of the "
                  "trial's condition comes from the other trials, under the Gaussian with which these trials are most "
                  "likely; times the trial's own gain, it sees the other bins as well. Error: standard error of the "
                  "difference from the PSTH.")


def write_report(result: NeuralEvents, path: str | os.PathLike[str]) -> None:
    """Write kernels, events, scores and figures of a result as one self-contained HTML file.

    Args:
        result: of ``fit_events``.
        path: file to write; an existing one is replaced.

    Raises:
        ModuleNotFoundError: matplotlib is missing.
    """
    counts, kernels = result.counts, result.kernels.shape[-1]
    trials, _, neurons = counts.counts.shape
    head = (f"{kernels} kernel{'s' * (kernels > 1)} of {len(result.kernels) * counts.bin_ms:g} ms, "
            f"{len(result.events)} events in {trials} trials of {counts.duration_ms:g} ms, {neurons} "
            f"neuron{'s' * (neurons > 1)}, {int(counts.counts.sum())} spikes in bins of {counts.bin_ms:g} ms")
    parts = [html_page.table(kernel_table(result)), html_page.heading("Messages"), html_page.messages(result.messages)]
    if result.candidates:
        parts += [html_page.heading("Held-out likelihood"), html_page.table(held_out_table(result)),
                  html_page.note(_HELD_OUT_NOTE)]
    parts += [html_page.picture(*one) for one in figures(result)]
    html_page.write_page(path, "Events in trials", head, [
        *parts, html_page.heading("Settings"), html_page.settings(result.settings),
        html_page.heading("Parameters"), html_page.settings(result.parameters.to_dict())])
