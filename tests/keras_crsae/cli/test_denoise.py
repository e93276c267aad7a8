"""``keras-crsae denoise``: image files lose their noise, and keep all else."""

import re

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image, ImageCms

from keras_crsae import zoo
from keras_crsae.applications.denoising import denoise
from keras_crsae.cli import main
from keras_crsae.cli.denoise import read_mask
from keras_crsae.data.images import decode_image, read_image, write_image
from keras_crsae.metrics import psnr

NEEDS_ZOO = pytest.mark.skipif(not zoo.names(),
                               reason="models/ holds no trained model yet: python -m benchmarks.train_zoo")


@pytest.fixture
def noisy(tmp_path, monkeypatch, disc):
    """Work in an empty folder with a noisy image, noisy.png."""
    monkeypatch.chdir(tmp_path)
    image = disc + 25 / 255 * np.random.default_rng(3).standard_normal(disc.shape)
    iio.imwrite(tmp_path / "noisy.png", (255 * image.clip(0, 1)).round().astype("uint8"))
    return tmp_path


@pytest.mark.parametrize("sigma", [["--sigma", "20"], []])
def test_denoise_brings_an_image_nearer_to_the_truth(inside, scene, photo, capsys, sigma, refused):
    assert main(["denoise", str(inside / "photo.png"), "o.png", "--model", str(inside / "photo.keras"), *sigma]) == 0
    clean = read_image("o.png")
    assert clean.dtype == np.uint8 and clean.shape == photo.shape
    assert np.square(clean - scene).mean() < 0.5 * np.square(photo - scene).mean()
    assert ("noise 20 of 255" if sigma else "estimated") in capsys.readouterr().out
    assert "exists" in refused("denoise", inside / "photo.png", "o.png", "--model", inside / "photo.keras")


def test_denoise_keeps_colour_depth_and_transparency(inside, photo):
    model = str(inside / "photo.keras")
    alpha = np.arange(photo.size, dtype=np.uint8).reshape(photo.shape)
    write_image("rgba.png", np.stack([photo, photo.T.reshape(photo.shape), photo, alpha], axis=-1))
    assert main(["denoise", "rgba.png", "o.png", "--model", model, "--sigma", "20"]) == 0
    made = read_image("o.png")
    np.testing.assert_array_equal(made[..., 3], alpha)
    np.testing.assert_array_equal(made[..., 0], made[..., 2])
    assert main(["denoise", str(inside / "photo.png"), "gray.png", "--model", model, "--sigma", "20"]) == 0
    np.testing.assert_array_equal(made[..., 0], read_image("gray.png"))
    write_image("deep.tif", photo.astype(np.uint16) * 257)
    assert main(["denoise", "deep.tif", "deep_o.tif", "--model", model, "--sigma", "20"]) == 0
    deep = read_image("deep_o.tif")
    assert deep.dtype == np.uint16
    np.testing.assert_allclose(deep / 257, read_image("gray.png"), atol=0.51)


@pytest.mark.parametrize("kind", ["one bit", "turned", "palette", "transparent", "holes", "deep", "jpeg"])
def test_masks_of_every_kind_are_read_as_they_are_shown(tmp_path, rng, kind):
    mask = rng.random((20, 30)) > 0.3
    picture, options = Image.fromarray(mask), {}
    if kind == "turned":
        options["exif"] = Image.Exif()
        options["exif"][274] = 6
        picture = Image.fromarray(np.rot90(mask))
    elif kind == "palette":
        picture = Image.fromarray(mask.astype("uint8"), "L").convert("P")
        picture.putpalette([0, 0, 0, 10, 0, 0])
    elif kind == "transparent":
        picture = picture.convert("LA")
        picture.putalpha(7)
    elif kind == "deep":
        write_image(tmp_path / "m.png", np.repeat(mask[..., None], 3, -1).astype("uint16"))
    elif kind == "holes":  # white, and cut out where pixels are missing
        picture = Image.fromarray(np.stack([np.full_like(mask, 255, "uint8"), 255 * mask.astype("uint8")], axis=-1))
    elif kind == "jpeg":
        picture, options = picture.convert("L"), {"format": "JPEG"}  # black becomes 0 to 30
    if kind != "deep":
        picture.save(tmp_path / "m.png", **options)
    np.testing.assert_array_equal(read_mask(str(tmp_path / "m.png"), np.zeros((20, 30, 3))), mask)


def test_noise_in_another_unit_is_refused_or_named(inside, refused, capsys):
    ask = ["denoise", str(inside / "photo.png"), "o.png", "--model", str(inside / "photo.keras"), "--sigma"]
    assert "gray levels, of 0 to 255" in refused(*ask, "300")
    assert main([*ask, "0.1"]) == 0
    said = capsys.readouterr().err
    assert "255 times as much here: --sigma 25.5" in said and "more than the noise of 0.1" in said
    assert main([*ask, "20", "--overwrite"]) == 0
    assert "warning" not in capsys.readouterr().err


def test_an_image_without_noise_is_not_said_to_have_any(inside, capsys):
    write_image("blank.png", np.full((20, 30), 7, "uint8"))
    assert main(["denoise", "blank.png", "o.png", "--model", str(inside / "photo.keras")]) == 0
    assert "no noise found in the image" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["turned", "palette", "cmyk", "deep"])
def test_denoise_writes_what_a_viewer_shows(inside, photo, kind, capsys):
    """Upright without a tag, RGB in place of a palette, 16 bits of colour, the colour profile."""
    colour = np.stack([photo, photo.T.reshape(photo.shape), 255 - photo], axis=-1)[:40, :60]
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    name = "i.jpg" if kind == "cmyk" else "i.png"
    if kind == "turned":
        block = Image.Exif()
        block[274] = 6
        Image.fromarray(colour).save(name, exif=block)
    elif kind == "palette":
        Image.fromarray(colour).quantize(64).save(name, transparency=3)
    elif kind == "cmyk":
        Image.fromarray(colour).convert("CMYK").save(name)
    else:
        write_image(name, colour.astype("uint16") * 257, profile)
    assert main(["denoise", name, "o" + name, "--model", str(inside / "photo.keras"), "--sigma", "3"]) == 0
    before, after = decode_image(name), decode_image("o" + name)
    assert after.pixels.shape == before.pixels.shape and after.pixels.dtype == before.pixels.dtype
    expected = denoise(before.pixels, str(inside / "photo.keras"), sigma=3 / 255)
    np.testing.assert_allclose(after.pixels, expected, atol=80 if kind == "cmyk" else 1)  # jpeg again
    assert after.icc_profile == (profile if kind == "deep" else None)
    with Image.open("o" + name) as written:
        assert written.getexif().get(274, 1) == 1
        assert written.mode == {"palette": "RGBA"}.get(kind, "RGB")
    assert {"palette": "a palette became RGB", "cmyk": "CMYK became RGB"}.get(kind, "") in capsys.readouterr().out


@NEEDS_ZOO
@pytest.mark.parametrize("channels, zoo_model", [(1, "denoise-gray"), (3, "denoise-color")])
def test_the_image_chooses_the_model_and_its_noise_is_printed(tmp_path, monkeypatch, rng, capsys, channels, zoo_model):
    monkeypatch.chdir(tmp_path)
    image = rng.normal(120, 20, (64, 80, channels)).clip(0, 255).astype("uint8")
    image[:30] = 0  # a black border is no noise
    write_image("i.png", image)
    assert main(["denoise", "i.png", "o.png", "--shifts", "1"]) == 0
    sigma = float(re.search(r"noise ([\d.]+) of 255, estimated", capsys.readouterr().out)[1])
    assert sigma == pytest.approx(20, rel=0.1)
    assert main(["denoise", "i.png", "p.png", "--shifts", "1", "--model", zoo_model]) == 0
    np.testing.assert_array_equal(read_image("o.png"), read_image("p.png"))
    assert main(["denoise", "i.png", "q.png", "--shifts", "1", "--model", "denoise-color"]) == 0  # gray as well
    assert read_image("q.png").shape == read_image("i.png").shape


def test_denoise_runs_an_exported_model(inside):
    model, image = str(inside / "photo.keras"), str(inside / "photo.png")
    assert main(["export", model, "photo.onnx"]) == 0
    for file, output in ((model, "keras.png"), ("photo.onnx", "onnx.png")):
        assert main(["denoise", image, output, "--model", file, "--sigma", "15"]) == 0
    assert np.abs(read_image("keras.png").astype(int) - read_image("onnx.png")).max() <= 1


@NEEDS_ZOO
def test_a_zoo_name_denoises(noisy, disc, refused):
    assert main(["denoise", "noisy.png", "o.png", "--model", "crsae-gray-25", "--sigma", "25", "--shifts", "8"]) == 0
    before, after = (iio.imread(f) / 255 for f in ("noisy.png", "o.png"))
    assert psnr(disc, after) > psnr(disc, before) + 4
    assert "denoise-gray-25" in refused("denoise", "noisy.png", "p.png", "--model", "nothing-like-it")


@NEEDS_ZOO
def test_one_pixel_and_wrong_files_of_every_kind(noisy, refused):
    """A file of one pixel is an image; a text, half an image and a stack of pages are none, whatever their names."""
    iio.imwrite("pixel.png", np.full((1, 1), 40, "uint8"))
    ask = ["denoise", "pixel.png", "o.png", "--model", "denoise-gray-25", "--sigma", "25"]
    assert main(ask) == 0 and iio.imread("o.png").shape == (1, 1)
    (noisy / "text.png").write_text("no image")
    (noisy / "half.png").write_bytes((noisy / "noisy.png").read_bytes()[:900])
    iio.imwrite("pages.tif", np.zeros((5, 8, 9), "uint8"))
    (noisy / "empty.png").write_bytes(b"")
    (noisy / "folder").mkdir()
    for name, words in (("text.png", "cannot be read"), ("half.png", "cannot be read"), ("pages.tif", "no stack"),
                        ("empty.png", "empty.png"), ("absent.png", "No file"), ("folder", "folder")):
        assert words in refused(*ask[:1], name, "p.png", *ask[3:]), name
    assert not (noisy / "p.png").exists()


@NEEDS_ZOO
def test_missing_pixels_are_given_as_an_image(noisy, disc, rng, refused, capsys):
    mask = rng.random((48, 48)) > 0.2
    iio.imwrite("mask.png", (255 * mask).astype("uint8"))
    broken = np.where(mask, iio.imread("noisy.png"), 0).astype("uint8")
    iio.imwrite("broken.png", broken)
    ask = ["denoise", "broken.png", "o.png", "--model", "denoise-gray-25", "--sigma", "25", "--mask", "mask.png"]
    assert main(ask) == 0
    assert psnr(disc[~mask], iio.imread("o.png")[~mask] / 255) > 15
    assert f"{(~mask).sum():,} pixels filled in" in capsys.readouterr().out
    kept = [*ask[:2], "k.png", *ask[3:5], "--sigma", "0"]
    assert main([*kept, "--mask", "mask.png"]) == 0
    np.testing.assert_array_equal(iio.imread("k.png")[mask], broken[mask])
    assert "--mask" in refused(*ask[:2], "z.png", *kept[3:])
    iio.imwrite("small.png", np.full((4, 4), 255, "uint8"))
    assert "4 x 4" in refused(*ask[:2], "q.png", *ask[3:-1], "small.png")
    iio.imwrite("black.png", np.zeros((48, 48), "uint8"))
    assert "black everywhere" in refused(*ask[:2], "q.png", *ask[3:-1], "black.png")


@NEEDS_ZOO
def test_a_report_and_a_quality_are_asked_for(noisy, disc, refused):
    iio.imwrite("clean.png", (255 * disc.clip(0, 1)).round().astype("uint8"))
    ask = ["denoise", "noisy.png", "o.png", "--model", "crsae-gray-25", "--quality", "fast"]
    assert main([*ask, "--report", "page.html", "--clean", "clean.png"]) == 0
    page = (noisy / "page.html").read_text()
    assert "PSNR after" in page and "estimated from the image" in page and "crsae-gray-25" in page
    np.testing.assert_array_equal(
        read_image("o.png"), denoise(read_image("noisy.png"), "crsae-gray-25", shifts=8))
    assert "--report PAGE.html" in refused(*ask[:2], "p.png", *ask[3:], "--clean", "clean.png")
    assert "exists" in refused(*ask[:2], "p.png", *ask[3:], "--report", "page.html")
    iio.imwrite("small.png", np.zeros((9, 9), "uint8"))
    assert "clean image" in refused(*ask[:2], "p.png", *ask[3:], "--report", "q.html", "--clean", "small.png")
    assert "not allowed with" in refused(*ask, "--shifts", "2")
    assert "also an input" in refused(*ask[:2], "clean.png", *ask[3:], "--report", "q.html", "--clean", "clean.png",
                                      "--overwrite")
