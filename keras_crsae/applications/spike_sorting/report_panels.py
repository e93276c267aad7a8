"""Figures with a panel for each unit, readable for one unit and for many. Needs the extra ``plots``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keras_crsae.plots.style import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Panels side by side, and of more units than ``_MANY``.
COLUMNS, _MANY, _COLUMNS_OF_MANY = 4, 16, 6


def unit_panels(count: int, width: float = 2.6, height: float = 1.9, titles: list[str] | None = None, **options: Any
                ) -> tuple[Figure, Any]:
    """(figure, [axes]) of ``count`` panels; ``titles``: "unit 0", ... where none are given."""
    most = COLUMNS if count <= _MANY else _COLUMNS_OF_MANY
    columns = min(count, most)
    rows = -(-count // columns)
    figure = new_figure(max(4.5, width * columns * (COLUMNS / most)), 0.5 + height * rows)
    axes = figure.subplots(rows, columns, squeeze=False, **options).ravel()
    for axis in axes[count:]:
        axis.set_visible(False)
    for unit, axis in enumerate(axes[:count]):
        axis.set_title(titles[unit] if titles else f"unit {unit}", fontsize=9)
        # A shared axis is labelled below the lowest panel alone, which may be a hidden one.
        axis.tick_params(labelsize=8, labelbottom=unit + columns >= count)
    return figure, axes[:count]
