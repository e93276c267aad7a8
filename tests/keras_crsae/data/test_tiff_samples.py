"""Each way of TIFF to say a colour comes back as a viewer shows it, or is refused by name."""

import struct

import numpy as np
import pytest
import tifffile
from crsae_onnx.core.errors import FileError

from keras_crsae.data.images import decode_image, read_image
from tests.pictures import HEIGHT, WIDTH, levels, same, viewed


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "bool"])
def test_miniswhite_is_turned(tmp_path, dtype):
    image = levels() > 99 if dtype == "bool" else levels(None, dtype)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="miniswhite")
    expected = (~image * np.uint8(255)) if dtype == "bool" else np.iinfo(dtype).max - image
    same(tmp_path / "a.tif", expected)


@pytest.mark.parametrize("colours", [256, 65536])
@pytest.mark.parametrize("compression", [None, "lzw"])
def test_a_palette_of_tiff_is_looked_up(tmp_path, colours, compression):
    table = np.random.default_rng(1).integers(0, 65536, (3, colours), np.uint16)
    index = levels(None, "uint8" if colours == 256 else "uint16")
    tifffile.imwrite(tmp_path / "a.tif", index, photometric="palette", colormap=table, compression=compression)
    same(tmp_path / "a.tif", np.moveaxis(table[:, index] >> 8, 0, -1).astype("uint8"))
    assert decode_image(tmp_path / "a.tif").converted_from == "a palette"


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_cmyk_of_tiff_is_the_light_that_inks_leave(tmp_path, dtype):
    inks = levels(4, dtype)
    white = np.iinfo(dtype).max
    tifffile.imwrite(tmp_path / "a.tif", inks, photometric="separated")
    light = (1 - inks[..., :3] / white) * (1 - inks[..., 3:] / white)
    same(tmp_path / "a.tif", np.rint(light * white).astype(dtype), atol=1)
    if dtype == "uint8":
        same(tmp_path / "a.tif", viewed(tmp_path / "a.tif", "RGB"))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("extra, alpha", [("assocalpha", True), ("unassalpha", True), ("unspecified", False)])
def test_the_extra_sample_of_tiff_is_what_it_says(tmp_path, dtype, channels, extra, alpha):
    image, white = levels(channels, dtype), np.iinfo(dtype).max
    if extra == "assocalpha":
        image[..., -1] = np.maximum(image[..., -1], white // 2)
        image[..., :-1] = image[..., :-1] // 2
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb" if channels == 4 else "minisblack",
                     planarconfig="contig", extrasamples=[extra])
    expected = image.astype(float)
    if extra == "assocalpha":
        expected[..., :-1] *= white / expected[..., -1:]
    expected = expected if alpha else expected[..., 0] if channels == 2 else expected[..., :-1]
    same(tmp_path / "a.tif", np.rint(expected).astype(dtype), atol=1)


def test_twelve_bits_span_black_to_white(tmp_path):
    twelve = levels(None, "uint16") >> 4
    packed = np.unpackbits(twelve.astype(">u2").view(np.uint8).reshape(HEIGHT, WIDTH, 2), axis=-1)[..., 4:]
    strips = np.packbits(packed.reshape(HEIGHT, -1), axis=-1).tobytes()
    tags = [(256, WIDTH), (257, HEIGHT), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, HEIGHT),
            (279, len(strips))]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<I", 8 + len(strips)) + strips + directory + bytes(4))
    same(tmp_path / "a.tif", np.rint(twelve * (65535 / 4095)).astype("uint16"))


@pytest.mark.parametrize("image, options, words", [
    (np.zeros((HEIGHT, WIDTH), "int16"), {}, "int16"), (np.zeros((HEIGHT, WIDTH), "uint32"), {}, "uint32"),
    (np.zeros((HEIGHT, WIDTH), "int8"), {}, "int8"), (np.zeros((HEIGHT, WIDTH), "complex64"), {}, "complex64"),
    (np.zeros((HEIGHT, WIDTH, 3), "uint16"), {"photometric": "cielab"}, "Lab pixels of type uint16"),
    (np.zeros((HEIGHT, WIDTH, 3), "uint16"), {"photometric": "ycbcr"}, "YCbCr pixels of type uint16"),
    (np.zeros((HEIGHT, WIDTH), "float32"), {"photometric": "miniswhite"}, "MinIsWhite pixels of type float32"),
    (np.zeros((HEIGHT, WIDTH), "uint16"), {"photometric": "cfa"}, "colour filter array"),
    (np.zeros((2, HEIGHT, WIDTH), "uint8"), {}, "no stack of pages"),
    (np.zeros((2, HEIGHT, WIDTH, 3), "uint16"), {"photometric": "rgb"}, "no stack of pages")])
def test_tiff_that_cannot_be_shown_is_refused_by_name(tmp_path, image, options, words):
    tifffile.imwrite(tmp_path / "a.tif", image, **options)
    with pytest.raises(FileError, match=words):
        read_image(tmp_path / "a.tif")
