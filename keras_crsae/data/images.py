"""Images: reading, gray levels in [0, 1], patches for training, writing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from crsae_onnx.core.errors import FileError, one_line
from crsae_onnx.core.optional import import_optional
from crsae_onnx.core.signals import refuse_other_containers

from keras_crsae.data.arrays import check_finite
from keras_crsae.data.image_files import DecodedImage, decode_file, encode_file, picture_pixels, stored_size
from keras_crsae.data.paths import IMAGE_SUFFIXES, existing_file

_INTEGER_PIXELS = (np.uint8, np.uint16)
_FLOAT_PIXELS = (np.float16, np.float32, np.float64)
_STORED_LEVELS = (-0.5, 1.5)  # in files of floats: noise may leave [0, 1] a little
_MAX_JPEG_SIDE = 65500  # of libjpeg
#: Photographs inside scikit-image's wheel: CC0, astronaut and rocket public domain (NASA).
PHOTOGRAPHS = ("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "grass.png", "gravel.png",
               "rocket.jpg")


def is_image(path: str | Path) -> bool:
    """Whether the name is that of an image file."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def decode_image(path: str | Path) -> DecodedImage:
    """An image file's pixels as a viewer shows them, and what the file says beside them.

    Args:
        path: a png, jpeg or tiff file. The orientation of EXIF and TIFF is applied; a palette, YCbCr, Lab and CMYK
            become RGB; MinIsWhite becomes black at 0; fewer than 8 bits become 8, 12 become 16. Depth and transparency
            are kept.

    Raises:
        FileError: missing, damaged, not one image, of a kind that is not shown (signed or 32-bit whole numbers, Lab of
            16 bits, ...), or floats far outside [0, 1].
        ModuleNotFoundError: Pillow, tifffile or imagecodecs is missing (extra ``images``).
    """
    path = existing_file(path, "an image (png, jpeg, tiff)")
    with _named(path):
        decoded = decode_file(path)
    image = decoded.pixels
    if image.size == 0 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[-1] > 4):
        raise FileError(f"{path} holds an array of shape {image.shape}. Expected one image (height, width) or "
                        "(height, width, 1 to 4 channels), no stack of pages.")
    _check_stored_levels(path, image)
    return decoded


def _check_stored_levels(path: str | Path, image: np.ndarray) -> None:
    check_finite(image, path)
    if image.dtype.kind == "f" and not _STORED_LEVELS[0] <= image.min() <= image.max() <= _STORED_LEVELS[1]:
        raise FileError(f"{path} holds floats from {image.min():.4g} to {image.max():.4g}. Expected gray levels in "
                        "[0, 1]: divide by the largest level.")


def has_integer_levels(array: np.ndarray) -> bool:
    """Whether pixels are of 8 or 16 bits, in any byte order, which span their whole range from black to white."""
    return array.dtype.newbyteorder("=") in _INTEGER_PIXELS


def image_array(image: Any, name: str = "image") -> Any:
    """What users hold an image in as an array (masked arrays stay as they are), a ``PIL.Image`` as a viewer shows it.

    Raises:
        ValueError: a path, or values that are no gray levels.

    Example:
        >>> import numpy as np
        >>> from PIL import Image
        >>> from keras_crsae.data.images import image_array
        >>> image_array(Image.fromarray(np.eye(3, dtype="uint8")).convert("P")).shape
        (3, 3, 3)
    """
    wanted = f"`{name}` must be an array of uint8, uint16 or floats in [0, 1]."
    if isinstance(image, str | bytes | os.PathLike):
        raise ValueError(f"{wanted} Received: the path {image!r}. Read it first: keras_crsae.data.read_image(path).")
    if hasattr(image, "getbands") and hasattr(image, "convert"):
        image = picture_pixels(image)
    array = image if isinstance(image, np.ndarray) else np.asarray(image)
    if not has_integer_levels(array) and array.dtype.kind != "f":
        kind = f"dtype {array.dtype}" if isinstance(image, np.ndarray) else f"{type(image).__name__} of {array.dtype}"
        hint = {"b": f" Give 255 * numpy.asarray({name}, 'uint8').",
                "c": f" Give its real part or magnitude, numpy.abs({name})."}.get(array.dtype.kind, "")
        if array.dtype.kind in "iu":
            hint = (f" Give levels of 0 to 255 as numpy.asarray({name}, 'uint8'), of another range as "
                    f"numpy.asarray({name}, 'float32') divided by the level of white.")
        raise ValueError(f"{wanted} Received: {kind}.{hint}")
    return array


def read_image(path: str | Path) -> np.ndarray:
    """The pixels of an image file as a viewer shows them, at its full depth.

    Args:
        path: see ``decode_image``.

    Returns:
        (height, width) or (height, width, 2 to 4); uint8, uint16 or floats in [0, 1]. Of 2 or 4 channels the last is
        transparency.

    Raises:
        FileError, ModuleNotFoundError: see ``decode_image``.
    """
    return decode_image(path).pixels


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of the readers as ``FileError`` with the file's name."""
    try:
        yield
    except (FileError, ImportError):
        raise
    except Exception as error:  # each reader raises a family of its own
        raise FileError(f"{path} cannot be read as an image ({one_line(error)}). "
                        "Expected a png, jpeg or tiff file.") from error


def photographs(names: Sequence[str] = PHOTOGRAPHS) -> list[np.ndarray]:
    """Photographs of the installed scikit-image as stored, without transparency; nothing is downloaded.

    Args:
        names: some of ``PHOTOGRAPHS``.

    Returns:
        List of uint8 arrays (height, width, 1 or 3).

    Raises:
        ModuleNotFoundError: scikit-image or Pillow is missing (extra ``images``).

    Example:
        >>> from keras_crsae.data import photographs
        >>> [photograph.shape for photograph in photographs(["camera.png"])]
        [(512, 512, 1)]
    """
    skimage = import_optional("skimage", "The built-in photographs, which ship with scikit-image,")
    # Read as files: skimage.data would fill a cache in the user's home.
    folder = Path(str(skimage.__file__)).parent / "data"
    return [drop_transparency(read_image(folder / name)) for name in names]


def gray_photograph(name: str) -> np.ndarray:
    """A photograph of the installed scikit-image, gray, float32 (height, width, 1) in [0, 1].

    Args:
        name: one of ``PHOTOGRAPHS``.

    Raises:
        ModuleNotFoundError: see ``photographs``.

    Example:
        >>> from keras_crsae.data.images import gray_photograph
        >>> gray_photograph("coffee.png").shape
        (400, 600, 1)
    """
    return gray_image(unit_image(photographs([name])[0]))


def load_images(source: Any = None, channels: int | None = None) -> list[np.ndarray]:
    """Images of one number of channels from whatever names or holds them.

    Args:
        source: None: the built-in ``photographs``; a folder (its png, jpeg and tiff files, in order of name) or a file;
            an array (height, width), (height, width, 1 to 4) or (images, height, width, 1 to 4); a ``PIL.Image``; or
            a list of any of these. Transparency is dropped.
        channels: 1 (gray, ITU-R BT.601), 3 (colour; gray images have three equal channels), or None: the images' own
            where all agree, else 1.

    Returns:
        List of arrays (height, width, channels): uint8 or uint16 where stored so and not converted, else float32 in
        [0, 1].

    Raises:
        FileError: a missing, empty or invalid file or folder.
        ValueError: an array of another shape or dtype, no image at all, another ``channels``.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.data import load_images
        >>> [image.shape for image in load_images(np.zeros((20, 30, 3), "uint8"), channels=1)]
        [(20, 30, 1)]
    """
    if channels not in (None, 1, 3):
        raise ValueError(f"`channels` must be 1 (gray), 3 (colour) or None. Received: {channels!r}")
    images = photographs() if source is None else _read_source(source)
    if not images:
        raise ValueError("There are no images. Give at least one array, file or folder of png, jpeg or tiff files.")
    counts = {image.shape[-1] for image in images}
    common = counts.pop() if len(counts) == 1 else 1
    return [_convert_channels(image, channels or common) for image in images]


def image_files(source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Paths of the images of a folder in order of name, or of one file, or of a list of these.

    Raises:
        FileError: a folder without images.
    """
    if not isinstance(source, str | os.PathLike | list | tuple):
        raise FileError(f"Expected a folder, a file or a list of them. Received: {type(source).__name__}.")
    if not isinstance(source, str | os.PathLike):
        return [path for one in source for path in image_files(one)]
    path = Path(source)
    if not path.is_dir():
        return [path]
    files = sorted(f for f in path.iterdir() if f.is_file() and is_image(f))
    if not files:
        raise FileError(f"{path} holds no images. Expected files of type {', '.join(IMAGE_SUFFIXES)}.")
    return files


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of an image file as a viewer shows it, by its header; its pixels are not read.

    Raises:
        FileError: missing, damaged, not one image, or of a kind that is not shown.
        ModuleNotFoundError: Pillow or tifffile is missing (extra ``images``).
    """
    path = existing_file(path, "an image (png, jpeg, tiff)")
    with _named(path):
        return stored_size(path)


def _read_source(source: Any) -> list[np.ndarray]:
    """List of images without transparency (height, width, 1 or 3) of one source."""
    if isinstance(source, list | tuple):
        return [image for one in source for image in _read_source(one)]
    if isinstance(source, str | os.PathLike):
        return [drop_transparency(read_image(path)) for path in image_files(source)]
    refuse_other_containers(source, "images")
    array = np.asarray(image_array(source, "images"))
    if array.ndim == 4 and array.shape[-1] <= 4:
        return [image for one in array for image in _read_source(one)]
    if array.ndim not in (2, 3) or array.size == 0 or (array.ndim == 3 and array.shape[-1] > 4):
        raise ValueError("An image is an array (height, width) or (height, width, 1 to 4 channels), a stack of images "
                         f"has four axes. Received: shape {array.shape}.")
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise ValueError("Images hold NaN or infinite values. Fill them first, or leave these images out.")
        if array.min() < -2 or array.max() > 3:
            raise ValueError(f"Images of floats hold gray levels in [0, 1]. Received: values from {array.min():.4g} to "
                             f"{array.max():.4g}. Divide by the largest level.")
        array = array.astype(np.float32)
    return [drop_transparency(array)]


def _convert_channels(image: np.ndarray, channels: int) -> np.ndarray:
    if image.shape[-1] == channels:
        return image
    return gray_image(unit_image(image)) if channels == 1 else np.repeat(image, channels, axis=-1)


def drop_transparency(image: np.ndarray) -> np.ndarray:
    """(height, width, 1 or 3): without transparency, channels last."""
    image = image[..., None] if image.ndim == 2 else image
    return image[..., :1 if image.shape[-1] < 3 else 3]


def unit_image(image: np.ndarray) -> np.ndarray:
    """float32; whole numbers of 8 or 16 bits become [0, 1], other values stay as they are."""
    if has_integer_levels(image):
        image = image / np.float32(np.iinfo(image.dtype).max)
    return image.astype(np.float32)


def gray_image(image: np.ndarray) -> np.ndarray:
    """(height, width, 1) from (height, width, 1 or 3): luminance by ITU-R BT.601."""
    return image if image.shape[-1] == 1 else image @ np.array([[0.299], [0.587], [0.114]], np.float32)


def random_patches(images: Sequence[np.ndarray], size: tuple[int, ...], count: int, rng: np.random.Generator
                   ) -> np.ndarray:
    """Random patches of images, float32 (count, height, width, channels).

    Args:
        images: list of arrays (height, width, channels); each is drawn from in proportion to its area.
        size: (height, width) of a patch.
        count: number of patches.
        rng: ``np.random.Generator``.

    Raises:
        ValueError: an image is smaller than a patch.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.data import random_patches
        >>> random_patches([np.zeros((20, 30, 1))], (8, 8), 5, np.random.default_rng(0)).shape
        (5, 8, 8, 1)
    """
    room = [tuple(n - s + 1 for n, s in zip(image.shape, size, strict=False)) for image in images]
    for image, space in zip(images, room, strict=True):
        if min(space) < 1:
            raise ValueError(f"An image of {image.shape[0]} x {image.shape[1]} pixels is smaller than a patch of "
                             f"{size[0]} x {size[1]}. Use smaller patches or omit the image.")
    areas = np.array([float(np.prod(space)) for space in room])
    out = []
    for which in rng.choice(len(images), count, p=areas / areas.sum()):
        row, column = (int(rng.integers(n)) for n in room[which])
        out.append(images[which][row:row + size[0], column:column + size[1]])
    return np.stack(out).astype(np.float32)


def check_image_dtype(path: str | Path, image: np.ndarray) -> None:
    """Refuse an image format that cannot hold the image's type or channels.

    Raises:
        FileError: jpeg holds 8 bits without transparency, png 8 or 16 bits, tiff these and floats.
    """
    suffix, kind = Path(path).suffix.lower(), f"{image.dtype} image of shape {image.shape}"
    if suffix not in IMAGE_SUFFIXES:
        raise FileError(f"{path} names no image format. Expected one of {', '.join(IMAGE_SUFFIXES)}.")
    if image.ndim not in (2, 3) or image.size == 0 or (image.ndim == 3 and image.shape[-1] > 4):
        raise FileError(f"An image file cannot hold the {kind}. Expected (height, width) or (height, width, 1 to 4 "
                        "channels).")
    if not has_integer_levels(image) and image.dtype.newbyteorder("=") not in _FLOAT_PIXELS:
        raise FileError(f"An image file cannot hold the {kind}. Expected uint8, uint16, or floats in [0, 1].")
    if suffix in (".jpg", ".jpeg") and (image.dtype != np.uint8 or (image.ndim == 3 and image.shape[-1] in (2, 4))):
        raise FileError(f"A jpeg file cannot hold the {kind}. Write a .png or .tiff file.")
    if suffix in (".jpg", ".jpeg") and max(image.shape[:2]) > _MAX_JPEG_SIDE:
        raise FileError(f"A jpeg file cannot hold the {kind}: its sides are at most {_MAX_JPEG_SIDE} pixels. Write a "
                        ".png or .tiff file.")
    if suffix == ".png" and image.dtype.kind == "f":
        raise FileError(f"A png file cannot hold the {kind}. Write a .tiff file.")


def write_image(path: str | Path, image: Any, icc_profile: bytes | None = None) -> None:
    """Write an image with its dtype.

    Args:
        path: .png, .jpg, .jpeg, .tif or .tiff.
        image: (height, width) or (height, width, 1 to 4), of 2 or 4 channels the last is transparency; or a
            ``PIL.Image``.
        icc_profile: a colour profile to write along.

    Raises:
        FileError: see ``check_image_dtype``; floats that are no gray levels in [0, 1]; no such folder.
        ModuleNotFoundError: Pillow, tifffile or imagecodecs is missing (extra ``images``).

    Example:
        >>> import numpy as np
        >>> from keras_crsae.data import read_image, write_image
        >>> write_image("deep.png", np.full((4, 5, 3), 1000, "uint16"))
        >>> read_image("deep.png").dtype.name
        'uint16'
    """
    refuse_other_containers(image, "image")
    image = picture_pixels(image) if hasattr(image, "getbands") else np.asarray(image)
    check_image_dtype(path, image)
    _check_stored_levels(path, image)
    if not Path(path).parent.is_dir():
        raise FileError(f"No folder {Path(path).parent} for the image {Path(path).name}. Create it first.")
    encode_file(Path(path), image, icc_profile)
