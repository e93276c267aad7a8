"""Figures of filters: tiles of images, traces of signals, learned ones over true ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from keras_crsae.metrics import FilterMatch, match_filters
from keras_crsae.plots.style import GRAY, colour_of, new_figure, time_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_filters(filters: ArrayLike, sampling_frequency: float | None = None, title: str | None = None) -> Figure:
    """Filters: images as a grid of tiles, signals as traces (channels under each other).

    Args:
        filters: (time, channels, filters) or (height, width, channels, filters).
        sampling_frequency: Hz, for signals; None: the axis counts samples.
        title: of the figure; None: a plain one.

    Returns:
        The figure.

    Raises:
        ValueError: another number of axes.
        ModuleNotFoundError: matplotlib is missing (extra ``plots``).

    Example:
        >>> import numpy as np
        >>> from keras_crsae.plots import plot_filters
        >>> plot_filters(np.random.default_rng(0).standard_normal((8, 8, 1, 16))).savefig("filters.png")
    """
    kernel = _as_filters(filters)
    images = kernel.ndim == 4
    count = kernel.shape[-1]
    columns = min(count, max(1, math.ceil(math.sqrt(count * (1.0 if images else 1.6)))))
    rows = math.ceil(count / columns)
    title = title or f"{count} learned filters of {' x '.join(str(n) for n in kernel.shape[:-2])} " \
                     f"{'pixels' if images else 'samples'}"
    if images:
        return _tiles(kernel, rows, columns, title)
    return _traces(kernel, rows, columns, title, sampling_frequency)


def _as_filters(filters: ArrayLike, name: str = "filters") -> np.ndarray:
    filters = np.asarray(filters, np.float64)
    if filters.ndim not in (3, 4):
        raise ValueError(f"`{name}` must have shape (time, channels, filters) or (height, width, channels, filters). "
                         f"Received: shape {filters.shape}.")
    return filters


def _traces(filters: np.ndarray, rows: int, columns: int, title: str, sampling_frequency: float | None) -> Figure:
    channels, count = filters.shape[1:]
    figure = new_figure(max(4.0, 2.2 * columns), 0.8 + 1.7 * rows)
    figure.suptitle(title)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    offset = 1.2 * np.abs(filters).max() * 2 if channels > 1 else 0.0
    time, label = time_axis(sampling_frequency, range(filters.shape[0]))
    for c, axis in enumerate(axes[:count]):
        for channel in range(channels):
            axis.plot(time, filters[:, channel, c] - channel * offset, color=colour_of(c), linewidth=1.4)
        axis.set_title(f"filter {c}", fontsize=9)
        if channels > 1:
            axis.set_yticks(-offset * np.arange(channels), [f"ch {i}" for i in range(channels)])
        else:
            axis.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    for axis in axes[count:]:
        axis.set_visible(False)
    figure.supxlabel(label, fontsize=10)
    figure.supylabel("channel" if channels > 1 else "amplitude (unit norm)", fontsize=10)
    return figure


def _tiles(filters: np.ndarray, rows: int, columns: int, title: str) -> Figure:
    size, channels, count = filters.shape[:2], filters.shape[2], filters.shape[3]
    colour = channels == 3
    canvas = np.ones((rows * (size[0] + 1) - 1, columns * (size[1] + 1) - 1, 3 if colour else 1))
    for c in range(count):
        tile = filters[..., c] if colour else filters[..., c].mean(axis=-1, keepdims=True)
        row, column = (i * (n + 1) for i, n in zip(divmod(c, columns), size, strict=True))
        canvas[row:row + size[0], column:column + size[1]] = 0.5 + 0.5 * tile / max(np.abs(tile).max(), 1e-12)
    figure = new_figure(5.6, 5.6 * canvas.shape[0] / canvas.shape[1] + 0.9)
    figure.suptitle(title)
    axis = figure.subplots()
    axis.imshow(canvas if colour else canvas[..., 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_axis_off()
    figure.supxlabel("mid-gray is zero; each tile scaled to its own largest value", fontsize=9, color=GRAY)
    return figure


def align_filters(true_filters: ArrayLike, filters: ArrayLike) -> tuple[np.ndarray, FilterMatch]:
    """Learned filters in the order, sign, position and scale of the true ones, for comparison by eye.

    Args:
        true_filters, filters: (*kernel_size, channels, filters), see ``metrics.match_filters``.

    Returns:
        (aligned, match): aligned has the shape of ``true_filters``, NaN where a sample has no counterpart or a
        true filter no partner; match is the ``FilterMatch``.

    Example:
        >>> from keras_crsae.data import spike_templates
        >>> from keras_crsae.plots import align_filters
        >>> templates = spike_templates(45, 3)
        >>> aligned, match = align_filters(templates, -templates[..., ::-1])
        >>> match.learned.tolist(), match.signs.tolist()
        ([2, 1, 0], [-1.0, -1.0, -1.0])
    """
    true_filters, filters = np.asarray(true_filters, np.float64), np.asarray(filters, np.float64)
    match = match_filters(true_filters, filters)
    out = np.full(true_filters.shape, np.nan)
    for i, j, lag, sign in zip(match.true, match.learned, match.lags, match.signs, strict=True):
        to, source = [], []
        for shift, n, m in zip(lag, true_filters.shape, filters.shape, strict=False):
            start, stop = max(0, shift), min(n, m + shift)
            to.append(slice(start, stop))
            source.append(slice(start - shift, stop - shift))
        scale = np.linalg.norm(true_filters[..., i]) / max(np.linalg.norm(filters[..., j]), 1e-12)
        out[(*to, slice(None), i)] = sign * scale * filters[(*source, slice(None), j)]
    return out, match


def plot_templates(true_filters: ArrayLike, filters: ArrayLike, first: ArrayLike | None = None,
                   sampling_frequency: float | None = None, title: str | None = None) -> Figure:
    """Learned filters over true ones, aligned over order, sign and shift, with the error of each.

    Args:
        true_filters, filters: (time, channels, filters).
        first: filters before learning, drawn faintly; None: none.
        sampling_frequency: Hz; None: the axis counts samples.
        title: of the figure.

    Returns:
        The figure.

    Raises:
        ValueError: filters of images, or channels that differ.

    Example:
        >>> from keras_crsae.data import perturb_filters, spike_templates
        >>> from keras_crsae.plots import plot_templates
        >>> templates = spike_templates(45, 3)
        >>> plot_templates(templates, perturb_filters(templates, error=0.2)).savefig("templates.png")
    """
    true, learned = _as_filters(true_filters, "true_filters"), _as_filters(filters)
    if true.ndim != 3:
        raise ValueError("plot_templates draws signals (time, channels, filters); use plot_filters for images. "
                         f"Received: shape {true.shape}.")
    aligned, match = align_filters(true, learned)
    error = np.ones(true.shape[-1])
    error[match.true] = np.sqrt(1 - match.correlations**2)
    before = None if first is None else align_filters(true, first)[0]
    channels, count = true.shape[1:]
    figure = new_figure(max(4.5, 3.2 * count), 1.3 + 2.0 * channels)
    figure.suptitle(title or "Learned templates over the true ones")
    axes = figure.subplots(channels, count, sharex=True, sharey=True, squeeze=False)
    time, label = time_axis(sampling_frequency, range(true.shape[0]))
    for c in range(count):
        for channel in range(channels):
            axis = axes[channel, c]
            axis.axhline(0, color="0.85", linewidth=0.8, zorder=0)
            if before is not None:
                axis.plot(time, before[:, channel, c], color="0.72", linewidth=1.0, label="before learning")
            axis.plot(time, true[:, channel, c], color="black", linewidth=3.2, alpha=0.45, label="true")
            axis.plot(time, aligned[:, channel, c], color=colour_of(c), linewidth=1.5, label="learned")
        axes[0, c].set_title(f"unit {c}: error {error[c]:.3f}", fontsize=10)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=len(labels), fontsize=9, frameon=False)
    figure.supxlabel(label, fontsize=10)
    figure.supylabel("amplitude (unit norm)" if channels == 1 else "channels", fontsize=10)
    return figure
