"""Figures of filters, codes and images. Each function returns a ``matplotlib.figure.Figure``.

Figures are made without pyplot: nothing is shown, no backend is chosen, nothing has to be closed. Save with
``figure.savefig("name.png")``; in a notebook the figure displays itself.
"""

import math

import numpy as np

from keras_crsae.metrics import match_filters, psnr

__all__ = ["align_filters", "plot_code", "plot_curves", "plot_denoising", "plot_filters", "plot_lambda",
           "plot_templates"]


def __dir__() -> list[str]:
    return list(__all__)


#: Colours of units, in order (the safe palette of Okabe and Ito).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
_GRAY = "0.35"


def _figure(width, height):
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Plots need matplotlib. Install it with: pip install 'keras-crsae[plots]'",
                                  name=error.name) from error
    return Figure(figsize=(width, height), layout="constrained")


def _colour(index):
    return COLOURS[index % len(COLOURS)]


def _clock(sampling_frequency, positions):
    """Times and the name of their axis."""
    if sampling_frequency is None:
        return np.asarray(positions, float), "time (samples)"
    return 1e3 * np.asarray(positions, float) / sampling_frequency, "time (ms)"


def _as_filters(filters, name="filters"):
    filters = np.asarray(filters, np.float64)
    if filters.ndim not in (3, 4):
        raise ValueError(f"`{name}` must have shape (time, channels, filters) or (height, width, channels, filters). "
                         f"Received: shape {filters.shape}.")
    return filters


def plot_filters(filters, sampling_frequency=None, title=None):
    """Filters: images as a grid of tiles, signals as traces (channels under each other).

    Args:
        filters: (time, channels, filters) or (height, width, channels, filters).
        sampling_frequency: Hz, for signals; None: the axis counts samples.
        title: of the figure; None: a plain one.

    Raises:
        ValueError: another number of axes.
        ModuleNotFoundError: matplotlib is missing (extra ``plots``).

    Example:
        >>> plot_filters(np.random.default_rng(0).standard_normal((8, 8, 1, 16))).savefig("filters.png")
    """
    filters = _as_filters(filters)
    count = filters.shape[-1]
    columns = min(count, max(1, math.ceil(math.sqrt(count * (1.0 if filters.ndim == 4 else 1.6)))))
    rows = math.ceil(count / columns)
    title = title or f"{count} learned filters of {' x '.join(str(n) for n in filters.shape[:-2])} " \
                     f"{'pixels' if filters.ndim == 4 else 'samples'}"
    if filters.ndim == 4:
        return _tiles(filters, rows, columns, title)
    figure = _figure(max(4.0, 2.2 * columns), 0.8 + 1.7 * rows)
    figure.suptitle(title)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    spread = 1.2 * np.abs(filters).max() * 2 if filters.shape[1] > 1 else 0.0
    time, label = _clock(sampling_frequency, range(filters.shape[0]))
    for c, axis in enumerate(axes[:count]):
        for channel in range(filters.shape[1]):
            axis.plot(time, filters[:, channel, c] - channel * spread, color=_colour(c), linewidth=1.4)
        axis.set_title(f"filter {c}", fontsize=9)
        if filters.shape[1] > 1:
            axis.set_yticks(-spread * np.arange(filters.shape[1]), [f"ch {i}" for i in range(filters.shape[1])])
        else:
            axis.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    for axis in axes[count:]:
        axis.set_visible(False)
    figure.supxlabel(label, fontsize=10)
    figure.supylabel("channel" if filters.shape[1] > 1 else "amplitude (unit norm)", fontsize=10)
    return figure


def _tiles(filters, rows, columns, title):
    size, channels, count = filters.shape[:2], filters.shape[2], filters.shape[3]
    colour = channels == 3
    canvas = np.ones((rows * (size[0] + 1) - 1, columns * (size[1] + 1) - 1, 3 if colour else 1))
    for c in range(count):
        tile = filters[..., c] if colour else filters[..., c].mean(axis=-1, keepdims=True)
        row, column = (i * (n + 1) for i, n in zip(divmod(c, columns), size, strict=True))
        canvas[row:row + size[0], column:column + size[1]] = 0.5 + 0.5 * tile / max(np.abs(tile).max(), 1e-12)
    figure = _figure(5.6, 5.6 * canvas.shape[0] / canvas.shape[1] + 0.9)
    figure.suptitle(title)
    axis = figure.subplots()
    axis.imshow(canvas if colour else canvas[..., 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_axis_off()
    figure.supxlabel("mid-gray is zero; each tile scaled to its own largest value", fontsize=9, color=_GRAY)
    return figure


def align_filters(true_filters, filters):
    """Learned filters in the order, sign, position and scale of the true ones, for comparison by eye.

    Args:
        true_filters, filters: (*kernel_size, channels, filters), see ``metrics.match_filters``.

    Returns:
        (aligned, match): aligned has the shape of ``true_filters``, NaN where a sample has no counterpart or a
        true filter no partner; match is the ``FilterMatch``.
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


def plot_templates(true_filters, filters, first=None, sampling_frequency=None, title=None):
    """Learned filters over true ones, aligned over order, sign and shift, with the error of each.

    Args:
        true_filters, filters: (time, channels, filters).
        first: filters before learning, drawn faintly; None: left out.
        sampling_frequency: Hz; None: the axis counts samples.
        title: of the figure.

    Raises:
        ValueError: filters of images, or channels that differ.
    """
    true_filters, filters = _as_filters(true_filters, "true_filters"), _as_filters(filters)
    if true_filters.ndim != 3:
        raise ValueError("plot_templates draws signals (time, channels, filters); use plot_filters for images. "
                         f"Received: shape {true_filters.shape}.")
    aligned, match = align_filters(true_filters, filters)
    error = np.ones(true_filters.shape[-1])
    error[match.true] = np.sqrt(1 - match.correlations**2)
    before = None if first is None else align_filters(true_filters, first)[0]
    channels, count = true_filters.shape[1:]
    figure = _figure(max(4.5, 3.2 * count), 1.3 + 2.0 * channels)
    figure.suptitle(title or "Learned templates over the true ones")
    axes = figure.subplots(channels, count, sharex=True, sharey=True, squeeze=False)
    time, label = _clock(sampling_frequency, range(true_filters.shape[0]))
    for c in range(count):
        for channel in range(channels):
            axis = axes[channel, c]
            axis.axhline(0, color="0.85", linewidth=0.8, zorder=0)
            if before is not None:
                axis.plot(time, before[:, channel, c], color="0.72", linewidth=1.0, label="before learning")
            axis.plot(time, true_filters[:, channel, c], color="black", linewidth=3.2, alpha=0.45, label="true")
            axis.plot(time, aligned[:, channel, c], color=_colour(c), linewidth=1.5, label="learned")
        axes[0, c].set_title(f"unit {c}: error {error[c]:.3f}", fontsize=10)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=len(labels), fontsize=9, frameon=False)
    figure.supxlabel(label, fontsize=10)
    figure.supylabel("amplitude (unit norm)" if channels == 1 else "channels", fontsize=10)
    return figure


def plot_code(code, signal=None, reconstruction=None, events=None, offsets=None, sampling_frequency=None,
              start=0, unit="signal", row="filter", title=None):
    """Raster of a code under its signal: one row a filter, the height of a stem is the code's value.

    Args:
        code: (positions, filters).
        signal, reconstruction: (time,), one channel; None: left out.
        events: None or one array of true positions for each filter, marked under its row.
        offsets: (filters,) samples added to each filter's positions (for example where its trough lies).
        sampling_frequency: Hz; None: the axis counts samples.
        start: sample at which code and signal begin.
        unit: name of the signal's axis.
        row: name of a row of the raster, numbered.
        title: of the figure.

    Raises:
        ValueError: a code of other than two axes.
    """
    code = np.asarray(code)
    if code.ndim != 2:
        raise ValueError(f"`code` must have shape (positions, filters). Received: shape {code.shape}. "
                         "Choose one batch entry, for example code[0].")
    count = code.shape[1]
    offsets = np.zeros(count) if offsets is None else np.asarray(offsets)
    above = signal is not None
    figure = _figure(9.5, (2.4 if above else 0.0) + 1.0 + 0.85 * count)
    axes = figure.subplots(1 + above, 1, sharex=True, squeeze=False,
                           gridspec_kw={"height_ratios": [2.4, 0.85 * count]} if above else None)[:, 0]
    _, label = _clock(sampling_frequency, [0])
    if above:
        time = _clock(sampling_frequency, start + np.arange(len(signal)))[0]
        axes[0].plot(time, signal, color="0.6", linewidth=0.7, label="signal")
        if reconstruction is not None:
            axes[0].plot(time, reconstruction, color="black", linewidth=1.0,
                         label="reconstruction from the code (shrunk by lambda)")
        axes[0].legend(loc="upper right", ncols=2, fontsize=8, framealpha=0.9)
        axes[0].set_ylabel(unit)
        axes[0].margins(y=0.2)  # room for the legend
    scale = max(np.abs(code).max(), 1e-12)
    for c in range(count):
        at = np.flatnonzero(code[:, c])
        time = _clock(sampling_frequency, start + at + offsets[c])[0]
        base = -1.25 * c
        axes[-1].axhline(base, color="0.85", linewidth=0.8, zorder=0)
        axes[-1].vlines(time, base, base + 0.9 * code[at, c] / scale, color=_colour(c), linewidth=1.6)
        if events is not None:
            axes[-1].plot(_clock(sampling_frequency, events[c])[0], np.full(len(events[c]), base - 0.12), "^",
                          color="black", markersize=4.5, label="true spike" if c == 0 else None)
    axes[-1].set_yticks(-1.25 * np.arange(count), [f"{row} {c}" for c in range(count)])
    axes[-1].set_ylim(-1.25 * (count - 1) - 0.35, 1.05)
    axes[-1].set_xlim(*_clock(sampling_frequency, [start, start + (len(signal) if above else len(code))])[0])
    axes[-1].set_xlabel(label)
    if events is not None:
        axes[-1].legend(loc="upper left", fontsize=8, framealpha=0.9)
    axes[-1].set_title(f"code: a stem for each non-zero value, the tallest {scale:.3g}", fontsize=9, color=_GRAY)
    figure.suptitle(title or "Sparse code")
    return figure


def plot_denoising(clean, noisy, denoised, title=None, zoom=None):
    """Clean, noisy and denoised image, and what was left wrong; PSNR in the titles.

    Args:
        clean, noisy, denoised: (height, width) or (height, width, channels), all uint8 or all in [0, 1].
        title: of the figure.
        zoom: None or (row, column, size): a second row shows that square of each image enlarged.

    Raises:
        ValueError: shapes that differ.
    """
    images = [np.asarray(i) for i in (clean, noisy, denoised)]
    if len({i.shape for i in images}) != 1:
        raise ValueError("`clean`, `noisy` and `denoised` must have one shape. "
                         f"Received: {', '.join(str(i.shape) for i in images)}.")
    images = [i / np.iinfo(i.dtype).max if i.dtype.kind == "u" else i.astype(float) for i in images]
    images = [i[..., 0] if i.ndim == 3 and i.shape[-1] == 1 else i for i in images]
    left = images[2] - images[0]
    reach = max(float(np.quantile(np.abs(left), 0.995)), 1e-6)
    panels = [(images[0], "clean"), (images[1], f"noisy: {psnr(images[0], images[1]):.2f} dB"),
              (images[2], f"denoised: {psnr(images[0], images[2]):.2f} dB"),
              (left.mean(axis=-1) if left.ndim == 3 else left, "denoised minus clean")]
    rows = 1 if zoom is None else 2
    shape = images[0].shape
    height = 3.0 * shape[0] / shape[1]
    figure = _figure(13.5, 0.8 + height + (3.1 if rows == 2 else 0.0))
    figure.suptitle(title or "Denoising (PSNR against the clean image)")
    axes = figure.subplots(rows, 4, squeeze=False,
                           gridspec_kw={"height_ratios": [height, 3.0]} if rows == 2 else None)
    for column, (image, name) in enumerate(panels):
        difference = column == 3
        options = dict(cmap="RdBu_r", vmin=-reach, vmax=reach) if difference else dict(cmap="gray", vmin=0, vmax=1)
        for row in range(rows):
            shown = image
            if row == 1:
                top, start, size = zoom
                shown = image[top:top + size, start:start + size]
            drawn = axes[row, column].imshow(shown if difference else np.clip(shown, 0, 1),
                                             interpolation="nearest" if row else None, **options)
            axes[row, column].set_axis_off()
        axes[0, column].set_title(name, fontsize=11)
        if difference:
            figure.colorbar(drawn, ax=axes[:, column], shrink=0.7, label="gray level (black to white is 1)")
        elif zoom is not None:
            from matplotlib.patches import Rectangle

            axes[0, column].add_patch(Rectangle((zoom[1], zoom[0]), zoom[2], zoom[2], fill=False, edgecolor="#E69F00",
                                                linewidth=1.5))
    return figure


def plot_lambda(lambdas, steps=None, sigma=1.0, title=None):
    """Lambda of every filter over training, and its median.

    Args:
        lambdas: (times, filters), or (times, 1) when shared.
        steps: (times,) training steps or epochs; None: numbered from 1.
        sigma: noise standard deviation; lambda * sigma is drawn, the threshold in units of the noise.
        title: of the figure.

    Raises:
        ValueError: another number of axes, or as many steps as there are not times.

    Example:
        >>> plot_lambda(np.ones((5, 16))).savefig("lambda.png")
    """
    lambdas = np.asarray(lambdas, np.float64)
    steps = np.arange(1, len(lambdas) + 1) if steps is None else np.asarray(steps)
    if lambdas.ndim != 2 or len(steps) != len(lambdas):
        raise ValueError("`lambdas` must have shape (times, filters), `steps` one entry a time. "
                         f"Received: shapes {lambdas.shape} and {steps.shape}.")
    figure = _figure(6.0, 3.6)
    axis = figure.subplots()
    axis.plot(steps, sigma * lambdas, color=COLOURS[0], linewidth=0.6, alpha=0.45)
    axis.plot(steps, sigma * np.median(lambdas, axis=1), color="black", linewidth=2.0, label="median of the filters")
    axis.set_xlabel("epoch" if steps[0] == 1 else "step")
    axis.set_ylabel("lambda * sigma (threshold over noise)")
    axis.legend(frameon=False, fontsize=9)
    axis.set_title(title or "Lambda of each filter over training")
    return figure


def plot_curves(curves, reference=None, xlabel="minutes of training", ylabel="PSNR (dB)", title=None):
    """Curves such as PSNR over training time.

    Args:
        curves: dict of name -> (x, y), each (points,).
        reference: None or dict of name -> height, drawn as dashed lines.
        xlabel, ylabel, title: text.

    Raises:
        ValueError: no curve, or x and y of different lengths.

    Example:
        >>> plot_curves({"64 filters": ([1, 2, 3], [27.1, 27.9, 28.2])}, {"BM3D": 28.57}).savefig("curve.png")
    """
    if not curves or any(len(x) != len(y) for x, y in curves.values()):
        raise ValueError("`curves` must hold at least one (x, y) of equal lengths. "
                         f"Received: {[(len(x), len(y)) for x, y in curves.values()]}")
    below = len(curves) > 4  # so many names would cover the curves
    figure = _figure(6.4, 4.0 + 0.2 * below * len(curves))
    axis = figure.subplots()
    for i, (name, (x, y)) in enumerate(curves.items()):
        axis.plot(x, y, color=_colour(i), marker="o" if len(x) < 12 else None, markersize=3.5, label=name)
    for name, height in (reference or {}).items():
        axis.axhline(height, color=_GRAY, linestyle="--", linewidth=0.9)
        axis.annotate(name, (0.0, height), xycoords=("axes fraction", "data"), xytext=(4, 3),
                      textcoords="offset points", fontsize=8, color=_GRAY)  # left: curves rise
    axis.set_xlabel(xlabel)
    axis.set_ylabel(ylabel)
    axis.set_title(title or f"{ylabel} over {xlabel}")
    if below:
        figure.legend(loc="outside lower center", frameon=False, fontsize=9)
    else:
        axis.legend(frameon=False, fontsize=9)
    return figure
