"""Learn to denoise: crops, the two stages of ``CRsAE.fit``, a falling learning rate, checkpoints to go on from."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

import keras
import numpy as np
from crsae_onnx.core.progress import ProgressBar
from crsae_onnx.core.spec import EXPOSURE
from crsae_onnx.core.spec_parts import effective_sigma
from crsae_onnx.core.validation import as_positive, as_positive_int

from keras_crsae.applications.denoising.counts import check_noise, noise_of_peak
from keras_crsae.applications.denoising.settings import DenoiserTraining
from keras_crsae.applications.denoising.training_progress import RateSchedule, TrainingProgress, load_checkpoint
from keras_crsae.backend import tf
from keras_crsae.data.images import load_images
from keras_crsae.data.streams.levelled_crops import gaussian_noise, levelled_crops
from keras_crsae.data.streams.noisy_crops import noise_range, noisy_crops
from keras_crsae.data.streams.photon_crops import count_crops, peak_range, photon_crops
from keras_crsae.models.cdlnet import CDLNet
from keras_crsae.models.crsae import CRsAE
from keras_crsae.models.denoiser import Denoiser
from keras_crsae.models.rate_error import RateError
from keras_crsae.models.sure_error import SureError

#: Steps between two looks at the clock, a line of progress and, where due, a checkpoint.
EPOCH_STEPS = 100
_ADAPT_CROPS = 16
#: Noise where none is given, in units of [0, 1]; and counts of white.
DEFAULT_SIGMA, DEFAULT_PEAK = 25 / 255, (1.0, 8.0)


class RunOptions(TypedDict, total=False):
    """What of a training changes nothing in its result."""

    callbacks: Sequence[keras.callbacks.Callback]
    verbose: int


def train_denoiser(images: Any = None, sigma: float | tuple[float, float] | None = None, steps: int | None = 3000,
                   minutes: float | None = None, seed: int = 0, *, settings: DenoiserTraining | None = None,
                   clean: Any = None, add_noise: bool = True, noise: str = "gaussian",
                   peak: float | tuple[float, float] | None = None, model: CRsAE | None = None,
                   checkpoint: str | Path | None = None, **run: Unpack[RunOptions]) -> CRsAE:
    """Train a ``Denoiser`` on images.

    Everything is in units of the noise (sigma is 1 inside), so one model serves a range of levels: ``denoise`` scales.
    Both learning rates fall to zero along a cosine.

    Args:
        images: a folder, a file, an array (height, width) or (height, width, channels) of uint8, uint16 or floats in
            [0, 1], or a list of these; None: the photographs of scikit-image. ``data.load_images`` makes them gray or
            colour images where they differ.
        sigma: standard deviation of the noise in [0, 1], or (low, high); None: 25 / 255, 25 of 255 gray levels.
        steps: training steps; with ``minutes`` the most steps, None: no limit.
        minutes: time for training, over all resumed runs; None: ``steps`` alone count. The learning rate then follows
            whichever is closer to its end, and the result depends on the machine's speed.
        seed: of crops, noise, shifts and filters.
        settings: how to train; None: ``DenoiserTraining()``, or ``DenoiserTraining.poisson()`` of counts.
        clean: None, or the clean images of ``images``, which are then noisy already at ``sigma``.
        add_noise: False: ``images`` are noisy already at ``sigma`` (for unsupervised settings), which loss="sure" must
            be given.
        noise: "gaussian" (white), or "poisson": counts are drawn from the images, whose largest value is the peak, and
            the loss is the error of the rate, see ``models.rate_error.RateError``.
        peak: of "poisson", the counts of white, or (low, high); None: (1, 8).
        model: None, or a model to train in place of a new ``Denoiser``: a trained one to go on from, or one of
            ``models.LCSC`` and ``models.TLAE``, or of noise="poisson" a ``CRsAE(likelihood="poisson")``, whose loss is
            its negative log likelihood of the clean image, the peak as exposure. Its options are then its own, its
            optimisers start anew. Filters it was given (``set_dictionary``, such as EM's) are what it begins with.
        checkpoint: None, or a ``.keras`` file that is written about every two minutes, with a ``.json`` beside it;
            where it exists already, training goes on from it.
        **run: ``callbacks``: Keras callbacks, an epoch is 100 steps; ``verbose``, 1 by default: a bar on a terminal,
            elsewhere a line of progress every 100 steps; 0: silent.

    Returns:
        The trained model, which is saved with its ``training_settings``; ``model.training_record`` is a dict of steps,
        minutes, settings and a history of every 100 steps: step, minutes, loss, PSNR in training (dB, one sigma only),
        sparsity.

    Raises:
        ValueError: invalid images, noise or settings; neither ``steps`` nor ``minutes``.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.denoising import DenoiserTraining, train_denoiser
        >>> photograph = np.random.default_rng(0).random((64, 64), dtype="float32")
        >>> small = DenoiserTraining(filters=4, crop_pixels=24, iterations=2)
        >>> model = train_denoiser(photograph, sigma=25 / 255, steps=2, settings=small, verbose=0)
        >>> model.training_record["steps"]
        2
    """
    steps, minutes = _limits(steps, minutes)
    callbacks, verbose = _run_options(run)
    data = _Noise.of(noise, sigma, peak, clean, add_noise)
    settings = data.settings(settings)
    _check_known_noise(settings, sigma, clean, add_noise)
    crops = _Crops.of(images, clean, data, add_noise, seed, settings)
    keras.utils.set_random_seed(seed)
    record = None
    if checkpoint is not None and Path(checkpoint).exists():
        trained, rates, record = load_checkpoint(checkpoint)
    else:
        trained = _new_model(settings, data.sigma, seed) if model is None else model
        if _takes_counts(trained) and data.peak is None:
            raise ValueError("`model` is one of counts, whose noise follows from them: use noise='poisson', or another "
                             "model.")
        rates = _prepare(trained, crops, settings)
    _choose_loss(trained, data, settings)
    terminal = sys.stderr.isatty()
    with ProgressBar(bool(verbose) and terminal) as bar:
        progress = TrainingProgress(rates, steps, minutes, data.unit(trained), record, checkpoint,
                                    verbose and not terminal, bar,
                                    schedule=RateSchedule(settings.warm_up_steps, settings.flat_share),
                                    backtrack_db=settings.backtrack_db)
        progress.record["settings"] = trained.training_settings = {**settings.to_dict(), **data.record()}
        _fit(trained, crops, progress, callbacks)
    trained.training_record = progress.record
    return trained


def _check_known_noise(settings: DenoiserTraining, sigma: Any, clean: Any, add_noise: bool) -> None:
    """ValueError where the loss needs the noise level of images that are noisy already, and it is not given."""
    if settings.loss == "sure" and clean is not None:
        raise ValueError("loss='sure' learns from noisy images alone. Omit `clean`, or use supervised=True without "
                         "`loss` to learn from the clean images.")
    if settings.loss == "sure" and not add_noise and (sigma is None or noise_range(sigma)[0] < noise_range(sigma)[1]):
        raise ValueError("loss='sure' needs the standard deviation of the noise in the images, in units of [0, 1]: one "
                         "number, such as sigma=denoising.estimate_sigma(image), or, where a camera's settings are "
                         f"known, measured on a flat area. Received: sigma={sigma!r}")


def _choose_loss(model: CRsAE, noise: _Noise, settings: DenoiserTraining) -> None:
    """Let a model learn by the loss that noise and settings ask for; else by its own."""
    model.learn_by(None)
    shifts = getattr(model, "training_shifts", None) or 1
    if noise.peak is not None:
        if not _takes_counts(model):
            model.learn_by(RateError(model, shifts))
    elif settings.loss == "sure":
        if getattr(model, "low_pass", 0.0) or getattr(model, "sigma_power", 0.0):
            raise ValueError("loss='sure' knows the noise of images without their mean, not without their blur or in "
                             "another unit: give a model with low_pass=0 and sigma_power=0.")
        model.learn_by(SureError(model, shifts, sigma=None if _in_image_unit(model) else 1.0))


def _run_options(run: RunOptions) -> tuple[Sequence[keras.callbacks.Callback], int]:
    unknown = set(run) - set(RunOptions.__annotations__)
    if unknown:
        raise TypeError(f"train_denoiser() got an unexpected keyword argument {min(unknown)!r}")
    return run.get("callbacks", ()), run.get("verbose", 1)


@dataclass(frozen=True)
class _Noise:
    """The noise of a training: white of level ``sigma``, or of counts of ``peak``, whose levels are ``sigma``."""

    sigma: float | tuple[float, float]
    peak: tuple[float, float] | None = None

    @classmethod
    def of(cls, noise: str, sigma: float | tuple[float, float] | None, peak: float | tuple[float, float] | None,
           clean: Any, add_noise: bool) -> _Noise:
        if not check_noise(noise, sigma, peak):
            level = DEFAULT_SIGMA if sigma is None else sigma
            noise_range(level)
            return cls(level)
        if clean is not None or not add_noise:
            raise ValueError("Counts are drawn from clean images: give those as `images`, without `clean`, and leave "
                             "add_noise=True. Received: noise='poisson' with noisy images.")
        low, high = peak_range(DEFAULT_PEAK if peak is None else peak)
        return cls((noise_of_peak(high), noise_of_peak(low)), (low, high))

    def settings(self, settings: DenoiserTraining | None) -> DenoiserTraining:
        """Settings without open values, that fit the noise."""
        if self.peak is None:
            return (settings or DenoiserTraining()).resolve(self.sigma)
        settings = settings or DenoiserTraining.poisson()
        if not settings.supervised or settings.low_pass_pixels or settings.sigma_power:
            raise ValueError("noise='poisson' learns from clean images, without a blur and a power of sigma: use "
                             "supervised=True, low_pass_pixels=0 and sigma_power=None.")
        return replace(settings, sigma_power=0.0).resolve(self.sigma)

    def unit(self, model: CRsAE) -> float | None:
        """White minus black in the data's unit, which PSNR in training needs; None: there are many."""
        if self.peak is not None:
            return None if _takes_counts(model) else 1.0
        if isinstance(self.sigma, tuple | list):
            return None
        return 1.0 if _in_image_unit(model) else effective_sigma(self.sigma, getattr(model, "sigma_power", 0.0))

    def record(self) -> dict[str, Any]:
        """What is saved with the model, beside its settings."""
        return {} if self.peak is None else {"noise": "poisson", "peak": list(self.peak)}


def _limits(steps: int | None, minutes: float | None) -> tuple[int | None, float | None]:
    if steps is None and minutes is None:
        raise ValueError("Give `steps`, `minutes` or both: training needs an end.")
    return (None if steps is None else as_positive_int(steps, "steps"),
            None if minutes is None else as_positive(minutes, "minutes"))


def _in_image_unit(model: CRsAE) -> bool:
    """Whether a model learns on images in their own unit, else in units of their noise."""
    return getattr(model, "in_image_unit", False)


def _takes_counts(model: CRsAE) -> bool:
    """Whether a model learns on counts as they are, with the peak as exposure."""
    return model.likelihood.size_name == EXPOSURE


def _new_model(settings: DenoiserTraining, sigma: float | tuple[float, float], seed: int) -> CRsAE:
    if settings.architecture == "cdlnet":
        options = dict(strides=settings.strides, iterations=settings.iterations,
                       training_shifts=settings.training_shifts, sigma=float(np.mean(sigma)), seed=seed)
        return CDLNet(settings.filters, settings.kernel_size, **{**options, **settings.model_options})
    options = dict(
        strides=settings.strides, iterations=settings.iterations, tied=settings.tied, gradient=settings.gradient,
        training_shifts=settings.training_shifts, lambda_learning=settings.lambda_learning,
        lambda_init=settings.lambda_init_over_sigma, lambda_shared=settings.lambda_shared,
        lambda_prior=settings.lambda_prior, low_pass=settings.low_pass_pixels, sigma_power=settings.sigma_power,
        unroll=settings.unroll, sigma=1.0, seed=seed)
    return Denoiser(settings.filters, settings.kernel_size, **{**options, **settings.model_options})


def _prepare(model: CRsAE, crops: _Crops, settings: DenoiserTraining) -> tuple[float, float]:
    """Give a model its first filters and lambda, compile it, and return the first learning rates."""
    if not model.built or not float(model.training_state.adapted):
        complete_basis = math.prod(model.kernel_size) * crops.channels
        sample = next(iter(crops.batches(model, size=_ADAPT_CROPS, weighted=False)))[0]
        first = "dct" if model.filters <= complete_basis else "windows"
        sizes = {"exposure": sample["exposure"].numpy()} if _takes_counts(model) else {}
        sample = sample["signal"] if isinstance(sample, dict) else sample
        model.adapt(sample.numpy(), init=None if model.built else first, **sizes)
    rate = settings.learning_rate
    if rate is None:
        raise ValueError("Expected settings without open values: call settings.resolve(sigma) first. Received: "
                         "learning_rate=None")
    lambda_rate = settings.lambda_learning_rate
    if lambda_rate is None:
        lambda_rate = 0.01 * float(np.mean(model.sparse_rates))
    averages = {} if settings.averaging is None else {"use_ema": True, "ema_momentum": settings.averaging}
    model.compile(keras.optimizers.Adam(rate, global_clipnorm=settings.clip_norm, **averages),
                  keras.optimizers.Adam(lambda_rate, global_clipnorm=settings.clip_norm, **averages),
                  nonfinite="stop" if settings.backtrack_db is None else "skip")
    return rate, lambda_rate


def _fit(model: CRsAE, crops: _Crops, progress: TrainingProgress,
         callbacks: Sequence[keras.callbacks.Callback]) -> None:
    """``model.fit`` over the steps that are left, in epochs of ``EPOCH_STEPS``."""
    done, steps = int(model.optimizer.iterations), progress.steps
    if progress.fraction(done) >= 1.0:
        return
    data = crops.batches(model, start=done)
    epochs, epoch_steps = 10**9, EPOCH_STEPS
    if steps is not None:
        data = data.take(steps - done)
        epochs = math.ceil((steps - done) / EPOCH_STEPS)
        epoch_steps = None if steps - done < EPOCH_STEPS else EPOCH_STEPS
    model.fit(data, epochs=epochs, steps_per_epoch=epoch_steps, callbacks=[progress, *callbacks], verbose=0)


@dataclass(frozen=True)
class _Crops:
    """The training data: images, their noise, and how crops are drawn from them."""

    images: list[np.ndarray]
    clean: list[np.ndarray] | None
    noise: _Noise
    add_noise: bool
    seed: int
    settings: DenoiserTraining

    @classmethod
    def of(cls, images: Any, clean: Any, noise: _Noise, add_noise: bool, seed: int,
           settings: DenoiserTraining) -> _Crops:
        images = load_images(images)
        clean = None if clean is None else load_images(clean, images[0].shape[-1])
        return cls(images, clean, noise, add_noise, seed, settings)

    @property
    def channels(self) -> int:
        return self.images[0].shape[-1]

    def batches(self, model: CRsAE, start: int = 0, size: int | None = None, weighted: bool = True) -> tf.data.Dataset:
        """Batches from number ``start`` on, as ``model`` wants its input; ``size`` crops each."""
        settings, sigma = self.settings, self.noise.sigma
        if self.noise.peak is not None:
            draw = count_crops if _takes_counts(model) else photon_crops
            return draw(self.images, settings.crop_pixels, size or settings.batch_size, self.noise.peak,
                                seed=self.seed, start=start)
        if _in_image_unit(model):
            return levelled_crops(self.images, settings.crop_pixels, size or settings.batch_size, sigma,
                                  clean=self.clean, noise=gaussian_noise if self.add_noise else None,
                                  target="clean" if settings.supervised else "noisy",
                                  sigma_weight=settings.sigma_weight, seed=self.seed, start=start)
        return noisy_crops(self.images, settings.crop_pixels, size or settings.batch_size, sigma,
                           clean=self.clean, add_noise=self.add_noise,
                           target="clean" if settings.supervised else "noisy", low_pass=getattr(model, "low_pass", 0.0),
                           sigma_power=getattr(model, "sigma_power", 0.0),
                           sigma_weight=settings.sigma_weight if weighted else 0.0, seed=self.seed, start=start)
