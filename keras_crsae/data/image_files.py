"""Image files as the pixels that a viewer shows, and back (Pillow, tifffile, imagecodecs; loaded where used)."""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
from crsae_onnx.core.errors import FileError
from crsae_onnx.core.optional import import_optional, missing_package

from keras_crsae.data.tiff_samples import check_dtype, shown_pixels

#: Decompression limits, in pixels: the largest image that is read (Pillow's own limit is lower), images that are read
#: whatever the size of their file, and pixels for each byte of larger files, more than a blank page compresses to.
_MAX_PIXELS = 2**29
_ALWAYS_READ_PIXELS = 2**22
_MAX_PIXELS_PER_BYTE = 1100
#: Pages of a TIFF file that are looked at: their chain may be endless.
_PAGES_LOOKED_AT = 4
#: First bytes of a file -> its kind.
_MAGIC = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF",
          b"MM\0+": "TIFF"}
#: Where other files begin with what -> their kind.
_OTHER_KINDS = {(0, b"GIF8"): "GIF", (8, b"WEBP"): "WebP", (0, b"BM"): "BMP", (4, b"ftyp"): "HEIC or AVIF",
                (4, b"jP  "): "JPEG 2000", (0, b"8BPS"): "Photoshop", (0, b"%PDF"): "PDF", (1, b"NUMPY"): "NumPy"}
#: Mode of Pillow -> mode as which it is shown, and its name where that is another one.
_SHOWN = {"1": ("L", None), "L": ("L", None), "LA": ("LA", None), "La": ("LA", None), "RGB": ("RGB", None),
          "RGBA": ("RGBA", None), "RGBa": ("RGBA", None), "RGBX": ("RGB", None), "YCbCr": ("RGB", None),
          "P": ("RGB", "a palette"), "PA": ("RGBA", "a palette"), "CMYK": ("RGB", "CMYK"), "LAB": ("RGB", "Lab")}
_ORIENTATION, _ICC_PROFILE = 274, 34675  # of TIFF and EXIF


@dataclass(frozen=True)
class DecodedImage:
    """An image file's content.

    Args:
        pixels: as a viewer shows them, upright: (height, width) or (height, width, 2 to 4), of 2 or 4 channels the
            last is transparency.
        converted_from: None, or the name of the colours in the file, where ``pixels`` hold others: "a palette".
        icc_profile: None, or the colour profile that belongs to ``pixels``.
    """

    pixels: np.ndarray
    converted_from: str | None = None
    icc_profile: bytes | None = None


def file_kind(path: Path) -> str:
    """ "PNG", "JPEG" or "TIFF" by a file's first bytes.

    Raises:
        FileError: none of them.
    """
    with path.open("rb") as file:
        start = file.read(12)
    for magic, kind in _MAGIC.items():
        if start.startswith(magic):
            return kind
    other = next((kind for (at, magic), kind in _OTHER_KINDS.items() if start[at:].startswith(magic)), None)
    raise FileError(f"{path} cannot be read as an image: its first bytes are those of no png, jpeg or tiff file" + (
        "." if other is None else f", but of a {other} file, whatever its name. Convert it to png or tiff first."))


def decode_file(path: Path) -> DecodedImage:
    """The content of an image file.

    Raises:
        FileError: a kind of image that cannot be shown, several pages, more pixels than the file can hold; whatever
            the readers raise for a damaged file.
        ModuleNotFoundError: a package of the extra ``images`` is missing.
    """
    kind = file_kind(path)
    try:
        return _decode_tiff(path) if kind == "TIFF" else _decode_with_pillow(path, kind)
    except Exception as error:
        if "imagecodecs" in str(error) and find_spec("imagecodecs") is None:  # how tifffile speaks of a codec
            raise missing_package(ModuleNotFoundError(str(error), name="imagecodecs"), f"{path}") from error
        raise


def stored_size(path: Path) -> tuple[int, int]:
    """(height, width) as a viewer shows an image file, by its header, which is refused as ``decode_file`` would."""
    kind = file_kind(path)
    if kind == "TIFF":
        tifffile = import_optional("tifffile", f"{path}")
        with path.open("rb") as file, tifffile.TiffFile(file) as tiff:
            page = tiff.pages.first
            _check_single(path, tiff)
            check_dtype(path, page.dtype)
            size, orientation = (page.imagelength, page.imagewidth), _tiff_orientation(page)
    else:
        with _opened(path, kind) as (file, image):
            _check_still(path, image)
            if image.mode not in _SHOWN and not (kind == "PNG" and _png_depth(path) == 16):
                _refuse_mode(image.mode, path)
            size, orientation = (image.height, image.width), _orientation(image, file)
    return (size[1], size[0]) if orientation >= 5 else size


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[tuple[BinaryIO, Any]]:
    """A file and its ``PIL.Image``, of which the header alone is read so far."""
    pillow = import_optional("PIL.Image", f"{path}")
    with warnings.catch_warnings(), path.open("rb") as file:
        warnings.simplefilter("ignore")  # of odd metadata, and of sizes, which have a bound here
        with pillow.open(file, formats=(kind,)) as image:
            yield file, image


def _check_size(path: Path, pixels: int) -> None:
    """Refuse an image whose header promises more than there can be, before that takes memory."""
    size = path.stat().st_size
    if pixels > _MAX_PIXELS or (pixels > _ALWAYS_READ_PIXELS and pixels > _MAX_PIXELS_PER_BYTE * size):
        raise FileError(f"{path} of {size} bytes promises {pixels} values. Expected at most {_MAX_PIXELS}, and "
                        f"{_MAX_PIXELS_PER_BYTE} for each byte of the file: it is damaged, made to do harm, or blank.")


def _decode_with_pillow(path: Path, kind: str) -> DecodedImage:
    with _opened(path, kind) as (file, image):
        _check_size(path, math.prod(image.size))
        _check_still(path, image)
        profile = image.info.get("icc_profile")
        if kind == "PNG" and _png_depth(path) == 16:  # Pillow keeps 16 bits of gray alone
            codecs = import_optional("imagecodecs", f"{path}, a png file of 16 bits,")
            pixels, shown = codecs.png_decode(path.read_bytes()), None
        else:
            pixels, shown = _shown(image, path)
        return DecodedImage(_upright(pixels, _orientation(image, file)), shown, _own_profile(profile, pixels))


def _check_still(path: Path, image: Any) -> None:
    if image.format == "PNG" and image.n_frames > 1:
        raise FileError(f"{path} is an animation of {image.n_frames} pictures. Expected one image.")


def _shown(image: Any, name: object) -> tuple[np.ndarray, str | None]:
    """Pixels of 8 bits of a ``PIL.Image`` as a viewer shows them, and the colours that they were converted from."""
    image.load()
    if image.mode not in _SHOWN:
        _refuse_mode(image.mode, name)
    mode, converted_from = _SHOWN[image.mode]
    if image.has_transparency_data and not mode.endswith("A"):
        mode += "A"
    return np.asarray(image.convert(mode)), converted_from


def _refuse_mode(mode: str, name: object) -> NoReturn:
    raise FileError(f"{name} holds pixels of Pillow's mode {mode}. Expected gray, RGB, a palette or CMYK of 8 or 16 "
                    "bits: convert it first, for example with Pillow's Image.convert.")


def picture_pixels(image: Any) -> np.ndarray:
    """Pixels of a ``PIL.Image`` as ``decode_file`` gives those of its file; 16 bits and floats are kept."""
    image.load()
    deep = image.mode == "F" or image.mode.startswith("I;16")
    pixels = np.asarray(image) if deep else _shown(image, "The PIL.Image")[0]
    return _upright(pixels, _orientation(image, None))


def _png_depth(path: Path) -> int:
    with path.open("rb") as file:
        return file.read(25)[-1]


def _orientation(image: Any, file: BinaryIO | None) -> int:
    """EXIF's orientation, 1 to 8, of an opened image (and its file); 1 where it is missing or damaged."""
    from PIL import Image

    try:
        # Pillow's getexif of PNG decodes all pixels to look behind them, where hardly a file has anything.
        late = image.format != "PNG" or file is None or _has_late_exif(file)
        return _valid_orientation((image.getexif() if late else Image.Image.getexif(image)).get(_ORIENTATION))
    except Exception:  # each part of a damaged EXIF block raises an error of its own; the pixels are whole
        return 1


def _has_late_exif(file: BinaryIO) -> bool:
    """Whether a PNG file has metadata after its pixels."""
    at, pixels, position = 8, False, file.tell()
    try:
        while True:
            file.seek(at)
            head = file.read(8)
            if len(head) < 8:
                return False
            length, name = struct.unpack(">I4s", head)
            pixels |= name == b"IDAT"
            if pixels and name in (b"eXIf", b"iTXt", b"zTXt", b"tEXt"):
                return True
            at += length + 12
    finally:
        file.seek(position)


def _valid_orientation(value: Any) -> int:
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels as EXIF's orientation shows them."""
    if orientation >= 5:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):  # rows from below
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):  # columns from the right
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _own_profile(profile: Any, pixels: np.ndarray) -> bytes | None:
    """A colour profile, where it speaks of as many colours as the pixels have."""
    space = b"RGB " if pixels.ndim == 3 and pixels.shape[-1] >= 3 else b"GRAY"
    return profile if isinstance(profile, bytes) and profile[16:20] == space else None


def _decode_tiff(path: Path) -> DecodedImage:
    """The first page. 8 bits are shown by Pillow; more, and what Pillow lacks, are computed here."""
    tifffile = import_optional("tifffile", f"{path}")
    with path.open("rb") as file, tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        _check_size(path, math.prod(page.shape))
        _check_single(path, tiff)
        if page.dtype is not None and page.dtype.kind in "bu" and page.dtype.itemsize == 1:
            try:
                return _decode_with_pillow(path, "TIFF")
            except (FileError, ImportError):
                raise
            except Exception:  # a compression or a layout that this Pillow has not; tifffile may
                pass
        values = page.asarray()
        if values.shape != page.shape:
            raise FileError(f"{path} holds fewer pixels than its header promises, {page.shape}. It is damaged.")
        if page.axes == "SYX":
            values = np.moveaxis(values, 0, -1)
        elif page.axes not in ("YX", "YXS"):
            raise FileError(f"{path} holds an array of shape {page.shape} (axes {page.axes}). Expected one image.")
        pixels, shown = shown_pixels(path, page, values[..., None] if values.ndim == 2 else values)
        pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
        profile = _own_profile(page.tags.valueof(_ICC_PROFILE), pixels)
        return DecodedImage(_upright(pixels, _tiff_orientation(page)), shown, profile)


def _tiff_orientation(page: Any) -> int:
    return _valid_orientation(page.tags.valueof(_ORIENTATION))


def _check_single(path: Path, tiff: Any) -> None:
    """Refuse a second picture; masks, and smaller versions of the first, are none."""
    first = tiff.pages.first
    for index in range(1, _PAGES_LOOKED_AT):
        try:
            page = tiff.pages[index]
            smaller = page.imagelength * 2 <= first.imagelength and page.imagewidth * 2 <= first.imagewidth
            if page.is_reduced or page.is_mask or (smaller and page.shape):
                continue
        except Exception:  # there is none, or what is there is no page
            return
        raise FileError(f"{path} holds several pages, of shapes {first.shape} and {page.shape}. Expected one image, "
                        "no stack of pages.")


def encode_file(path: Path, pixels: np.ndarray, icc_profile: bytes | None = None) -> None:
    """Write an image by the suffix of ``path``; ``images.check_image_dtype`` says what a suffix can hold.

    Args:
        path: .png, .jpg, .jpeg, .tif or .tiff.
        pixels: (height, width) or (height, width, 1 to 4).
        icc_profile: a colour profile to write along.
    """
    pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
    pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
    suffix = path.suffix.lower()
    if suffix in (".tif", ".tiff"):
        tifffile = import_optional("tifffile", "A tiff file")
        channels = 1 if pixels.ndim == 2 else pixels.shape[-1]
        extra = {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
        layout = {"planarconfig": "contig"} if channels > 1 else {}
        profile = [] if icc_profile is None else [(_ICC_PROFILE, 7, len(icc_profile), icc_profile, True)]
        tifffile.imwrite(path, pixels, photometric="rgb" if channels >= 3 else "minisblack", metadata=None,
                         extratags=profile, **layout, **extra)
    elif pixels.dtype == np.uint16:
        codecs = import_optional("imagecodecs", "A png file of 16 bits")
        path.write_bytes(_with_profile(bytes(codecs.png_encode(pixels)), icc_profile))
    else:
        pillow = import_optional("PIL.Image", "An image file")
        options: dict[str, Any] = {} if suffix == ".png" else {"quality": 95}
        if icc_profile is not None:
            options["icc_profile"] = icc_profile
        pillow.fromarray(pixels).save(path, **options)


def _with_profile(png: bytes, profile: bytes | None) -> bytes:
    """A PNG file with a colour profile behind its header (chunk iCCP)."""
    if profile is None:
        return png
    content = b"iCCP" + b"ICC profile\0\0" + zlib.compress(profile)
    header = 33  # signature and IHDR
    return (png[:header] + struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
            + png[header:])
