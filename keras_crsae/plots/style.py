"""What all figures share: size, colours, the axis of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from crsae_onnx.core.optional import import_optional
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Colours of units, in order (the safe palette of Okabe and Ito).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
#: Gray of text that explains.
GRAY = "0.35"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches.

    Raises:
        ModuleNotFoundError: matplotlib is missing (extra ``plots``).
    """
    return import_optional("matplotlib.figure", "Plots").Figure(figsize=(width, height), layout="constrained")


def colour_of(index: int) -> str:
    """Colour of a unit or filter; the palette repeats."""
    return COLOURS[index % len(COLOURS)]


def time_axis(sampling_frequency: float | None, positions: ArrayLike) -> tuple[np.ndarray, str]:
    """Times of sample positions, and the name of their axis: milliseconds, or samples where the frequency is None.

    Example:
        >>> from keras_crsae.plots.style import time_axis
        >>> time_axis(2000, [0, 4])
        (array([0., 2.]), 'time (ms)')
    """
    if sampling_frequency is None:
        return np.asarray(positions, float), "time (samples)"
    return 1e3 * np.asarray(positions, float) / sampling_frequency, "time (ms)"
