"""Figures of filters of rank one: each filter's map over channels, on the head where positions are known, beside its
time course.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from keras_crsae.plots.style import GRAY, colour_of, new_figure, time_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEVELS = 17  # of colour, zero in the middle
_AROUND = 1.08  # radius of the head's outline over that of the outermost sensor


def plot_maps(maps: ArrayLike, time_courses: ArrayLike, positions: ArrayLike | None = None,
              sampling_frequency: float | None = None, title: str | None = None) -> Figure:
    """Maps over channels and time courses of filters of rank one, a column each.

    Args:
        maps: (channels, filters), as ``model.dictionary.maps``.
        time_courses: (time, filters), as ``model.dictionary.time_courses``.
        positions: where each channel's sensor lies, in any unit: (channels, 2) in the plane, the nose at the top, or
            (channels, 3) around the head, y to the nose and z up, as MNE has it. Maps are then drawn as topographies.
            None: as bars over channels.
        sampling_frequency: Hz; None: the axis counts samples.
        title: of the figure; None: a plain one.

    Returns:
        The figure.

    Raises:
        ValueError: shapes that do not match, positions that are not finite or lie on a line.
        ModuleNotFoundError: matplotlib is missing (extra ``plots``).

    Example:
        >>> import numpy as np
        >>> from keras_crsae.plots import plot_maps
        >>> rng = np.random.default_rng(0)
        >>> figure = plot_maps(rng.standard_normal((32, 2)), rng.standard_normal((50, 2)),
        ...                    positions=rng.uniform(-1, 1, (32, 2)), sampling_frequency=150)
        >>> figure.savefig("maps.png")
    """
    maps, courses = np.asarray(maps, np.float64), np.asarray(time_courses, np.float64)
    if maps.ndim != 2 or courses.ndim != 2 or maps.shape[1] != courses.shape[1]:
        raise ValueError("Expected `maps` (channels, filters) and `time_courses` (time, filters) of as many filters. "
                         f"Received: shapes {maps.shape} and {courses.shape}.")
    places = None if positions is None else _as_positions(positions, len(maps))
    count = maps.shape[1]
    figure = new_figure(max(4.0, 1.9 * count + 0.6), 4.0)
    figure.suptitle(title or f"{count} filters of {len(maps)} channels x {len(courses)} samples")
    axes = figure.subplots(2, count, sharey="row", sharex="row", squeeze=False, height_ratios=(1.25, 1))
    time, label = time_axis(sampling_frequency, range(len(courses)))
    most = max(float(np.abs(maps).max()), 1e-12)
    for c in range(count):
        if places is None:
            axes[0, c].barh(range(len(maps)), maps[:, c], height=1.0, color=colour_of(c))
            axes[0, c].axvline(0, color="0.8", linewidth=0.8)
        else:
            _topography(axes[0, c], maps[:, c], places, most)
        axes[0, c].set_title(f"filter {c}", fontsize=9)
        axes[1, c].axhline(0, color="0.8", linewidth=0.8, zorder=0)
        axes[1, c].plot(time, courses[:, c], color=colour_of(c), linewidth=1.4)
    if places is None:
        axes[0, 0].invert_yaxis()
        axes[0, 0].set_ylabel("channel", fontsize=9)
    axes[1, 0].set_ylabel("time course", fontsize=9)
    figure.supxlabel(label, fontsize=10)
    return figure


def _as_positions(positions: ArrayLike, channels: int) -> np.ndarray:
    """Positions (channels, 2), moved and scaled so that the outermost lies at distance 1 from the middle.

    Those around the head are unrolled: the angle from its top becomes the distance from the middle.
    """
    places = np.asarray(positions, np.float64)
    if places.shape not in ((channels, 2), (channels, 3)) or not np.isfinite(places).all():
        raise ValueError(f"`positions` must be finite and of shape ({channels} channels, 2) or ({channels}, 3). "
                         f"Received: shape {places.shape}")
    if places.shape[1] == 3:
        across = np.linalg.norm(places[:, :2], axis=1)
        places = places[:, :2] * (np.arctan2(across, places[:, 2]) / np.maximum(across, 1e-12))[:, None]
    places = places - (places.max(axis=0) + places.min(axis=0)) / 2
    size = float(np.linalg.norm(places, axis=1).max())
    if channels < 3 or not size > 0 or np.linalg.matrix_rank(places - places.mean(axis=0), tol=1e-6 * size) < 2:
        raise ValueError("A topography needs three sensors or more that do not lie on a line. Omit `positions` to draw "
                         f"maps as bars. Received: {channels} positions")
    return places / size


def _topography(axis: Any, values: np.ndarray, places: np.ndarray, most: float) -> None:
    """One map between its sensors, red above zero and blue below, with the outline of a head."""
    levels = np.linspace(-most, most, _LEVELS + 1)
    axis.tricontourf(*places.T, values, levels=levels, cmap="RdBu_r", extend="both")
    axis.plot(*places.T, ".", color=GRAY, markersize=2)
    angle = np.linspace(0, 2 * np.pi, 100)
    axis.plot(_AROUND * np.cos(angle), _AROUND * np.sin(angle), color=GRAY, linewidth=1.0)
    axis.plot([-0.12, 0.0, 0.12], [_AROUND, _AROUND + 0.12, _AROUND], color=GRAY, linewidth=1.0)
    axis.set_aspect("equal")
    axis.set_axis_off()
