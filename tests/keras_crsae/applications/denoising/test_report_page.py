"""The page of a denoised image holds its pictures, its noise, and PSNR where the truth is known."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from keras_crsae.applications.denoising import write_report
from keras_crsae.applications.denoising.report_page import MOST_PIXELS, local_psnr
from keras_crsae.metrics import psnr

SIGMA = 0.1


@pytest.fixture
def images(rng):
    clean = np.broadcast_to(np.linspace(0, 1, 40)[:, None, None], (40, 60, 3))
    return clean, clean + SIGMA * rng.standard_normal(clean.shape), clean + 0.02


def pictures(page):
    """Pixels of the pictures in a page, by their description."""
    found = re.findall(r'<img alt="([^"]*)" src="data:image/png;base64,([^"]*)">', page)
    return {name: np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for name, data in found}


def test_a_page_stands_by_itself_and_tells_noise_and_gain(tmp_path, images):
    clean, noisy, denoised = images
    write_report(tmp_path / "p.html", noisy, denoised, SIGMA, clean, {"model": "a <b>"}, estimated=True)
    page = (tmp_path / "p.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page) and "prefers-color-scheme: dark" in page
    assert "25.5 of 255 gray levels, estimated from the image" in page and "a &lt;b&gt;" in page
    assert f"{psnr(clean, noisy):.2f} dB" in page and f"{psnr(clean, denoised):.2f} dB" in page
    shown = pictures(page)
    np.testing.assert_array_equal(shown["before"], np.rint(255 * noisy.clip(0, 1)).astype("float32"))
    np.testing.assert_array_equal(shown["after"], np.rint(255 * denoised.clip(0, 1).astype("float32")))
    assert "Where it is near the truth" in shown and abs(shown["what was removed"].mean() / 255 - 0.467) < 0.01
    assert 'type="range"' in page and "aria-label" in page


def test_without_the_truth_there_is_no_psnr(tmp_path, images):
    _, noisy, denoised = images
    write_report(tmp_path / "p.html", (255 * noisy.clip(0, 1)).astype("uint8"), denoised, SIGMA)
    page = (tmp_path / "p.html").read_text()
    assert "PSNR" not in page and "25.5 of 255 gray levels<" in page and len(pictures(page)) == 3


def test_of_a_large_image_the_middle_is_shown(tmp_path):
    image = np.zeros((3, MOST_PIXELS + 10), "uint8")
    image[:, 5] = 255
    write_report(tmp_path / "p.html", image, image, SIGMA)
    page = (tmp_path / "p.html").read_text()
    assert f"The middle {MOST_PIXELS} x 3 pixels" in page
    shown = pictures(page)["after"]
    assert shown.shape == (3, MOST_PIXELS) and (shown[:, 0] == 255).all() and not shown[:, 1:].any()


def test_local_psnr_is_that_of_the_whole_where_the_error_is_even():
    np.testing.assert_allclose(local_psnr(np.full((9, 9, 1), 0.1), np.zeros((9, 9, 1))), 20.0, atol=1e-6)
    assert local_psnr(np.zeros((9, 9, 1)), np.zeros((9, 9, 1))).max() == pytest.approx(80)


def test_images_of_other_shapes_are_refused(tmp_path, images):
    clean, noisy, denoised = images
    for before, truth in ((noisy[:-1], None), (noisy, clean[..., :1])):
        with pytest.raises(ValueError, match="one shape"):
            write_report(tmp_path / "p.html", before, denoised, SIGMA, truth)
    for other in (np.full((9, 9), np.nan), np.full((9, 9), 200)):
        with pytest.raises(ValueError, match="NaN|dtype"):
            write_report(tmp_path / "p.html", other, other, SIGMA)
    assert not (tmp_path / "p.html").exists()
