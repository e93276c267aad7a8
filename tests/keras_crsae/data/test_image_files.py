"""Every kind of image file comes back as a viewer shows it: compared with Pillow, 16 bits with the numbers written."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
from crsae_onnx.core.errors import FileError
from crsae_onnx.core.optional import MissingPackageError
from PIL import Image

from keras_crsae.data import image_files
from keras_crsae.data.images import decode_image, read_image, write_image
from tests.pictures import HEIGHT, ORIENTATION, WIDTH, chunk, exif, levels, png, same, smooth, upright, viewed

# Orientation

@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name, mode", [("a.png", "RGB"), ("a.png", "L"), ("a.tif", "RGB"), ("a.tif", "L"),
                                        ("a.jpg", "RGB"), ("a.jpg", "L")])
def test_pictures_of_pillow_come_back_upright(tmp_path, name, mode, orientation):
    path = tmp_path / name
    image = Image.fromarray(smooth()).convert(mode)
    image.save(path, exif=exif(orientation))
    same(path, viewed(path, mode))
    if name != "a.jpg":
        same(path, upright(np.asarray(image), orientation))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("channels, dtype", [(None, "uint8"), (3, "uint8"), (None, "uint16"), (4, "uint16")])
def test_tiff_of_tifffile_comes_back_upright(tmp_path, channels, dtype, orientation):
    image = levels(channels, dtype)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb" if channels else "minisblack",
                     extratags=[(ORIENTATION, "H", 1, orientation, True)])
    same(tmp_path / "a.tif", upright(image, orientation))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("late", [False, True])
def test_png_of_16_bits_comes_back_upright(tmp_path, orientation, late):
    image = levels(3, "uint16")
    block = (b"eXIf", exif(orientation).tobytes().removeprefix(b"Exif\0\0"))
    rows = image.astype(">u2").reshape(HEIGHT, -1)
    rows = [row.tobytes() for row in rows]
    (tmp_path / "a.png").write_bytes(png(rows, WIDTH, 16, 2, *(() if late else (block,)), late=(block,) * late))
    same(tmp_path / "a.png", upright(image, orientation))


def test_a_damaged_orientation_is_none(tmp_path):
    for i, block in enumerate((b"Exif\0\0nothing", exif(9).tobytes(), exif(0).tobytes())):
        Image.fromarray(smooth()).save(tmp_path / f"{i}.png", exif=block)
        same(tmp_path / f"{i}.png", smooth())


# Colours

def palette():
    return Image.fromarray(levels(3)).quantize(16)


PILLOW = {
    "1": Image.fromarray(levels() > 99), "L": Image.fromarray(levels()), "LA": Image.fromarray(levels(2)),
    "P": palette(), "RGB": Image.fromarray(levels(3)), "RGBA": Image.fromarray(levels(4)),
    "CMYK": Image.fromarray(levels(4), "RGBA").convert("RGB").convert("CMYK"),
    "YCbCr": Image.fromarray(smooth()).convert("YCbCr"),
    "PA": palette().convert("PA"),
}


@pytest.mark.parametrize("name, mode, shown, options", [
    ("a.png", "1", "L", {}), ("a.png", "L", "L", {}), ("a.png", "LA", "LA", {}), ("a.png", "RGB", "RGB", {}),
    ("a.png", "RGBA", "RGBA", {}), ("a.png", "P", "RGB", {}), ("a.png", "P", "RGB", {"bits": 4}),
    ("a.png", "P", "RGBA", {"transparency": 3}), ("a.png", "P", "RGBA", {"transparency": bytes(range(0, 160, 10))}),
    ("a.png", "L", "LA", {"transparency": int(levels()[0, 0])}), ("a.png", "1", "LA", {"transparency": 1}),
    ("a.png", "RGB", "RGBA", {"transparency": tuple(int(v) for v in levels(3)[0, 0])}),
    ("a.jpg", "L", "L", {}), ("a.jpg", "RGB", "RGB", {}), ("a.jpg", "RGB", "RGB", {"progressive": True}),
    ("a.jpg", "YCbCr", "RGB", {}), ("a.jpg", "CMYK", "RGB", {}),
    *[("a.tif", mode, shown, {"compression": compression}) for compression in (None, "tiff_lzw", "tiff_adobe_deflate",
                                                                              "packbits")
      for mode, shown in (("1", "L"), ("L", "L"), ("LA", "LA"), ("RGB", "RGB"), ("RGBA", "RGBA"), ("P", "RGB"),
                          ("CMYK", "RGB"), ("YCbCr", "RGB"))],
    ("a.tif", "PA", "RGBA", {}), ("a.tif", "1", "L", {"compression": "group4"}),
    ("a.tif", "RGB", "RGB", {"compression": "jpeg"}), ("a.tif", "L", "L", {"compression": "jpeg"}),
    ("a.tif", "RGB", "RGB", {"big_tiff": True})])
def test_every_mode_of_pillow_comes_back_as_it_shows_it(tmp_path, name, mode, shown, options):
    path = tmp_path / name
    PILLOW[mode].save(path, **options)
    same(path, viewed(path, shown))


def test_lab_comes_back_as_pillow_shows_it(tmp_path):
    from PIL import ImageCms

    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    pale = smooth() // 3 + 80  # no colour that Lab's whole numbers cut
    ImageCms.applyTransform(Image.fromarray(pale), to_lab).save(tmp_path / "a.tif")
    same(tmp_path / "a.tif", viewed(tmp_path / "a.tif", "RGB"))
    same(tmp_path / "a.tif", pale, atol=5)


def test_an_inverted_cmyk_jpeg_is_not_a_negative(tmp_path):
    Image.fromarray(smooth()).convert("CMYK").save(tmp_path / "a.jpg", quality=100, subsampling=0)
    assert decode_image(tmp_path / "a.jpg").converted_from == "CMYK"
    same(tmp_path / "a.jpg", smooth(), atol=25)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_gray_png_of_few_bits_spans_black_to_white(tmp_path, depth):
    index = levels() >> (8 - depth)
    bits = np.unpackbits(index[..., None], axis=-1)[..., 8 - depth:].reshape(HEIGHT, -1)
    (tmp_path / "a.png").write_bytes(png([np.packbits(row).tobytes() for row in bits], WIDTH, depth, 0))
    same(tmp_path / "a.png", viewed(tmp_path / "a.png", "L"))
    same(tmp_path / "a.png", (index * (255 // (2**depth - 1))).astype("uint8"))


@pytest.mark.parametrize("dtype, channels", [("uint8", 1), ("uint8", 3), ("uint16", 1), ("uint16", 3), ("uint16", 4)])
def test_interlaced_png_comes_back_the_same(tmp_path, dtype, channels):
    image, passes = levels(channels, dtype), []
    for row, column, down, right in ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
                                     (1, 0, 2, 1)):  # Adam7
        passes += [b"\0" + line.astype(image.dtype.newbyteorder(">")).tobytes() for line in
                   image[row::down, column::right]]
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8 * image.itemsize, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 1)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(
        b"IDAT", zlib.compress(b"".join(passes))) + chunk(b"IEND", b""))
    same(tmp_path / "a.png", image[..., 0] if channels == 1 else image)


# Depth

@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_what_is_written_comes_back_the_same(tmp_path, name, channels, dtype):
    image = levels(channels, dtype)
    write_image(tmp_path / name, image)
    same(tmp_path / name, image[..., 0] if channels == 1 else image)
    if dtype == "uint8":  # others read it as well
        with Image.open(tmp_path / name) as seen:
            np.testing.assert_array_equal(np.asarray(seen), image[..., 0] if channels == 1 else image)


LAYOUTS = [(channels, options) for channels in (None, 3, 4) for options in (
    {}, {"tile": (16, 16)}, {"rowsperstrip": 5}, {"bigtiff": True}, {"planarconfig": "separate"},
    {"compression": "lzw"}, {"compression": "zlib", "predictor": True}, {"compression": "packbits"},
    {"compression": "zstd"}, {"compression": "lzw", "tile": (16, 16), "planarconfig": "separate", "predictor": True})
    if channels or "planarconfig" not in options]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels, options", LAYOUTS, ids=lambda value: " ".join(map(str, value.values())) if
                         isinstance(value, dict) else str(value))
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_tiff_of_every_layout_comes_back_the_same(tmp_path, order, channels, options, dtype):
    image = levels(channels, "uint16").astype("float32") / 65535 if dtype == "float32" else levels(channels, dtype)
    stored = np.moveaxis(image, -1, 0) if "planarconfig" in options else image
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb" if channels else "minisblack", byteorder=order,
                     **options)
    same(tmp_path / "a.tif", image)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_keep_their_kind(tmp_path, dtype):
    image = np.random.default_rng(0).random((HEIGHT, WIDTH, 3)).astype(dtype)
    write_image(tmp_path / "a.tif", image)
    same(tmp_path / "a.tif", image)
    tifffile.imwrite(tmp_path / "b.tif", image, photometric="rgb", compression="zlib", predictor=True)
    same(tmp_path / "b.tif", image)


@pytest.mark.parametrize("name, mode", [("a.png", "I;16"), ("a.png", "I;16B"), ("a.tif", "I;16"), ("a.tif", "I;16B"),
                                        ("a.tif", "F")])
def test_deep_gray_of_pillow_is_kept(tmp_path, name, mode):
    image = levels(None, "uint16")
    if mode == "F":
        image = image.astype("float32") / 65535
        Image.fromarray(image).save(tmp_path / name)
    else:
        Image.frombytes(mode, (WIDTH, HEIGHT), image.astype(">u2" if mode == "I;16B" else "<u2").tobytes()).save(
            tmp_path / name)
    same(tmp_path / name, image)


def test_imageio_writes_what_comes_back(tmp_path):
    iio = pytest.importorskip("imageio.v3")
    for name, image in (("a.png", levels(4)), ("b.png", levels(None, "uint16")), ("a.tif", levels(3, "uint16")),
                        ("b.tif", levels(3)), ("c.tif", levels(None))):
        iio.imwrite(tmp_path / name, image)
        same(tmp_path / name, image)


@pytest.mark.parametrize("colour, channels", [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_png_of_16_bits_has_a_transparent_colour(tmp_path, colour, channels):
    image = levels(channels, "uint16")
    key = (b"tRNS", image[0, 0].astype(">u2").tobytes())
    (tmp_path / "a.png").write_bytes(png([row.astype(">u2").tobytes() for row in image], WIDTH, 16, colour,
                                         *((key,) if channels in (1, 3) else ())))
    if channels in (1, 3):
        alpha = np.where((image == image[0, 0]).all(axis=-1, keepdims=True), 0, 65535).astype("uint16")
        image = np.concatenate([image, alpha], axis=-1)
    same(tmp_path / "a.png", image)


# Other files, by name

def test_pages_that_are_no_picture_of_their_own_are_passed_over(tmp_path):
    image = levels(3, "uint16")
    for name, second, options in (("reduced", image, {"subfiletype": 1, "photometric": "rgb"}),
                                  ("mask", levels() > 99, {"subfiletype": 4}),
                                  ("small", image[::3, ::3], {"photometric": "rgb"})):
        with tifffile.TiffWriter(tmp_path / f"{name}.tif") as tiff:
            tiff.write(image, photometric="rgb")
            tiff.write(second, **options)
        same(tmp_path / f"{name}.tif", image)
    with tifffile.TiffWriter(tmp_path / "other.tif") as tiff:
        tiff.write(image, photometric="rgb")
        tiff.write(image[1:], photometric="rgb")
    with pytest.raises(FileError, match="several pages, of shapes"):
        read_image(tmp_path / "other.tif")


def test_animations_and_other_formats_are_refused_by_name(tmp_path):
    frames = [Image.fromarray(levels(3, seed=seed)) for seed in range(3)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(FileError, match="animation of 3"):
        read_image(tmp_path / "a.png")
    frames[0].save(tmp_path / "b.png", format="GIF")
    with pytest.raises(FileError, match="no png, jpeg or tiff"):
        read_image(tmp_path / "b.png")


def test_the_content_says_what_a_file_is(tmp_path):
    Image.fromarray(levels(3)).save(tmp_path / "a.jpg", format="PNG")
    tifffile.imwrite(tmp_path / "b.png", levels(None, "uint16"))
    same(tmp_path / "a.jpg", levels(3))
    same(tmp_path / "b.png", levels(None, "uint16"))


def test_a_camera_s_second_picture_is_left_where_it_is(tmp_path):
    """Telephones write a smaller or brighter one behind the first (MPO)."""
    first = Image.fromarray(smooth())
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[Image.fromarray(smooth()[:5, :5])],
               exif=exif(6))
    same(tmp_path / "a.jpg", viewed(tmp_path / "a.jpg", "RGB"))


def test_a_missing_codec_is_named_with_its_extra(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", levels(None, "uint16"), compression="lzw")

    def asarray(self):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPage, "asarray", asarray)
    monkeypatch.setattr(image_files, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"imagecodecs is missing.*keras-crsae\[images\]"):
        read_image(tmp_path / "a.tif")


# Colour profiles

@pytest.mark.parametrize("name, dtype", [("a.png", "uint8"), ("a.png", "uint16"), ("a.tif", "uint8"),
                                         ("a.tif", "uint16"), ("a.jpg", "uint8")])
def test_a_colour_profile_goes_along(tmp_path, name, dtype):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    write_image(tmp_path / name, levels(3, dtype), profile)
    read = decode_image(tmp_path / name)
    assert read.icc_profile == profile
    assert name == "a.jpg" or np.array_equal(read.pixels, levels(3, dtype))  # and changes no pixel
    write_image(tmp_path / name, levels(3, dtype)[..., 0], profile)
    assert decode_image(tmp_path / name).icc_profile is None  # of colours, and these pixels are gray
