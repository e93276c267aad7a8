"""What the demo writes and prints: lines of progress, figures, exported models, a table."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crsae_onnx import SparseEncoder
from crsae_onnx.convert import convert
from crsae_onnx.core.atomic_files import atomic_write
from crsae_onnx.validate import validate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: A row of the table: what, measure, before and after; a number has three decimals, None is left blank.
Row = tuple[str, str, float | str | None, float | str | None]


def say(text: str) -> None:
    """Print what the demo does next, on standard error."""
    print(f"demo: {text} ...", file=sys.stderr, flush=True)


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure's file atomically."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120)


def export_model(model: Any, path: Path, shapes: Sequence[tuple[int, ...]]) -> tuple[SparseEncoder, float, float]:
    """Export a model and compare it with Keras on random signals of the given shapes.

    Returns:
        (encoder in onnxruntime, largest relative difference to Keras, seconds of conversion).
    """
    started = time.perf_counter()
    convert(model, path, overwrite=True)
    seconds = time.perf_counter() - started
    report = validate(model, path, shapes=shapes)
    return SparseEncoder(path), max(row["difference"] for row in report), seconds


def table_text(rows: Sequence[Row]) -> str:
    """Rows as an aligned table with a head.

    Example:
        >>> from keras_crsae.demo.outputs import table_text
        >>> print(table_text([("denoise", "PSNR (dB)", 20.0, 28.5)]).splitlines()[3])
        denoise  PSNR (dB)  20.000  28.500
    """
    def text(value: float | str | None) -> str:
        return "" if value is None else value if isinstance(value, str) else f"{value:.3f}"

    lines = [("what", "measure", "before", "after"), *((what, name, text(a), text(b)) for what, name, a, b in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(4)]
    aligned = [f"{a:{widths[0]}}  {b:{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}".rstrip() for a, b, c, d in lines]
    rule = "-" * max(len(line) for line in aligned)
    return "\n".join([rule, aligned[0], rule, *aligned[1:], rule])
