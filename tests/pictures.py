"""Pictures for the tests of image files: pixels to write, files made by hand, and what a viewer shows of a file."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

from keras_crsae.data.images import image_size, read_image

HEIGHT, WIDTH = 12, 17
ORIENTATION = 274


def levels(channels=None, dtype="uint8", seed=0):
    """Random pixels (12, 17) or (12, 17, channels)."""
    shape = (HEIGHT, WIDTH) if channels is None else (HEIGHT, WIDTH, channels)
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def smooth():
    """Colours that JPEG hardly changes."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([20 * rows, 15 * columns, 130 + 5 * rows], axis=-1).astype("uint8")


def viewed(path, mode):
    # Not by its name: Pillow would map the file, and maps a gray TIFF with the sides of the turned picture.
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert(mode))


def same(path, expected, **close):
    read = read_image(path)
    assert read.dtype == expected.dtype and read.shape == expected.shape
    assert image_size(path) == expected.shape[:2]
    (np.testing.assert_allclose if close else np.testing.assert_array_equal)(read, expected, **close)


def upright(stored, orientation):
    """By the definition: which side of the picture the first row and the first column show."""
    turned = np.swapaxes(stored, 0, 1) if orientation > 4 else stored
    turned = turned[::-1] if orientation in (3, 4, 7, 8) else turned
    return turned[:, ::-1] if orientation in (2, 3, 6, 7) else turned


def exif(orientation):
    block = Image.Exif()
    block[ORIENTATION] = orientation
    return block


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(rows, width, depth, colour, *chunks, late=()):
    """A PNG file of packed rows."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*c) for c in ((b"IHDR", header), *chunks, (b"IDAT", pixels), *late, (b"IEND", b"")))
