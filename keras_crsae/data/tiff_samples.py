"""What the samples of a TIFF page mean (palette, inks, transparency, bits): the pixels that a viewer shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from crsae_onnx.core.errors import FileError

#: Photometric interpretation of TIFF -> its name, and its number of colours.
_PHOTOMETRIC = {0: ("MinIsWhite", 1), 1: ("MinIsBlack", 1), 2: ("RGB", 3), 3: ("palette", 1), 4: ("mask", 1),
                5: ("CMYK", 4), 6: ("YCbCr", 3), 8: ("Lab", 3), 9: ("ICC Lab", 3), 10: ("ITU Lab", 3),
                32803: ("colour filter array", 1), 32844: ("LogL", 1), 32845: ("LogLuv", 3), 34892: ("linear raw", 3)}
_PREMULTIPLIED, _TRANSPARENCY = 1, (1, 2, 999)  # of TIFF's ExtraSamples; 999: Corel Draw
_INK_SET, _CMYK_INKS = 332, 1


def shown_pixels(path: Path, page: Any, values: np.ndarray) -> tuple[np.ndarray, str | None]:
    """What a viewer shows of a page's samples.

    Args:
        path: of the file, for messages.
        page: ``tifffile.TiffPage``.
        values: its samples, (height, width, samples).

    Returns:
        (height, width, 1 to 4), 8 or 16 bits or floats, of 2 or 4 channels the last is transparency; and the name of
        the colours that they were converted from, or None.

    Raises:
        FileError: samples that cannot be shown.
    """
    name, count = _PHOTOMETRIC.get(int(page.photometric), (str(page.photometric), 0))
    kind = f"{name} pixels of type {values.dtype}"
    check_dtype(path, values.dtype)
    if not isinstance(page.bitspersample, int) and len(set(page.bitspersample)) > 1:
        raise FileError(f"{path} holds samples of {page.bitspersample} bits. Expected as many for each colour.")
    if name == "YCbCr" and page.compression == 7:  # a jpeg stream, which its codec turns into RGB
        name = "RGB"
    if name not in ("MinIsBlack", "MinIsWhite", "RGB", "palette", "CMYK") or (
            values.dtype.kind == "f" and name not in ("MinIsBlack", "RGB")) or (
            name == "CMYK" and page.tags.valueof(_INK_SET, _CMYK_INKS) != _CMYK_INKS):
        raise FileError(f"{path} holds {kind}, which cannot be shown. Expected gray, RGB, a palette or CMYK of 8 or "
                        "16 bits, or floats: convert it first, for example to RGB.")
    if values.shape[-1] < count:
        raise FileError(f"{path} holds {values.shape[-1]} samples a pixel. Expected {count} for {kind}.")
    colours, alpha = values[..., :count], _alpha(page, values, count)
    if name == "palette":
        colours = _look_up(path, page.colormap, colours[..., 0])
        alpha = None if alpha is None else _full_range(alpha, page.bitspersample).astype(colours.dtype)
    else:
        colours = _full_range(colours, page.bitspersample)
        alpha = None if alpha is None else _full_range(alpha, page.bitspersample)
    white = np.iinfo(colours.dtype).max if colours.dtype.kind == "u" else 1.0
    if alpha is not None and int(page.extrasamples[0] if page.extrasamples else 2) == _PREMULTIPLIED:
        colours = _divide_by_alpha(colours, alpha, white)
    if name == "MinIsWhite":
        colours = white - colours
    if name == "CMYK":
        colours = _cmyk_to_rgb(colours, white)
    shown = {"palette": "a palette", "CMYK": "CMYK"}.get(name)
    return (colours if alpha is None else np.concatenate([colours, alpha], axis=-1)), shown


def check_dtype(path: Path, dtype: Any) -> None:
    """FileError for samples of another type; ``dtype`` is None where tifffile does not know them; Pillow may."""
    if dtype is not None and dtype.kind != "b" and dtype not in (np.uint8, np.uint16) and dtype.kind != "f":
        raise FileError(f"{path} holds pixels of type {dtype}. Expected 8 or 16 bits without a sign, or floats in "
                        "[0, 1].")


def _alpha(page: Any, values: np.ndarray, colours: int) -> np.ndarray | None:
    """The sample that says itself that it is transparency; one unnamed sample is, too."""
    extra = [int(kind) for kind in page.extrasamples or ()]
    if values.shape[-1] == colours + 1 and not extra:
        extra = [2]
    if not extra or extra[0] not in _TRANSPARENCY:
        return None
    return values[..., colours:colours + 1]


def _full_range(values: np.ndarray, bits: int | tuple[int, ...]) -> np.ndarray:
    """Samples of 1 to 16 bits as uint8 or uint16 of which black is 0 and white the largest; floats as they are."""
    if values.dtype.kind == "f":
        return values
    bits = bits if isinstance(bits, int) else max(bits)
    kind = np.dtype(np.uint8 if bits <= 8 else np.uint16)
    white = np.iinfo(kind).max
    if white == 2**bits - 1:
        return values.astype(kind)
    return np.rint(values.astype(np.float64) * (white / (2**bits - 1))).clip(0, white).astype(kind)


def _look_up(path: Path, palette: Any, index: np.ndarray) -> np.ndarray:
    """uint8 (height, width, 3) of a palette (3, colours) of 16 bits; old files hold 8 bits in them."""
    if palette is None or int(index.max(initial=0)) >= np.shape(palette)[-1]:
        raise FileError(f"{path} holds a palette without some of the colours that its pixels name. It is damaged.")
    palette = np.asarray(palette)
    palette = palette >> 8 if palette.max() > 255 else palette
    return np.moveaxis(palette.astype(np.uint8)[:, index.astype(np.intp)], 0, -1)


def _divide_by_alpha(colours: np.ndarray, alpha: np.ndarray, white: float) -> np.ndarray:
    """Colours that were multiplied by their transparency, without it."""
    with np.errstate(divide="ignore", invalid="ignore"):
        straight = np.where(alpha > 0, colours * (white / alpha.astype(np.float64)), 0.0)
    return (np.rint(straight).clip(0, white) if colours.dtype.kind == "u" else straight).astype(colours.dtype)


def _cmyk_to_rgb(inks: np.ndarray, white: float) -> np.ndarray:
    """(1 - ink) (1 - black), as Pillow computes it; a colour profile is not consulted."""
    paper = white - inks.astype(np.float64)
    return np.rint(paper[..., 3:] - np.rint(inks[..., :3] * paper[..., 3:] / white)).clip(0, white).astype(inks.dtype)
