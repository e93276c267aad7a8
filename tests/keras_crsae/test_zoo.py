"""Every zoo model is whole, small, described, and does what its card says."""

import json

import numpy as np
import pytest
from crsae_onnx import SparseEncoder
from crsae_onnx.core.errors import FileError

import keras_crsae as kc
from keras_crsae import zoo
from keras_crsae.applications.denoising import denoise
from keras_crsae.data.images import photographs
from keras_crsae.metrics import psnr

NAMES = zoo.names()
DENOISERS = [name for name in NAMES if zoo.metadata(name)["task"].startswith("denoise")]

pytestmark = pytest.mark.skipif(not NAMES, reason="models/ holds no trained model yet: python -m benchmarks.train_zoo")


def noisy_photograph(channels, sigma, size=128):
    clean = photographs(["chelsea.png"])[0][60:60 + size, 120:120 + size].astype("float32") / 255
    clean = clean if channels == 3 else clean @ np.array([[0.299], [0.587], [0.114]], "float32")
    return clean, clean + np.float32(sigma) * np.random.default_rng(0).standard_normal(clean.shape).astype("float32")


def test_the_zoo_is_there_and_small():
    assert "denoise-gray-25" in NAMES
    assert sum(f.stat().st_size for f in zoo.folder().rglob("*") if f.is_file()) < 20e6


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_complete_and_described(name):
    for file in (zoo.CARD, zoo.CONFIG, zoo.METADATA, zoo.MODEL, zoo.ENCODER):
        assert zoo.path_of(name, file).stat().st_size > 100
    facts, card = zoo.metadata(name), zoo.path_of(name, zoo.CARD).read_text()
    for key in ("task", "data", "licence_of_data", "training_command", "seed", "minutes", "machine", "metrics"):
        assert facts[key] or facts[key] == 0, key
    assert facts["training_command"] in card and facts["data"] in card and name in card and "Limits" in card
    model = kc.load_model_from_zoo(name)
    assert facts["parameters"] == sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    stored = json.loads(zoo.path_of(name, zoo.CONFIG).read_text())
    assert stored["filters"] == model.filters and tuple(stored["kernel_size"]) == model.kernel_size


@pytest.mark.parametrize("name", DENOISERS)
def test_denoisers_beat_the_noise_and_equal_their_exports(name):
    facts = zoo.metadata(name)
    sigma = float(np.mean(facts["sigma_in_grey_levels"])) / 255
    model = kc.load_model_from_zoo(name)
    clean, noisy = noisy_photograph(model.dictionary.channels, sigma)
    made = denoise(noisy, name, sigma=sigma)
    assert psnr(clean, made) > psnr(clean, noisy) + (6 if sigma > 18 / 255 else 5)  # weak noise leaves less to gain
    np.testing.assert_allclose(denoise(noisy, SparseEncoder(zoo.path_of(name, zoo.ENCODER)), sigma=sigma), made,
                               atol=1e-4)
    np.testing.assert_allclose(denoise(noisy, model, sigma=sigma, tile=50), made, atol=1e-3)


@pytest.mark.parametrize("name, shape", [
    ("denoise-gray", (1, 1)), ("denoise-gray", (1, 9, 2)), ("denoise-gray", (2, 1, 4)), ("denoise-color", (1, 1, 3)),
    ("denoise-color", (3, 1, 4))])
def test_images_of_a_few_pixels_are_the_same_in_keras_and_onnxruntime(name, shape, rng):
    """Of every dtype, with transparency and without."""
    image = rng.random(shape)
    model, encoder = kc.load_model_from_zoo(name), SparseEncoder(zoo.path_of(name, zoo.ENCODER))
    for dtype, top in (("uint8", 255), ("uint16", 65535), ("float32", 1), ("float16", 1)):
        given = (top * image).astype(dtype)
        made, exported = (denoise(given, one, sigma=25 / 255) for one in (model, encoder))
        assert made.dtype == exported.dtype == dtype and made.shape == exported.shape == shape
        np.testing.assert_allclose(exported / top, made / top, atol=5e-3 if dtype == "uint8" else 1e-3)
        if shape[-1] in (2, 4):
            np.testing.assert_array_equal(made[..., -1], given[..., -1])


def test_the_model_of_counts_beats_the_one_of_white_noise_and_equals_its_export():
    clean = noisy_photograph(1, 0.1)[0]
    clean = clean / clean.max()
    encoder = SparseEncoder(zoo.path_of("denoise-poisson", zoo.ENCODER))
    for peak in zoo.metadata("denoise-poisson")["peak"]:
        counts = np.random.default_rng(0).poisson(peak * clean)
        made, exported, other = (denoise(counts, model, noise="poisson", peak=peak) / peak
                                 for model in (None, encoder, "denoise-gray"))
        np.testing.assert_allclose(exported, made, atol=1e-3)
        assert psnr(clean, made) > psnr(clean, other) + 0.2 > psnr(clean, counts / peak) + 8


def test_few_shifts_cost_at_most_what_the_card_says():
    clean, noisy = noisy_photograph(1, 25 / 255, 180)
    every, few = (psnr(clean, denoise(noisy, "crsae-gray-25", sigma=25 / 255, shifts=n)) for n in (None, 8))
    assert every - 0.15 < few < every + 0.05


def test_unknown_names_are_refused_with_those_that_exist():
    for ask in (kc.load_model_from_zoo, zoo.metadata, lambda n: denoise(np.zeros((9, 9)), n)):
        with pytest.raises(FileError, match="denoise-gray-25"):
            ask("no-such-model")
    with pytest.raises(FileError, match="missing"):
        zoo.path_of("denoise-gray-25", "other.txt")
