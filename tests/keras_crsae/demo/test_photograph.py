"""The demo's photographs and the filters learned on them."""

import sys

import numpy as np
import pytest

from keras_crsae.data import gray_photograph
from keras_crsae.demo.photograph import DENOISED, LEARNED_ON, NOISE, learn_image_filters


def test_photographs_ship_with_scikit_image():
    for name in (LEARNED_ON, DENOISED):
        photograph = gray_photograph(name)
        assert photograph.ndim == 3 and min(photograph.shape[:2]) > 200
        assert photograph.shape[-1] == 1 and 0 <= photograph.min() < 0.1 and 0.9 < photograph.max() <= 1


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ModuleNotFoundError, match=r"keras-crsae\[images\]"):
        gray_photograph(DENOISED)


def test_image_filters_learn_from_a_noisy_image(rng):
    image = 0.5 + 0.3 * np.sign(np.sin(np.mgrid[:80, :80][0] / 3))[..., None]
    noisy = (image + NOISE * rng.standard_normal(image.shape)).astype("float32")
    model, first = learn_image_filters(noisy, rng, 0, epochs=1, patches=4)
    assert not np.allclose(np.asarray(model.dictionary.kernel), first, atol=1e-3)
