"""Planes lose their noise in any unit: nothing is clipped, and a unit of one's own changes nothing."""

import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.applications.denoising.image_model import as_image_model
from keras_crsae.applications.denoising.smoothing import as_tile, remove_noise


@pytest.fixture(scope="module")
def model():
    model = kc.Denoiser(16, 4, strides=2, iterations=3, sigma=1.0, lambda_init=1.5, seed=0)
    model.adapt(np.random.default_rng(0).random((2, 20, 20, 1)), init="dct")
    return as_image_model(model)


def test_planes_of_another_range_are_denoised_alike(model, rng):
    planes = rng.standard_normal((2, 24, 26, 1)).astype("float32")
    one, other = (remove_noise(factor * planes, None, 0.5 * factor, model, None, model.shifts(), None)
                  for factor in (1.0, 40.0))
    np.testing.assert_allclose(other, 40 * one, atol=1e-3)
    assert np.abs(other).max() > 1


def test_progress_is_reported_after_every_tile(model, rng):
    seen = []
    remove_noise(rng.random((1, 24, 26, 1)).astype("float32"), None, 0.1, model, None, model.shifts(), 12,
                 lambda step, fraction: seen.append(fraction))
    assert seen[0] == 0 and seen[-1] == 1 and all(a <= b for a, b in zip(seen, seen[1:], strict=False))
    assert len(seen) == 1 + 6  # tiles


def test_a_tile_is_a_whole_number_of_pixels_or_none():
    assert as_tile(None) is None and as_tile(64) == 64
    with pytest.raises(ValueError, match="tile"):
        as_tile(0)
