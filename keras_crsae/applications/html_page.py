"""Parts of a report: one HTML file with its tables and figures inside."""

from __future__ import annotations

import base64
import html
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from crsae_onnx.core.atomic_files import atomic_write

_STYLE = """body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 62em; margin: 2em auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .2em .8em; text-align: right; border-bottom: 1px solid #ddd }
td.text, th.text { text-align: left }
img { max-width: 100% } h2 { margin-top: 2em } p.note { color: #555; max-width: 48em }"""


def write_page(path: str | os.PathLike[str], title: str, head: str, parts: Iterable[str]) -> None:
    """Write a page of its own: title, a line that says what it is about, and ``parts``, which are HTML."""
    page = [f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{html.escape(title)}</title>"
            f"<style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1><p>{html.escape(head)}</p>",
            *parts, "</body></html>"]
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(page), encoding="utf-8")


def heading(text: str) -> str:
    """A heading.

    Example:
        >>> from keras_crsae.applications.html_page import heading
        >>> heading("Rates < 1 Hz")
        '<h2>Rates &lt; 1 Hz</h2>'
    """
    return f"<h2>{html.escape(text)}</h2>"


def note(text: str) -> str:
    """A paragraph that explains."""
    return f'<p class="note">{html.escape(text)}</p>'


def messages(texts: Sequence[str]) -> str:
    """A list of messages, or a line that says that there are none."""
    if not texts:
        return "<p>None: nothing was dropped, missing or unusual.</p>"
    return f"<ul>{''.join(f'<li>{html.escape(str(text))}</li>' for text in texts)}</ul>"


def picture(title: str, text: str, figure: Any) -> str:
    """A heading, an explanation and a ``matplotlib.figure.Figure``."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    data = base64.b64encode(drawn.getvalue()).decode()
    return (f'{heading(title)}{note(text)}'
            f'<img alt="{html.escape(title)}" src="data:image/png;base64,{data}">')


def settings(values: Mapping[str, Any]) -> str:
    """Names and values as a table."""
    return table({"setting": list(values), "value": [json.dumps(v) for v in values.values()]}, "text")


def table(columns: Mapping[str, Sequence[str]], kind: str = "") -> str:
    """Columns {name: [text]} as a table."""
    style = f' class="{kind}"' if kind else ""
    names = "".join(f"<th{style}>{html.escape(name)}</th>" for name in columns)
    rows = "".join("<tr>" + "".join(f"<td{style}>{html.escape(text)}</td>" for text in row) + "</tr>"
                   for row in zip(*columns.values(), strict=True))
    return f"<table><tr>{names}</tr>{rows}</table>"
