"""The demo's first part: filters learned by EM on one noisy photograph denoise another one in onnxruntime."""

from __future__ import annotations

import time
from pathlib import Path

import keras
import numpy as np
from crsae_onnx.core.optional import import_optional

from keras_crsae import plots
from keras_crsae.applications.denoising.low_pass import split_low_pass
from keras_crsae.applications.denoising.pipeline import denoise
from keras_crsae.data.images import gray_photograph, random_patches
from keras_crsae.demo.outputs import Row, export_model, save_figure, say
from keras_crsae.metrics import psnr
from keras_crsae.models.crsae import CRsAE

#: Photographs that ship inside scikit-image, both CC0: filters are learned on one and used on the other.
LEARNED_ON, DENOISED = "coffee.png", "camera.png"
#: Standard deviation of the noise in [0, 1].
NOISE = 25 / 255
#: Weight of the total variation that is compared with.
TV_WEIGHT = 0.14
_ZOOM = (90, 190, 128)  # row, column and side of the square that is shown enlarged


def denoise_photograph(folder: Path, seed: int) -> list[Row]:
    """Learn, export, denoise and draw; rows of the demo's table.

    Args:
        folder: for ``image_filters.onnx`` and three figures.
        seed: of noise, patches and first filters.
    """
    restoration = import_optional("skimage.restoration", "The demo")
    rng = np.random.default_rng(seed)
    study, clean = gray_photograph(LEARNED_ON), gray_photograph(DENOISED)
    noisy_study, noisy = (p + NOISE * rng.standard_normal(p.shape).astype("float32") for p in (study, clean))
    say(f"learning image filters on a noisy {LEARNED_ON}")
    started = time.perf_counter()
    model, first = learn_image_filters(noisy_study, rng, seed)
    learning = time.perf_counter() - started
    say(f"exporting them and denoising {DENOISED} in onnxruntime")
    shapes = [(1, 37, 50, 1), (2, 64, 41, 1)]
    encoder, difference, exporting = export_model(model, folder / "image_filters.onnx", shapes)
    started = time.perf_counter()
    denoised = denoise(noisy, encoder, sigma=NOISE)
    using = time.perf_counter() - started
    in_keras = denoise(noisy, model, sigma=NOISE)
    difference = max(difference, float(np.abs(in_keras - denoised).max() / np.abs(in_keras).max()))
    learned = np.asarray(model.dictionary.kernel)
    model.set_dictionary(first)
    unlearned = psnr(clean, denoise(noisy, model, sigma=NOISE))
    variation = psnr(clean, restoration.denoise_tv_chambolle(noisy[..., 0].astype(float), weight=TV_WEIGHT)[..., None])
    code = encoder.encode(split_low_pass(noisy_study[None])[1])
    _draw(folder, first, learned, np.abs(code).sum(axis=(0, 1, 2)), (clean, noisy, denoised))
    before = psnr(clean, noisy)
    return [
        (f"denoise {DENOISED}", "PSNR (dB), noise of 25 gray levels", before, psnr(clean, denoised)),
        ("", "  the same, filters before learning", before, unlearned),
        ("", "  for comparison: total variation", before, variation),
        ("", "largest difference Keras - onnxruntime", None, f"{difference:.1e}"),
        ("", "seconds: learn | export | denoise", None, f"{learning:.1f} | {exporting:.1f} | {using:.1f}"),
    ]


def _draw(folder: Path, first: np.ndarray, learned: np.ndarray, use: np.ndarray,
          images: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Filters before and after learning, those with the largest codes (``use``) first; the image before and after."""
    order = np.argsort(-use)
    save_figure(folder / "image_filters_before.png", plots.plot_filters(
        first[..., order], title="Before learning: random windows of the noisy photograph"))
    save_figure(folder / "image_filters.png", plots.plot_filters(
        learned[..., order], title=f"Learned by EM on the noisy {LEARNED_ON}, most used first"))
    save_figure(folder / "denoised.png", plots.plot_denoising(*images, zoom=_ZOOM, title=(
        f"{DENOISED}, noise of 25 gray levels, denoised in onnxruntime (filters from {LEARNED_ON})")))


def learn_image_filters(noisy: np.ndarray, rng: np.random.Generator, seed: int, epochs: int = 5, patches: int = 64
                        ) -> tuple[CRsAE, np.ndarray]:
    """A model of 36 filters of 8 x 8 learned on one noisy image, and the filters that it began with.

    Args:
        noisy: (height, width, 1) in units of [0, 1], with noise of standard deviation NOISE.
        rng: of the patches.
        seed: of the first filters.
        epochs, patches: how long; the defaults take under a minute on two cores.
    """
    data = random_patches([split_low_pass(noisy[None])[1][0]], (64, 64), patches, rng)
    # Lambda starts at 1.2 / sigma, low enough for all filters to take part; EM raises it as they find structure.
    model = CRsAE(filters=36, kernel_size=8, strides=2, rank=2, iterations=15, shrinkage="soft", sigma=NOISE,
                  lambda_init=1.2 / NOISE, lambda_learning="em_closed_form", gradient="decoder", seed=seed)
    model.adapt(data, init="windows")
    first = np.array(model.dictionary.kernel)
    batch = 4
    rate = keras.optimizers.schedules.CosineDecay(2e-2, max(1, epochs * patches // batch))
    model.compile(keras.optimizers.Adam(rate))
    model.fit(data, epochs=epochs, batch_size=batch, verbose=0)
    return model, first
