"""Curves over training: lambda, quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from keras_crsae.plots.style import COLOURS, GRAY, colour_of, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAMES_INSIDE = 4  # so many names of curves fit into the plot
_MARKED_POINTS = 12  # curves of fewer points have a mark at each


def plot_lambda(lambdas: ArrayLike, steps: ArrayLike | None = None, sigma: float = 1.0, title: str | None = None
                ) -> Figure:
    """Lambda of every filter over training, and its median.

    Args:
        lambdas: (times, filters), or (times, 1) when shared.
        steps: (times,) training steps or epochs; None: numbered from 1.
        sigma: noise standard deviation; lambda * sigma is drawn, the penalty weight in units of the noise.
        title: of the figure.

    Returns:
        The figure.

    Raises:
        ValueError: another number of axes, or as many steps as there are not times.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.plots import plot_lambda
        >>> plot_lambda(np.ones((5, 16))).savefig("lambda.png")
    """
    lambdas = np.asarray(lambdas, np.float64)
    steps = np.arange(1, len(lambdas) + 1) if steps is None else np.asarray(steps)
    if lambdas.ndim != 2 or len(steps) != len(lambdas):
        raise ValueError("`lambdas` must have shape (times, filters), `steps` one entry a time. "
                         f"Received: shapes {lambdas.shape} and {steps.shape}.")
    figure = new_figure(6.0, 3.6)
    axis = figure.subplots()
    axis.plot(steps, sigma * lambdas, color=COLOURS[0], linewidth=0.6, alpha=0.45)
    axis.plot(steps, sigma * np.median(lambdas, axis=1), color="black", linewidth=2.0, label="median of the filters")
    axis.set_xlabel("epoch" if steps[0] == 1 else "step")
    axis.set_ylabel("lambda * sigma (penalty weight over noise)")
    axis.legend(frameon=False, fontsize=9)
    axis.set_title(title or "Lambda of each filter over training")
    return figure


def plot_curves(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
                reference: Mapping[str, float] | None = None, xlabel: str = "minutes of training",
                ylabel: str = "PSNR (dB)", title: str | None = None) -> Figure:
    """Curves such as PSNR over training time.

    Args:
        curves: dict of name -> (x, y), each (points,).
        reference: None or dict of name -> height, drawn as dashed lines.
        xlabel, ylabel, title: text.

    Returns:
        The figure.

    Raises:
        ValueError: no curve, or x and y of different lengths.

    Example:
        >>> from keras_crsae.plots import plot_curves
        >>> plot_curves({"64 filters": ([1, 2, 3], [27.1, 27.9, 28.2])}, {"BM3D": 28.57}).savefig("curve.png")
    """
    if not curves or any(len(x) != len(y) for x, y in curves.values()):
        raise ValueError("`curves` must hold at least one (x, y) of equal lengths. "
                         f"Received: {[(len(x), len(y)) for x, y in curves.values()]}")
    names_below = len(curves) > _NAMES_INSIDE
    figure = new_figure(6.4, 4.0 + 0.2 * names_below * len(curves))
    axis = figure.subplots()
    for i, (name, (x, y)) in enumerate(curves.items()):
        axis.plot(x, y, color=colour_of(i), marker="o" if len(x) < _MARKED_POINTS else None, markersize=3.5, label=name)
    for name, height in (reference or {}).items():
        axis.axhline(height, color=GRAY, linestyle="--", linewidth=0.9)
        axis.annotate(name, (0.0, height), xycoords=("axes fraction", "data"), xytext=(4, 3),
                      textcoords="offset points", fontsize=8, color=GRAY)  # left: curves rise
    axis.set_xlabel(xlabel)
    axis.set_ylabel(ylabel)
    axis.set_title(title or f"{ylabel} over {xlabel}")
    if names_below:
        figure.legend(loc="outside lower center", frameon=False, fontsize=9)
    else:
        axis.legend(frameon=False, fontsize=9)
    return figure
