"""A code as a raster under its signal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from keras_crsae.plots.style import GRAY, colour_of, new_figure, time_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Height of a row of the raster, of which the tallest stem takes 0.9; below it a mark has its place.
_ROW = 1.25


def plot_code(code: ArrayLike, signal: ArrayLike | None = None, reconstruction: ArrayLike | None = None,
              events: Sequence[ArrayLike] | None = None, offsets: ArrayLike | None = None,
              sampling_frequency: float | None = None, start: int = 0, unit: str = "signal", row: str = "filter",
              title: str | None = None) -> Figure:
    """Raster of a code under its signal: one row a filter, the height of a stem is the code's value.

    Args:
        code: (positions, filters).
        signal, reconstruction: (time,), one channel; None: not drawn.
        events: None or one array of true positions for each filter, marked under its row.
        offsets: (filters,) samples added to each filter's positions (for example where its trough lies).
        sampling_frequency: Hz; None: the axis counts samples.
        start: sample at which code and signal begin.
        unit: name of the signal's axis.
        row: name of a row of the raster, numbered.
        title: of the figure.

    Returns:
        The figure.

    Raises:
        ValueError: a code of other than two axes.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.plots import plot_code
        >>> code = np.zeros((100, 2))
        >>> code[[20, 60], [0, 1]] = 1.0, 2.0
        >>> plot_code(code, events=[[20], [61]]).savefig("code.png")
    """
    code = np.asarray(code)
    if code.ndim != 2:
        mend = {1: " Of one filter give code[:, None].", 3: " Choose one batch entry, for example code[0]."}
        raise ValueError(f"`code` must have shape (positions, filters). Received: shape {code.shape}."
                         f"{mend.get(code.ndim, '')}")
    count = code.shape[1]
    signal = None if signal is None else np.asarray(signal)
    figure = new_figure(9.5, (0.0 if signal is None else 2.4) + 1.0 + 0.85 * count)
    raster, label = _axes(figure, signal, reconstruction, count, sampling_frequency, start, unit)
    scale = max(np.abs(code).max(), 1e-12)
    shifts = np.zeros(count) if offsets is None else np.asarray(offsets)
    for c in range(count):
        position = np.flatnonzero(code[:, c])
        time = time_axis(sampling_frequency, start + position + shifts[c])[0]
        base = -_ROW * c
        raster.axhline(base, color="0.85", linewidth=0.8, zorder=0)
        raster.vlines(time, base, base + 0.9 * code[position, c] / scale, color=colour_of(c), linewidth=1.6)
        if events is not None:
            marks = time_axis(sampling_frequency, events[c])[0]
            raster.plot(marks, np.full(len(marks), base - 0.12), "^", color="black", markersize=4.5,
                        label="true spike" if c == 0 else None)
    raster.set_yticks(-_ROW * np.arange(count), [f"{row} {c}" for c in range(count)])
    raster.set_ylim(-_ROW * (count - 1) - 0.35, 1.05)
    raster.set_xlim(*time_axis(sampling_frequency, [start, start + len(code if signal is None else signal)])[0])
    raster.set_xlabel(label)
    if events is not None:
        raster.legend(loc="upper left", fontsize=8, framealpha=0.9)
    raster.set_title(f"code: a stem for each non-zero value, the tallest {scale:.3g}", fontsize=9, color=GRAY)
    figure.suptitle(title or "Sparse code")
    return figure


def _axes(figure: Figure, signal: np.ndarray | None, reconstruction: ArrayLike | None, count: int,
          sampling_frequency: float | None, start: int, unit: str) -> tuple[Axes, str]:
    """The raster's axes and the name of their time, with the signal drawn above where there is one."""
    above = signal is not None
    axes = figure.subplots(1 + above, 1, sharex=True, squeeze=False,
                           gridspec_kw={"height_ratios": [2.4, 0.85 * count]} if above else None)[:, 0]
    label = time_axis(sampling_frequency, [0])[1]
    if above:
        time = time_axis(sampling_frequency, start + np.arange(len(signal)))[0]
        axes[0].plot(time, signal, color="0.6", linewidth=0.7, label="signal")
        if reconstruction is not None:
            axes[0].plot(time, reconstruction, color="black", linewidth=1.0,
                         label="reconstruction from the code (shrunk by lambda)")
        axes[0].legend(loc="upper right", ncols=2, fontsize=8, framealpha=0.9)
        axes[0].set_ylabel(unit)
        axes[0].margins(y=0.2)  # room for the legend
    return axes[-1], label
