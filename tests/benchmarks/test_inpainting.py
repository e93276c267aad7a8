"""Masks of the benchmark of filling in, and what it scores."""

import numpy as np
import pytest
from crsae_onnx import SparseEncoder

from benchmarks import inpainting
from keras_crsae import zoo
from keras_crsae.applications.denoising.inpainting import widest_hole


def test_masks_miss_what_their_names_say():
    made = inpainting.masks((120, 100))
    for share, mask in zip((0.1, 0.3, 0.5), list(made.values())[:3], strict=True):
        assert abs(1 - mask.mean() - share) < 0.02
    thin, thick = made["lines of 1"], made["lines of 3"]
    assert 0.01 < 1 - thin.mean() < 1 - thick.mean() < 0.3
    assert 3 <= widest_hole(thick[None, ..., None]) < 12
    assert 0.02 < 1 - made["text"].mean() < 0.2 and 1 <= widest_hole(made["text"][None, ..., None]) <= 3


def test_total_variation_fills_an_edge_straight_and_keeps_what_it_is_told():
    clean = np.repeat((np.arange(20) > 9).astype(float), 20).reshape(20, 20)
    mask = np.ones(clean.shape, bool)
    mask[7:13, 8:10] = False
    np.testing.assert_allclose(inpainting.total_variation(np.where(mask, clean, 0.3), mask), clean, atol=0.01)
    noisy = clean + 0.1 * np.random.default_rng(0).standard_normal(clean.shape)
    smooth = inpainting.total_variation(noisy, np.ones_like(mask), weight=0.1)
    assert np.square(smooth - clean).mean() < 0.4 * np.square(noisy - clean).mean()


def test_the_middle_of_an_image_is_cut():
    image = np.arange(40 * 30).reshape(40, 30, 1)
    np.testing.assert_array_equal(inpainting.middle(image, 10), image[15:25, 10:20, 0])
    assert inpainting.middle(image, 0).shape == (40, 30) and inpainting.middle(image, 35).shape == (35, 30)


@pytest.mark.parametrize("sigma", [0.0, inpainting.SIGMA])
def test_both_are_scored_on_the_missing_pixels(sigma):
    rows, columns = np.mgrid[:48, :48] / 8
    clean = (0.5 + 0.3 * np.sin(rows + columns)).astype("float32")
    facts = inpainting.measure(clean, inpainting.masks(clean.shape)["30 % of the pixels"],
                               SparseEncoder(zoo.path_of("denoise-gray", zoo.ENCODER)), sigma)
    assert facts["ours"] > 25 and facts["biharmonic"] > 20 and facts["tv"] > 15 and 0.25 < facts["missing"] < 0.35
    assert inpainting.missing_psnr(clean, clean + 0.1, np.zeros((48, 48), bool)) == pytest.approx(20, abs=0.5)
