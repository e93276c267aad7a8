"""A report of a sorting result: one HTML file with its figures inside. Needs the extra ``plots``."""

from __future__ import annotations

import base64
import html
import io
import json
import os
from typing import Any

from crsae_onnx.core.atomic_files import atomic_write

from keras_crsae.applications.spike_sorting.report_figures import figures
from keras_crsae.applications.spike_sorting.result import SpikeSortingResult
from keras_crsae.applications.spike_sorting.unit_table import unit_table

_STYLE = """body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 62em; margin: 2em auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .2em .8em; text-align: right; border-bottom: 1px solid #ddd }
td.text, th.text { text-align: left }
img { max-width: 100% } h2 { margin-top: 2em } p.note { color: #555; max-width: 48em }"""
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
    messages = "".join(f"<li>{html.escape(str(message))}</li>" for message in result.messages)
    page = ["<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Spike sorting report</title>"
            f"<style>{_STYLE}</style></head><body><h1>Spike sorting report</h1><p>{html.escape(head)}</p>",
            _table(unit_table(result)), f'<p class="note">{html.escape(_TABLE_NOTE)}</p>', "<h2>Messages</h2>",
            f"<ul>{messages}</ul>" if messages else "<p>None: nothing was dropped, missing or unusual.</p>",
            *(_picture(*parts) for parts in figures(result, recording)),
            "<h2>Settings</h2>", _settings(result.settings),
            "<h2>Parameters</h2>", _settings(result.parameters.to_dict()), "</body></html>"]
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(page), encoding="utf-8")


def _picture(title: str, note: str, figure: Any) -> str:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    data = base64.b64encode(picture.getvalue()).decode()
    return (f'<h2>{html.escape(title)}</h2><p class="note">{html.escape(note)}</p>'
            f'<img alt="{html.escape(title)}" src="data:image/png;base64,{data}">')


def _settings(values: dict[str, Any]) -> str:
    return _table({"setting": list(values), "value": [json.dumps(v) for v in values.values()]}, "text")


def _table(columns: dict[str, list[str]], kind: str = "") -> str:
    """Columns {name: [text]} as HTML."""
    style = f' class="{kind}"' if kind else ""
    names = "".join(f"<th{style}>{html.escape(name)}</th>" for name in columns)
    rows = "".join("<tr>" + "".join(f"<td{style}>{html.escape(text)}</td>" for text in row) + "</tr>"
                   for row in zip(*columns.values(), strict=True))
    return f"<table><tr>{names}</tr>{rows}</table>"
