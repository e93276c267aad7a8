"""Images in and out."""

import imageio.v3 as iio
import numpy as np
import pytest
from crsae_onnx.core.errors import FileError
from PIL import Image

from keras_crsae.data.images import (
    PHOTOGRAPHS,
    check_image_dtype,
    drop_transparency,
    gray_image,
    image_array,
    image_files,
    image_size,
    is_image,
    load_images,
    photographs,
    random_patches,
    read_image,
    unit_image,
    write_image,
)


@pytest.mark.parametrize("name, dtype, channels", [
    ("a.png", "uint8", None), ("a.png", "uint8", 3), ("a.png", "uint8", 4), ("a.png", "uint16", None),
    ("a.tiff", "uint16", 3), ("a.tif", "float32", None), ("a.tif", "float64", 3)])
def test_writing_and_reading_keeps_values_dtype_and_shape(tmp_path, rng, name, dtype, channels):
    shape = (12, 9) if channels is None else (12, 9, channels)
    image = rng.random(shape)
    image = image.astype(dtype) if "float" in dtype else (image * np.iinfo(dtype).max).astype(dtype)
    check_image_dtype(name, image)
    write_image(tmp_path / name, image)
    read = read_image(tmp_path / name)
    assert read.dtype == image.dtype
    np.testing.assert_array_equal(read, image)


def test_jpeg_is_near(tmp_path):
    image = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    write_image(tmp_path / "a.jpg", image)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - image).max() < 8
    assert is_image("B.JPG") and not is_image("b.npy")


@pytest.mark.parametrize("name, image", [
    ("a.jpg", np.zeros((4, 4), np.uint16)), ("a.jpg", np.zeros((4, 4, 4), np.uint8)),
    ("a.png", np.zeros((4, 4), np.float32)), ("a.tif", np.zeros((4, 4), np.int64)), ("a.tif", np.zeros((4, 4, 5))),
    ("a.png", np.zeros((4, 4), bool)), ("a.jpg", np.zeros((1, 70_000), np.uint8)), ("a.tif", np.zeros((0, 4)))])
def test_a_format_that_would_lose_values_is_refused(tmp_path, name, image):
    with pytest.raises(FileError, match="cannot hold"):
        check_image_dtype(name, image)
    with pytest.raises(FileError, match="cannot hold"):
        write_image(tmp_path / name, image)
    with pytest.raises(FileError, match="no image format"):
        write_image(tmp_path / "a.bmp", np.zeros((4, 4), np.uint8))


def test_unfit_image_files_are_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"hello")
    with pytest.raises(FileError, match=r"a\.png cannot be read"):
        read_image(tmp_path / "a.png")
    iio.imwrite(tmp_path / "whole.png", np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:800])
    with pytest.raises(FileError, match=r"half\.png cannot be read"):
        read_image(tmp_path / "half.png")
    iio.imwrite(tmp_path / "pages.tif", np.zeros((5, 8, 9), np.uint8))
    with pytest.raises(FileError, match="no stack of pages"):
        read_image(tmp_path / "pages.tif")
    iio.imwrite(tmp_path / "nan.tif", np.full((8, 9), np.nan, np.float32))
    with pytest.raises(FileError, match=r"index \(0, 0\)"):
        read_image(tmp_path / "nan.tif")
    with pytest.raises(FileError, match="No file"):
        read_image(tmp_path / "none.png")


def test_floats_far_outside_zero_to_one_are_refused(tmp_path):
    iio.imwrite(tmp_path / "a.tif", np.full((4, 5), 200.0, np.float32))
    with pytest.raises(FileError, match="divide"):
        read_image(tmp_path / "a.tif")


def test_integer_images_become_unit_images_without_transparency():
    assert (unit_image(np.full((2, 2), 255, np.uint8)) == 1).all()
    assert (unit_image(np.full((2, 2), 65535, np.uint16)) == 1).all()
    assert (unit_image(np.full((2, 2), 7, np.int16)) == 7).all()
    assert drop_transparency(np.zeros((2, 3), np.uint8)).shape == (2, 3, 1)
    assert drop_transparency(np.zeros((2, 3, 2), np.uint8)).shape == (2, 3, 1)
    assert drop_transparency(np.zeros((2, 3, 4), np.uint8)).shape == (2, 3, 3)
    np.testing.assert_allclose(gray_image(np.full((2, 2, 3), 0.5, np.float32)), np.full((2, 2, 1), 0.5), rtol=1e-6)


def test_patches_are_pieces_of_the_images(rng):
    images = [np.arange(20 * 30.0).reshape(20, 30, 1), 1000 + np.arange(12 * 12.0).reshape(12, 12, 1)]
    patches = random_patches(images, (8, 6), 50, rng)
    assert patches.shape == (50, 8, 6, 1) and patches.dtype == np.float32
    assert (patches < 1000).any() and (patches >= 1000).any()
    for patch in patches:
        image = images[int(patch[0, 0, 0] >= 1000)]
        row, column = (int(n[0]) for n in np.nonzero(image[..., 0] == patch[0, 0, 0]))
        np.testing.assert_array_equal(patch, image[row:row + 8, column:column + 6])
    with pytest.raises(ValueError, match="12 x 12"):
        random_patches(images, (13, 13), 1, rng)


def test_photographs_are_real_and_need_no_network():
    images = photographs()
    assert len(images) == len(PHOTOGRAPHS) and all(i.dtype == np.uint8 and min(i.shape[:2]) >= 200 for i in images)
    assert {i.shape[-1] for i in images} == {1, 3}


def test_images_come_from_folders_files_arrays_and_lists(tmp_path, rng):
    colour = rng.integers(0, 256, (20, 30, 3)).astype("uint8")
    write_image(tmp_path / "b.png", colour)
    write_image(tmp_path / "a.tif", (colour[..., 0].astype("uint16") * 257))
    (tmp_path / "notes.txt").write_text("no image")
    both = load_images(tmp_path)
    assert [i.shape for i in both] == [(20, 30, 1), (20, 30, 1)]  # grey, since one of them is
    np.testing.assert_array_equal(both[0][..., 0], colour[..., 0].astype("uint16") * 257)  # as stored
    (alone,) = load_images(tmp_path / "b.png")
    np.testing.assert_array_equal(alone, colour)
    (gray,) = load_images(colour, channels=1)
    np.testing.assert_allclose(gray[..., 0], colour @ [0.299, 0.587, 0.114] / 255, atol=1e-5)
    assert [i.shape for i in load_images([colour, tmp_path, np.zeros((2, 9, 9, 1))], 3)] == [
        (20, 30, 3), (20, 30, 3), (20, 30, 3), (9, 9, 3), (9, 9, 3)]
    assert load_images(np.zeros((9, 9, 4)))[0].shape == (9, 9, 3)  # transparency is left out


@pytest.mark.parametrize("source, words", [
    ([], "no images"), ("nowhere", "No file"), (np.zeros(5), "two|height"), (np.zeros((5, 5), "int32"), "int32"),
    (np.full((5, 5), 128.0), "largest level"), (np.full((5, 5), np.nan), "NaN"),
    (np.zeros((3, 9, 9)), "height, width"), (np.full((2, 5, 5, 1), 300.0), "largest level"),
    (np.full((2, 5, 5, 1), np.nan), "NaN"), (np.zeros((5, 5), bool), "255 \\* numpy"), (b"a.png", "read_image"),
    ({"a.png"}, "Received: set of object")])
def test_what_holds_no_images_is_refused(source, words):
    with pytest.raises(ValueError, match=words):
        load_images(source)


@pytest.mark.parametrize("mode", ["P", "transparent", "CMYK", "turned", "I;16", "1", "F"])
def test_pictures_in_memory_are_what_their_files_are(tmp_path, mode):
    colour = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8))
    name, options = {"CMYK": "a.tif", "F": "a.tif"}.get(mode, "a.png"), {}
    if mode in ("P", "transparent"):
        colour = colour.quantize(16)
        options = {"transparency": 3} if mode == "transparent" else {}
    elif mode == "turned":
        options["exif"] = Image.Exif()
        options["exif"][274] = 6
    elif mode in ("I;16", "F"):
        white = np.uint16(257) if mode == "I;16" else np.float32(1 / 255)
        colour = Image.fromarray(np.asarray(colour)[..., 0] * white)
    else:
        colour = colour.convert(mode)
    colour.save(tmp_path / name, **options)
    with Image.open(tmp_path / name) as image:
        made = image_array(image)
        (loaded,) = load_images([image])
    expected = read_image(tmp_path / name)
    np.testing.assert_array_equal(made, expected, strict=True)
    np.testing.assert_array_equal(loaded, drop_transparency(expected))
    write_image(tmp_path / "again.tif", colour)
    assert read_image(tmp_path / "again.tif").dtype == expected.dtype


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_the_order_of_bytes_is_no_other_kind_of_pixel(tmp_path, rng, name):
    image = rng.integers(0, 65536, (9, 8), np.uint16)
    write_image(tmp_path / name, image.astype(">u2"))
    np.testing.assert_array_equal(read_image(tmp_path / name), image)
    np.testing.assert_array_equal(unit_image(load_images(image.astype(">u2"))[0]), unit_image(image)[..., None])


@pytest.mark.parametrize("image, name, words", [
    (np.full((4, 5), np.nan), "a.tif", "NaN"), (np.full((4, 5), 300.0), "a.tif", "divide by"),
    (np.zeros((4, 5), np.uint8), "none/a.png", "No folder")])
def test_what_could_not_be_read_again_is_not_written(tmp_path, image, name, words):
    with pytest.raises(FileError, match=words):
        write_image(tmp_path / name, image)


@pytest.mark.parametrize("kind", ["pages", "animation", "int32", "GIF", "WebP", "BMP"])
def test_the_header_tells_what_is_no_image(tmp_path, kind):
    """A folder of images is refused before work starts, not in the middle of it."""
    frames = [Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 9, 3), np.uint8)) for i in range(2)]
    path, options = tmp_path / ("a.tif" if kind in ("pages", "int32") else "a.png"), {}
    if kind in ("pages", "animation"):
        options = {"save_all": True, "append_images": frames[1:]}
    elif kind == "int32":
        frames = [Image.fromarray(np.zeros((8, 9), np.int32))]
    else:
        options = {"format": kind}
    frames[0].save(path, **options)
    for read in (image_size, read_image):
        with pytest.raises(FileError, match="stack of pages" if kind == "pages" else kind):
            read(path)


@pytest.mark.parametrize("path", [None, 3, b"a.png", np.zeros((4, 4), np.uint8)])
def test_what_is_no_path_is_named(path):
    for read in (read_image, image_files):
        with pytest.raises(FileError, match=f"Received: {type(path).__name__}"):
            read(path)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no images"):
        load_images(tmp_path)


def test_masked_pixels_are_not_taken_for_data(tmp_path):
    image = np.ma.masked_equal(np.arange(6, dtype="uint8").reshape(2, 3), 4)
    with pytest.raises(ValueError, match="masked array"):
        load_images(image)
    with pytest.raises(ValueError, match="masked array"):
        write_image(tmp_path / "a.png", image)
