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

_STYLE = """:root { color-scheme: light dark; --text: #222; --page: #fff; --line: #ddd; --note: #555 }
@media (prefers-color-scheme: dark) {
  :root { --text: #ddd; --page: #1a1a1a; --line: #444; --note: #aaa }
  img { filter: invert(.9) hue-rotate(180deg) }
}
body { font: 15px/1.45 system-ui, sans-serif; color: var(--text); background: var(--page); max-width: 68em;
  margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse; font-variant-numeric: tabular-nums } .wide { overflow-x: auto }
.wide th, .wide td { padding: .2em .45em } nav { margin-bottom: 1em }
th, td { padding: .2em .8em; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap }
td.text, th.text { text-align: left; white-space: normal } th button { all: unset; cursor: pointer; font-weight: bold }
th button:focus-visible { outline: 2px solid } nav a { margin-right: 1em } a { color: inherit }
img { max-width: 100% } h2 { margin-top: 2em } p.note { color: var(--note); max-width: 48em }"""
#: Sorts a table by the column whose name was clicked: by its first number, else as text; again: the other way round.
_SORT = """for (const button of document.querySelectorAll("th button")) button.onclick = () => {
  const cell = button.parentNode, column = cell.cellIndex, body = cell.closest("table").tBodies[0];
  const number = row => parseFloat((row.cells[column].textContent.match(/-?[\\d.]+(e-?\\d+)?/) || ["-1e99"])[0]);
  const sign = cell.dataset.sign = cell.dataset.sign == "-1" ? 1 : -1;
  [...body.rows].sort((a, b) => sign * (number(a) - number(b))).forEach(row => body.append(row));
};"""


def write_page(path: str | os.PathLike[str], title: str, head: str, parts: Iterable[str]) -> None:
    """Write a page of its own: title, a line that says what it is about, and ``parts``, which are HTML."""
    page = ["<!doctype html><html lang='en'><head><meta charset='utf-8'>"
            "<meta name='viewport' content='width=device-width'>"
            f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>"
            f"<h1>{html.escape(title)}</h1><p>{html.escape(head)}</p>",
            *parts, "</body></html>"]
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(page), encoding="utf-8")


def heading(text: str) -> str:
    """A heading.

    Example:
        >>> from keras_crsae.applications.html_page import heading
        >>> heading("Rates < 1 Hz")
        '<h2 id="rates---1-hz">Rates &lt; 1 Hz</h2>'
    """
    return f'<h2 id="{_anchor(text)}">{html.escape(text)}</h2>'


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


def sortable_table(columns: Mapping[str, Sequence[str]]) -> str:
    """``table`` whose rows a click on a column's name sorts by that column's numbers; not more than one a page.

    Example:
        >>> from keras_crsae.applications.html_page import sortable_table
        >>> "<button>unit</button>" in sortable_table({"unit": ["0"]})
        True
    """
    names = "".join(f"<th><button>{html.escape(name)}</button></th>" for name in columns)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>"
                   for row in zip(*columns.values(), strict=True))
    return (f'<div class="wide"><table><thead><tr>{names}</tr></thead><tbody>{rows}</tbody></table></div>'
            f"<script>{_SORT}</script>")


def contents(titles: Iterable[str]) -> str:
    """Links to headings of the page."""
    return "<nav>" + " ".join(f'<a href="#{_anchor(title)}">{html.escape(title)}</a>' for title in titles) + "</nav>"


def _anchor(title: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in title.lower())
