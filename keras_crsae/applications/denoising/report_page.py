"""A page about one denoised image: before and after under one slider, what was removed, where it is near the truth."""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from crsae_onnx.core.optional import import_optional

from keras_crsae.applications import html_page
from keras_crsae.applications.denoising.pixels import as_unit_image
from keras_crsae.data.images import drop_transparency
from keras_crsae.metrics import psnr
from keras_crsae.plots.style import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Longest side of the pictures of the page; of larger images the middle is shown, at full size.
MOST_PIXELS = 1400
#: Standard deviation of the window of the local error, in pixels, and the quantiles at which its colours end.
_WINDOW_PIXELS, _RANGE = 6.0, (0.02, 0.98)
#: What was removed is shown from black to white over so many times the noise on each side.
_SHOWN_SIGMAS = 3.0
_STYLE = """<style>.photo { position: relative; display: inline-block; max-width: 100%; line-height: 0 }
.photo img { filter: none; display: block; max-width: 100%; image-rendering: auto }
.photo .top { position: absolute; inset: 0; clip-path: inset(0 calc(100% - var(--at, 50%)) 0 0) }
.photo .line { position: absolute; top: 0; bottom: 0; left: var(--at, 50%); width: 2px; margin-left: -1px;
  background: #fff; box-shadow: 0 0 3px #000; pointer-events: none }
.photo input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize }
.photo input:focus-visible ~ .line { width: 6px; margin-left: -3px }
.sides { display: flex; justify-content: space-between; color: var(--note) }
figure { margin: 0; display: inline-block; max-width: 100% }</style>"""
_MOVE = "this.parentNode.style.setProperty('--at', this.value + '%')"


def write_report(path: str | os.PathLike[str], before: np.ndarray, after: np.ndarray, sigma: float,
                 clean: np.ndarray | None = None, facts: Mapping[str, Any] | None = None, estimated: bool = False,
                 title: str = "Denoised image") -> None:
    """Write an image before and after ``denoise`` as one self-contained HTML file.

    Args:
        path: file to write; an existing one is replaced.
        before, after: of one shape (height, width) or (height, width, channels); uint8, uint16 or floats in [0, 1].
        sigma: standard deviation of the noise in units of [0, 1].
        clean: None, or the image without noise: the page then has PSNR, and a map of it.
        facts: further names and values for the table, such as the model's name.
        estimated: whether ``sigma`` was estimated from the image.
        title: of the page.

    Raises:
        ValueError: images of different shapes, of another dtype or range, or with NaN.
        ModuleNotFoundError: matplotlib or Pillow is missing.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from keras_crsae.applications import denoising
        >>> noisy = 0.5 + 0.1 * np.random.default_rng(0).standard_normal((40, 60))
        >>> denoising.write_report("page.html", noisy, np.full((40, 60), 0.5), sigma=0.1, clean=np.full((40, 60), 0.5))
        >>> "PSNR" in Path("page.html").read_text()
        True
    """
    one, two, truth = _checked(before, after, clean)
    parts = [_STYLE, _table(one, two, truth, sigma, estimated, facts or {}),
             html_page.heading("Before and after"), _shown_part(one.shape), _slider(one, two),
             html_page.heading("What was removed"),
             html_page.note("The difference of the two, gray where it is 0, black and white "
                            f"at {_SHOWN_SIGMAS:g} times the noise. Where it shows the image, detail went with it."),
             f'<figure class="photo">{_picture("what was removed", _removed(one, two, sigma))}</figure>']
    if truth is not None:
        parts.append(html_page.picture(
            "Where it is near the truth", "PSNR (dB) around each pixel, in a Gaussian window of standard deviation "
            f"{_WINDOW_PIXELS:g} pixels, and how much of it was gained.", draw_psnr_map(one, two, truth)))
    html_page.write_page(path, title, "Move the pointer over the picture, or use the arrow keys.", parts)


def _checked(before: Any, after: Any, clean: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The images (height, width, 1 or 3) in [0, 1], without transparency, of one shape."""
    images = {"before": before, "after": after} | ({} if clean is None else {"clean": clean})
    units = [drop_transparency(as_unit_image(image)) for image in images.values()]
    if len({image.shape for image in units}) > 1:
        raise ValueError("The images must have one shape. Received: "
                         + ", ".join(f"{name} {np.shape(image)}" for name, image in images.items()))
    return units[0], units[1], None if clean is None else units[2]


def _table(before: np.ndarray, after: np.ndarray, clean: np.ndarray | None, sigma: float, estimated: bool,
           facts: Mapping[str, Any]) -> str:
    removed = 255 * float(np.sqrt(np.square(after - before).mean()))
    values = {"image": f"{before.shape[1]} x {before.shape[0]} pixels, "
                       f"{'gray' if before.shape[-1] == 1 else 'colour'}",
              "noise (standard deviation)": f"{255 * sigma:.3g} of 255 gray levels"
                                            + (", estimated from the image" if estimated else ""),
              "removed (root mean square)": f"{removed:.3g} of 255 gray levels"}
    if clean is not None:
        first, second = psnr(clean, before), psnr(clean, after)
        values |= {"PSNR before": f"{first:.2f} dB", "PSNR after": f"{second:.2f} dB ({second - first:+.2f})"}
    values |= {str(name): str(value) for name, value in facts.items()}
    return html_page.table({"": list(values), "value": list(values.values())}, "text")


def draw_psnr_map(before: np.ndarray, after: np.ndarray, clean: np.ndarray) -> Figure:
    """PSNR around each pixel after denoising, and its gain, as a ``matplotlib.figure.Figure``.

    Args:
        before, after, clean: (height, width, channels) in [0, 1].

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.denoising.report_page import draw_psnr_map
        >>> draw_psnr_map(np.ones((9, 9, 1)), np.full((9, 9, 1), 0.5), np.zeros((9, 9, 1))).savefig("map.png")
    """
    first, second = local_psnr(before, clean), local_psnr(after, clean)
    gain = second - first
    height = 5.0 * before.shape[0] / before.shape[1]
    figure = new_figure(11.0, min(max(height, 1.5), 10.0) + 0.6)
    limit = max(float(np.quantile(np.abs(gain), _RANGE[1])), 0.1)
    low, high = np.quantile(second, _RANGE)
    for axis, values, name, options in zip(figure.subplots(1, 2), (second, gain), ("PSNR after (dB)", "gain (dB)"), (
            {"cmap": "viridis", "vmin": low, "vmax": max(high, low + 0.1)},
            {"cmap": "RdBu", "vmin": -limit, "vmax": limit}), strict=True):
        drawn = axis.imshow(values, **options)
        axis.set_title(name, fontsize=11)
        axis.set_axis_off()
        figure.colorbar(drawn, ax=axis, shrink=0.8)
    return figure


def local_psnr(image: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """PSNR in dB, at a peak of 1, in a Gaussian window around each pixel, (height, width); at most 80.

    Args:
        image, clean: (height, width, channels) in [0, 1].
    """
    from scipy.ndimage import gaussian_filter

    error = np.square(np.asarray(image, np.float64) - clean).mean(axis=-1)
    return -10.0 * np.log10(np.maximum(gaussian_filter(error, _WINDOW_PIXELS), 1e-8))


def _middle(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The part of an image that is shown: all of it, or its middle."""
    return tuple(slice(max(0, (n - MOST_PIXELS) // 2), max(0, (n - MOST_PIXELS) // 2) + MOST_PIXELS)
                 for n in shape[:2])


def _shown_part(shape: tuple[int, ...]) -> str:
    if max(shape[:2]) <= MOST_PIXELS:
        return ""
    rows, columns = (min(n, MOST_PIXELS) for n in shape[:2])
    return html_page.note(f"The middle {columns} x {rows} pixels, at full size; the file has all of them.")


def _slider(before: np.ndarray, after: np.ndarray) -> str:
    """Two pictures, one over the other as far as a slider says."""
    return ('<figure><div class="photo">' + _picture("after", after) + f'<div class="top">{_picture("before", before)}'
            f'</div><input type="range" min="0" max="100" value="50" step="0.5" oninput="{_MOVE}" '
            'aria-label="how much of the picture is shown as it was before"><div class="line"></div></div>'
            '<div class="sides"><span>before</span><span>after</span></div></figure>')


def _removed(before: np.ndarray, after: np.ndarray, sigma: float) -> np.ndarray:
    """The difference around the middle gray."""
    width = _SHOWN_SIGMAS * max(sigma if sigma > 0 else float(np.std(before - after)), 1e-3)
    return 0.5 + (before - after) / (2.0 * width)


def _picture(name: str, image: np.ndarray) -> str:
    """The shown part of (height, width, 1 or 3) in [0, 1], as PNG inside the page."""
    pillow = import_optional("PIL.Image", "A report of an image")
    part = np.rint(255 * np.clip(image[_middle(image.shape)], 0, 1)).astype(np.uint8)
    drawn = io.BytesIO()
    pillow.fromarray(part[..., 0] if part.shape[-1] == 1 else part).save(drawn, format="PNG")
    return f'<img alt="{html.escape(name)}" src="data:image/png;base64,{base64.b64encode(drawn.getvalue()).decode()}">'
