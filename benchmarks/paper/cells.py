"""One cell of the tables: a model trained at one noise level with one way to learn lambda, scored image by image."""

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from crsae_onnx.core.atomic_files import atomic_write

from benchmarks.train_zoo import train_folder

FIRST_LAMBDA = 1.5


@dataclass(frozen=True)
class Cell:
    """What is trained.

    ``learning``: "fixed", or a way of ``CRsAE(lambda_learning=)``; ``model``: crsae, lcsc, tlae; ``start``: "", or how
    the cell learned lambda whose filters this one begins with.
    """

    learning: str
    sigma: int
    tied: bool = True
    shared: bool = False
    iterations: int = 10
    seed: int = 0
    model: str = "crsae"
    start: str = ""

    @property
    def key(self):
        """Name of the cell's file."""
        weights = {"crsae": "tied" if self.tied else "untied"}.get(self.model, self.model)
        return (f"{weights}-{self.learning}-{'shared' if self.shared else 'each'}-sigma{self.sigma}"
                f"-iterations{self.iterations}-seed{self.seed}{'-from-' + self.start if self.start else ''}")


@dataclass(frozen=True)
class Setting:
    """How much is done for each cell; all cells of one table share it.

    The Gamma prior of the cells that learn lambda by EM (strength in code positions, mean in 1 / sigma) and LCSC's
    learning rate were chosen on ten training images: strength 1 and mean 0.8 gave 27.0 dB there, 1 and 1.0 26.9, 3 and
    1.5 (the first lambda) 26.75; LCSC diverged at 0.01 and gave 27.3 dB at 0.003, 27.1 at 0.001.
    """

    steps: int
    test_images: int
    filters: int = 64
    kernel_size: int = 8
    strides: int = 4
    size: int = 60
    batch_size: int = 4
    learning_rate: float = 0.01
    lcsc_learning_rate: float = 0.003
    prior_strength: float = 1.0
    prior_mean: float = 0.8
    training_images: int = 0  # of the training set, scored to choose by
    prior_rate: float | None = None  # in place of strength and mean: the authors' prior, of shape rate * FIRST_LAMBDA


SHORT, FULL = Setting(steps=300, test_images=10), Setting(steps=1000, test_images=68)


def run(cell, setting, folder):
    """The cell's result, from its file where it was run before with the same setting."""
    path = Path(folder) / f"{cell.key}.json"
    if path.exists():
        stored = json.loads(path.read_text())
        if stored["setting"] == asdict(setting):
            return stored
    first = None
    if cell.start:
        before = replace(cell, learning=cell.start, start="")
        run(before, setting, folder)
        first = np.load(Path(folder) / f"{before.key}.npy")
    started = time.perf_counter()
    model = _train(cell, setting, first)
    trained = time.perf_counter() - started
    each = _score(model, cell.sigma / 255, setting.test_images)
    seen = _score(model, cell.sigma / 255, setting.training_images, train_folder()) if setting.training_images else {}
    parameters = [*model.dictionary_variables, *([] if cell.learning == "fixed" else [model.lambda_reg])]
    kernel = np.asarray(model.decoder.unit_kernel())
    lambdas = np.asarray(model.lambda_reg, float)
    result = {"cell": asdict(cell), "setting": asdict(setting), "train_seconds": trained,
              "score_seconds": time.perf_counter() - started - trained,
              "parameters": sum(int(np.prod(v.shape)) for v in parameters),
              "loss": [row["loss"] for row in model.training_record["history"]],
              "lambda": [float(np.quantile(lambdas, q)) for q in (0.0, 0.5, 1.0)],
              "sparsity": model.training_record["history"][-1]["sparsity"], "images": each,
              **{name: float(np.mean([row[name] for row in each.values()]))
                 for name in ("psnr", "psnr_clean_max", "ssim")}}
    if seen:
        result["train400"] = float(np.mean([row["psnr"] for row in seen.values()]))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{cell.key}.npy", kernel)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n")
    return result


def _train(cell, setting, first=None):
    """The same crops, noise, shifts and steps for every cell of one seed; the last step counts, nothing is selected.

    ``first``: None, or the filters to begin with, of a tied cell.
    """
    from keras_crsae import GammaPrior
    from keras_crsae.applications.denoising import DenoiserTraining, train_denoiser
    from keras_crsae.data.images import load_images
    from keras_crsae.data.streams.noisy_crops import noisy_crops
    from keras_crsae.models.baselines import LCSC, TLAE
    from keras_crsae.models.denoiser import Denoiser

    common = dict(rank=2, strides=setting.strides, training_shifts=4, sigma=1.0, lambda_init=FIRST_LAMBDA,
                  lambda_learning="backprop", seed=cell.seed)
    prior = GammaPrior(strength=setting.prior_strength, mean=setting.prior_mean) if setting.prior_rate is None else \
        GammaPrior(rate=setting.prior_rate)
    how = None if cell.learning == "fixed" else cell.learning
    model, rate = None, setting.learning_rate
    if cell.model == "lcsc":
        rate = setting.lcsc_learning_rate
        model = LCSC(setting.filters, setting.kernel_size, iterations=cell.iterations, **common)
    elif cell.model == "tlae":
        model = TLAE(setting.filters, setting.kernel_size, **common)
    elif first is not None:
        model = Denoiser(setting.filters, setting.kernel_size, iterations=cell.iterations, tied=cell.tied, unroll=True,
                         lambda_shared=cell.shared, lambda_prior=prior, **common | {"lambda_learning": how})
        model.set_dictionary(first)
        model.adapt(next(iter(noisy_crops(load_images(train_folder()), setting.size, 16, cell.sigma / 255,
                                          seed=cell.seed)))[0].numpy())
    settings = DenoiserTraining(
        filters=setting.filters, kernel_size=setting.kernel_size, strides=setting.strides, iterations=cell.iterations,
        tied=cell.tied, lambda_learning=how, lambda_shared=cell.shared, lambda_init_over_sigma=FIRST_LAMBDA,
        crop_pixels=setting.size, batch_size=setting.batch_size, lambda_prior=prior, learning_rate=rate)
    return train_denoiser(train_folder(), sigma=cell.sigma / 255, steps=setting.steps, seed=cell.seed,
                          settings=settings, model=model, verbose=0)


def _score(model, sigma, limit, images="set68"):
    """PSNR at a peak of 1 and at the authors' peak, the clean maximum, and SSIM; results are clipped to [0, 1]."""
    from skimage.metrics import structural_similarity

    from benchmarks.image_scores import noisy_pairs
    from keras_crsae.applications.denoising import denoise
    from keras_crsae.metrics import psnr

    each = {}
    for name, clean, noisy in noisy_pairs(images, sigma, limit=limit):
        made = denoise(noisy, model, sigma=sigma)
        value = psnr(clean, made)
        each[name] = {"psnr": value, "psnr_clean_max": value + 20 * float(np.log10(clean.max())),
                      "ssim": float(structural_similarity(clean[..., 0], made[..., 0], data_range=1.0))}
    return each
