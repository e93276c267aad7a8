"""An image before and after denoising."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from crsae_onnx.core.optional import import_optional
from numpy.typing import ArrayLike

from keras_crsae.metrics import psnr
from keras_crsae.plots.style import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_ZOOM_INCHES = 3.0
#: Quantile of the absolute difference that has the strongest colour.
_STRONGEST = 0.995


def plot_denoising(clean: ArrayLike, noisy: ArrayLike, denoised: ArrayLike, title: str | None = None,
                   zoom: tuple[int, int, int] | None = None) -> Figure:
    """Clean, noisy and denoised image, and the error that remains; PSNR in the titles.

    Args:
        clean, noisy, denoised: (height, width) or (height, width, channels), all uint8 or all in [0, 1].
        title: of the figure.
        zoom: None or (row, column, size): a second row shows that square of each image enlarged.

    Returns:
        The figure.

    Raises:
        ValueError: shapes that differ.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.plots import plot_denoising
        >>> clean = np.kron(np.eye(4), np.ones((8, 8)))
        >>> noisy = clean + 0.1 * np.random.default_rng(0).standard_normal(clean.shape)
        >>> plot_denoising(clean, noisy, noisy.clip(0, 1), zoom=(4, 4, 8)).savefig("denoised.png")
    """
    images = _as_images(clean, noisy, denoised)
    error = images[2] - images[0]
    limit = max(float(np.quantile(np.abs(error), _STRONGEST)), 1e-6)
    rows = 1 if zoom is None else 2
    height = 3.0 * images[0].shape[0] / images[0].shape[1]
    figure = new_figure(13.5, 0.8 + height + (_ZOOM_INCHES + 0.1 if rows == 2 else 0.0))
    figure.suptitle(title or "Denoising (PSNR against the clean image)")
    axes = figure.subplots(rows, 4, squeeze=False,
                           gridspec_kw={"height_ratios": [height, _ZOOM_INCHES]} if rows == 2 else None)
    names = ("clean", f"noisy: {psnr(images[0], images[1]):.2f} dB", f"denoised: {psnr(images[0], images[2]):.2f} dB")
    for column, (image, name) in enumerate(zip(images, names, strict=True)):
        _panel(axes[:, column], np.clip(image, 0, 1), name, zoom, cmap="gray", vmin=0, vmax=1)
        if zoom is not None:
            _mark(axes[0, column], zoom)
    drawn = _panel(axes[:, 3], error.mean(axis=-1) if error.ndim == 3 else error, "denoised minus clean", zoom,
                   cmap="RdBu_r", vmin=-limit, vmax=limit)
    figure.colorbar(drawn, ax=axes[:, 3], shrink=0.7, label="gray level (black to white is 1)")
    return figure


def _as_images(*images: ArrayLike) -> list[np.ndarray]:
    """Images as floats in [0, 1], one channel without its axis."""
    arrays = [np.asarray(i) for i in images]
    if len({i.shape for i in arrays}) != 1:
        raise ValueError("`clean`, `noisy` and `denoised` must have one shape. "
                         f"Received: {', '.join(str(i.shape) for i in arrays)}.")
    arrays = [i / np.iinfo(i.dtype).max if i.dtype.kind == "u" else i.astype(float) for i in arrays]
    return [i[..., 0] if i.ndim == 3 and i.shape[-1] == 1 else i for i in arrays]


def _panel(axes: Iterable[Axes], image: np.ndarray, name: str, zoom: tuple[int, int, int] | None, **options: Any
           ) -> AxesImage:
    """An image, and under it, where there is a second row, its enlarged square."""
    axes = list(axes)
    drawn = axes[0].imshow(image, **options)
    axes[0].set_title(name, fontsize=11)
    if zoom is not None:
        top, left, size = zoom
        drawn = axes[1].imshow(image[top:top + size, left:left + size], interpolation="nearest", **options)
    for axis in axes:
        axis.set_axis_off()
    return drawn


def _mark(axis: Axes, zoom: tuple[int, int, int]) -> None:
    top, left, size = zoom
    patches = import_optional("matplotlib.patches", "Plots")
    axis.add_patch(patches.Rectangle((left, top), size, size, fill=False, edgecolor=COLOURS[4], linewidth=1.5))
