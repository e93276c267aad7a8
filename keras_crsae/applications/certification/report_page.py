"""A page about certificates: one HTML file with its figures inside. Needs the extra ``plots``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from keras_crsae.applications import html_page
from keras_crsae.applications.certification.report import CertificationReport
from keras_crsae.plots.style import colour_of, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BOUNDS = {"radius": "radius", "projection_radius": "projection alone", "paper_radius": "paper's bound"}
_NOTE = ("Share of signals that are classified right, and provably stay so under every change whose Euclidean norm is "
         "below the radius. Radii are in the unit of the signals as the classifier sees them.")


def write_report(report: CertificationReport, path: str | os.PathLike[str],
                 title: str = "Certified classification") -> None:
    """Write certified accuracy, radii and gaps of a report as one self-contained HTML file.

    Args:
        report: of ``certify``.
        path: file to write; an existing one is replaced.
        title: of the page.

    Raises:
        ModuleNotFoundError: matplotlib is missing.
    """
    what = "right" if report.labelled else "certified at 0 (no labels were given)"
    head = (f"{len(report.radius)} signals, {100 * report.accuracy():.1f} % {what}, median radius "
            f"{np.median(report.radius):.4f}, largest duality gap {report.gap.max():.1e}, "
            f"{report.nonzeros.mean():.1f} non-zero code values a signal")
    html_page.write_page(path, title, head, [
        html_page.table(report.table()), html_page.note(_NOTE),
        html_page.picture("Certified accuracy", _NOTE, draw_certified_accuracy(report)),
        html_page.picture("Radius and margin", "Each point is a signal that is classified right: how far the label's "
                          "logit is above the next one, and the radius.", draw_margins(report))])


def draw_certified_accuracy(report: CertificationReport) -> Figure:
    """Certified accuracy against radius, by each bound, as a ``matplotlib.figure.Figure``."""
    figure = new_figure(6.0, 3.6)
    axis = figure.subplots()
    largest = float(report.radius.max(initial=0.0)) or 1.0
    radii = np.linspace(0.0, 1.05 * largest, 200)
    for i, (name, text) in enumerate(_BOUNDS.items()):
        axis.plot(radii, report.certified_accuracy(radii, name), color=colour_of(i), label=text)
    axis.set_xlabel("radius")
    axis.set_ylabel("certified accuracy")
    axis.set_ylim(0.0, 1.0)
    axis.legend(frameon=False, fontsize=9)
    return figure


def draw_margins(report: CertificationReport) -> Figure:
    """Radius against margin of each signal that is right, as a ``matplotlib.figure.Figure``."""
    figure = new_figure(6.0, 3.6)
    axis = figure.subplots()
    right = report.predictions == report.labels
    axis.plot(report.margin[right], report.radius[right], ".", color=colour_of(0), markersize=3)
    axis.set_xlabel("margin (logits)")
    axis.set_ylabel("radius")
    return figure
