"""Images: reading, grey levels in [0, 1], patches for training, writing (imageio where files are touched)."""

from pathlib import Path

import numpy as np

from keras_crsae.data.files import IMAGE_SUFFIXES, FileError, check_finite, existing_file, one_line

#: Types of pixels that span their whole range, from black to white.
INTEGER_PIXELS = (np.uint8, np.uint16)


def is_image(path):
    """Whether the name is that of an image file."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def read_image(path):
    """An image as stored, (height, width) or (height, width, channels), its dtype kept.

    Raises:
        FileError: missing, damaged, not one image, or floats far outside [0, 1].
        ModuleNotFoundError: imageio is missing (extra ``images``).
    """
    path = existing_file(path, "an image (png, jpeg, tiff)")
    try:
        import imageio.v3 as iio
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Images need imageio. Install it with: pip install 'keras-crsae[images]'",
                                  name=error.name) from error
    try:
        # Bytes and a named reader: imageio's own search leaves a file that no reader takes open.
        image = np.asarray(iio.imread(path.read_bytes(), plugin=_plugin(path), extension=path.suffix.lower()))
    except ImportError as error:
        raise ModuleNotFoundError(f"{path} needs {_plugin(path)}. Install it with: pip install 'keras-crsae[images]'",
                                  name=_plugin(path)) from error
    except Exception as error:  # each of imageio's readers raises a family of its own
        raise FileError(f"{path} cannot be read as an image ({one_line(error)}). "
                        "Expected a png, jpeg or tiff file.") from error
    if image.dtype == bool:
        image = image.astype(np.uint8) * np.uint8(255)
    if image.dtype not in INTEGER_PIXELS and image.dtype.kind != "f":
        raise FileError(f"{path} holds pixels of type {image.dtype}. Expected 8 or 16 bits, or floats in [0, 1].")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[-1] > 4):
        raise FileError(f"{path} holds an array of shape {image.shape}. Expected one image (height, width) or "
                        "(height, width, 1 to 4 channels), no stack of pages.")
    check_finite(image, path)
    if image.dtype.kind == "f" and (image.min() < -0.5 or image.max() > 1.5):  # noise may leave [0, 1] a little
        raise FileError(f"{path} holds floats from {image.min():.4g} to {image.max():.4g}. Expected grey levels in "
                        "[0, 1]: divide by the largest level.")
    return image


def _plugin(path):
    return "tifffile" if Path(path).suffix.lower() in (".tif", ".tiff") else "pillow"


def opaque(image):
    """(height, width, 1 or 3): without transparency, channels last."""
    image = image[..., None] if image.ndim == 2 else image
    return image[..., :1 if image.shape[-1] < 3 else 3]


def unit_image(image):
    """float32; whole numbers of 8 or 16 bits become [0, 1], other values stay as they are."""
    if image.dtype in INTEGER_PIXELS:
        image = image / np.float32(np.iinfo(image.dtype).max)
    return image.astype(np.float32)


def gray_image(image):
    """(height, width, 1) from (height, width, 1 or 3): luminance by ITU-R BT.601."""
    return image if image.shape[-1] == 1 else image @ np.array([[0.299], [0.587], [0.114]], np.float32)


def random_patches(images, size, count, rng):
    """Random patches of images, float32 (count, height, width, channels).

    Args:
        images: list of arrays (height, width, channels); each is drawn from in proportion to its area.
        size: (height, width) of a patch.
        count: number of patches.
        rng: ``np.random.Generator``.

    Raises:
        ValueError: an image is smaller than a patch.

    Example:
        >>> random_patches([np.zeros((20, 30, 1))], (8, 8), 5, np.random.default_rng(0)).shape
        (5, 8, 8, 1)
    """
    room = [tuple(n - s + 1 for n, s in zip(image.shape, size, strict=False)) for image in images]
    for image, space in zip(images, room, strict=True):
        if min(space) < 1:
            raise ValueError(f"An image of {image.shape[0]} x {image.shape[1]} pixels is smaller than a patch of "
                             f"{size[0]} x {size[1]}. Use smaller patches or leave the image out.")
    areas = np.array([float(np.prod(space)) for space in room])
    out = []
    for which in rng.choice(len(images), count, p=areas / areas.sum()):
        row, column = (int(rng.integers(n)) for n in room[which])
        out.append(images[which][row:row + size[0], column:column + size[1]])
    return np.stack(out).astype(np.float32)


def check_image_dtype(path, image):
    """Refuse an image format that cannot hold the image's type or channels."""
    suffix, kind = Path(path).suffix.lower(), f"{image.dtype} image of shape {image.shape}"
    if suffix in (".jpg", ".jpeg") and (image.dtype != np.uint8 or (image.ndim == 3 and image.shape[-1] in (2, 4))):
        raise FileError(f"A jpeg file cannot hold the {kind}. Write a .png or .tiff file.")
    if suffix == ".png" and (image.dtype.kind == "f" or (image.dtype == np.uint16 and image.ndim == 3)):
        raise FileError(f"A png file cannot hold the {kind} here. Write a .tiff file.")


def write_image(path, image):
    """Write an image with its dtype; see ``check_image_dtype``."""
    import imageio.v3 as iio

    options = {"quality": 95} if Path(path).suffix.lower() in (".jpg", ".jpeg") else {}
    iio.imwrite(path, image, plugin=_plugin(path), **options)
