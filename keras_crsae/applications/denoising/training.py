"""Learn to denoise: crops, the two stages of ``CRsAE.fit``, a falling learning rate, checkpoints to go on from."""

import json
import math
import time
from pathlib import Path

import keras
import numpy as np
from crsae_onnx.core.atomic_files import atomic_write
from crsae_onnx.core.errors import FileError, one_line
from crsae_onnx.core.spec import effective_sigma
from crsae_onnx.core.validation import as_positive, as_positive_int

from keras_crsae.data.images import load_images
from keras_crsae.data.streams.noisy_crops import noise_range, noisy_crops
from keras_crsae.models.denoiser import Denoiser
from keras_crsae.training.callbacks import save_apart

#: What stands for None. First lambdas, in units of 1 / sigma, lie far below Donoho's, which leaves too little of an
#: image's texture.
WITH_TARGETS = dict(iterations=10, tied=False, training_shifts=4, gradient="unrolled", lambda_init=1.5,
                    learning_rate=1e-2)
#: Without targets the code stays constant in the filters' step. Through the encoder, filters learn to let the noise
#: pass, since that lowers the reconstruction loss: on one photograph 17 % of the code became non-zero, where 0.7 % was
#: before and 2 % is after learning with the code constant.
WITHOUT_TARGETS = dict(iterations=30, tied=True, training_shifts=1, gradient="decoder", lambda_init=1.2,
                       learning_rate=2e-3)
#: Growth of the threshold with sigma, of a model for a range. One trained without it over 10 to 60 grey levels denoised
#: 40 images of its training set best when told 1.0, 1.0, 1.07, 1.22 and 1.27 times the noise at 10, 15, 25, 50 and 60.
SIGMA_POWER = 0.17
_EPOCH = 100  # steps between two looks at the clock, a line of progress and, where due, a checkpoint


def train_denoiser(images=None, sigma=25 / 255, steps=3000, minutes=None, seed=0, supervised=True, *, clean=None,
                   add_noise=True, channels=None, filters=64, kernel_size=8, strides=4, iterations=None, tied=None,
                   training_shifts=None, gradient=None, lambda_learning="auto", lambda_init=None, lambda_shared=False,
                   lambda_prior=None, learning_rate=None, lambda_learning_rate=None, size=60, batch_size=4,
                   low_pass=0.0, sigma_power=None, sigma_weight=0.0, model=None, checkpoint=None, callbacks=(),
                   verbose=1, **options):
    """Train a ``Denoiser`` on images.

    Everything is in units of the noise (sigma is 1 inside), so one model serves a range of levels: ``denoise`` scales.
    Both learning rates fall to zero along a cosine.

    Args:
        images: a folder, a file, an array (height, width) or (height, width, channels) of uint8, uint16 or floats in
            [0, 1], or a list of these; None: the photographs of scikit-image. See ``data.images.load_images``.
        sigma: standard deviation of the noise in [0, 1] (25 of 255 grey levels: 25 / 255), or (low, high).
        steps: training steps; with ``minutes`` the most steps, None: no limit.
        minutes: time for training, over all resumed runs; None: ``steps`` alone count. The learning rate then follows
            whichever is closer to its end, and the result depends on the machine's speed.
        seed: of crops, noise, shifts and filters.
        supervised: compare with the clean images; False: with the noisy ones (EM alone, Tolooshams et al.).
        clean: None, or the clean images of ``images``, which are then noisy already at ``sigma``.
        channels: 1 (grey), 3 (colour), or None: the images' own where all agree, else 1.
        add_noise: False: ``images`` are noisy already at ``sigma`` (``supervised=False``).
        filters, kernel_size, strides, iterations, tied, gradient, lambda_shared, lambda_prior: see ``CRsAE``. None:
            10 iterations, untied, "unrolled" where there are clean targets; else 30, tied, "decoder".
        lambda_learning: as of ``CRsAE``; "auto": "backprop" where there are clean targets, else "em".
        training_shifts: shifts of the stride's grid averaged in a step; None: 4, or 1 without clean targets.
        lambda_init: first lambda, in units of 1 / sigma; None: 1.5, or 1.2 without clean targets.
        learning_rate, lambda_learning_rate: of the two Adam optimisers; None: 0.01, or 0.002 without clean targets,
            and 0.01 of the first lambda.
        size, batch_size: side of a crop in pixels, crops of a step.
        low_pass: width of a blur to take from the crops; 0: their mean.
        sigma_power: see ``Denoiser``; None: 0.17 for a range of levels, 0 for one.
        sigma_weight: of a range of levels: the loss of a crop is weighed by sigma ** sigma_weight. Its errors are in
            units of the noise, where those of strong noise are the smaller ones.
        model: None, or a model to train in place of a new ``Denoiser``: a trained one to go on from, or one of
            ``baselines``; its options are then its own, its optimisers start anew.
        checkpoint: None, or a ``.keras`` file that is written about every two minutes, with a ``.json`` beside it;
            where it exists already, training goes on from it.
        callbacks: Keras callbacks; an epoch is 100 steps.
        verbose: 0: silent; 1: a line of progress every 100 steps.
        **options: of ``Denoiser``.

    Returns:
        The trained ``Denoiser``; ``model.training_record`` is a dict of steps, minutes and a history of every 100
        steps: step, minutes, loss, PSNR in training (dB, one sigma only), sparsity.

    Raises:
        ValueError: unfit images, sigma or options; neither ``steps`` nor ``minutes``.

    Example:
        >>> model = train_denoiser(noisy, sigma=25 / 255, steps=2, filters=4, size=24, verbose=0)
    """
    images = load_images(images, channels)
    clean = None if clean is None else load_images(clean, images[0].shape[-1])
    levels = noise_range(sigma)
    if sigma_power is None:
        sigma_power = SIGMA_POWER if levels[0] < levels[1] else 0.0
    if steps is None and minutes is None:
        raise ValueError("Give `steps`, `minutes` or both: training needs an end.")
    steps = None if steps is None else as_positive_int(steps, "steps")
    minutes = None if minutes is None else as_positive(minutes, "minutes")
    if lambda_learning == "auto":
        lambda_learning = "backprop" if supervised else "em"
    if not supervised and lambda_learning == "backprop":
        raise ValueError("lambda_learning='backprop' against the noisy images drives lambda to zero. Use 'em', "
                         "'em_closed_form' or None with supervised=False.")
    given = dict(iterations=iterations, tied=tied, training_shifts=training_shifts, gradient=gradient,
                 lambda_init=lambda_init, learning_rate=learning_rate)
    chosen = (WITH_TARGETS if supervised else WITHOUT_TARGETS) | {k: v for k, v in given.items() if v is not None}
    learning_rate = chosen.pop("learning_rate")
    if not supervised and not chosen["tied"] and chosen["gradient"] == "decoder":
        raise ValueError("tied=False with gradient='decoder' leaves the encoder's filters as they were first. Use "
                         "tied=True, or another gradient.")
    keras.utils.set_random_seed(seed)
    channels = images[0].shape[-1]
    progress = _Progress(steps, minutes, checkpoint, sigma if np.isscalar(sigma) else None, verbose)
    if checkpoint is not None and Path(checkpoint).exists():
        model = progress.resume()
    else:
        if model is None:
            model = Denoiser(filters, kernel_size, strides=strides, sigma=1.0, lambda_shared=lambda_shared,
                             lambda_learning=lambda_learning, lambda_prior=lambda_prior, low_pass=low_pass,
                             sigma_power=sigma_power, seed=seed, **{"unroll": True, **chosen, **options})
        if not model.built or not float(model.adapted):
            first_filters = math.prod(model.kernel_size) * channels
            sample = next(iter(_crops(images, clean, size, 16, sigma, supervised, add_noise, model, seed, 0)))[0]
            model.adapt(sample.numpy(), filters="dct" if model.filters <= first_filters else "windows")
        rate = 0.01 * float(np.mean(model.lambda_reg)) if lambda_learning_rate is None else lambda_learning_rate
        model.compile(keras.optimizers.Adam(learning_rate), keras.optimizers.Adam(rate))
        progress.rates = learning_rate, rate
    if progress.sigma is not None:
        progress.sigma = effective_sigma(sigma, getattr(model, "sigma_power", 0.0))
    done = int(model.optimizer.iterations)
    if not progress.finished(done):
        data = _crops(images, clean, size, batch_size, sigma, supervised, add_noise, model, seed, done, sigma_weight)
        if steps is not None:
            data = data.take(steps - done)
        left = 10**9 if steps is None else math.ceil((steps - done) / _EPOCH)
        model.fit(data, epochs=left, steps_per_epoch=None if steps is not None and steps - done < _EPOCH else _EPOCH,
                  callbacks=[progress, *callbacks], verbose=0)
    model.training_record = progress.record
    return model


def _crops(images, clean, size, batch_size, sigma, supervised, add_noise, model, seed, start, sigma_weight=0.0):
    return noisy_crops(images, size, batch_size, sigma, clean=clean, add_noise=add_noise,
                       target="clean" if supervised else "noisy", low_pass=model.low_pass,
                       sigma_power=getattr(model, "sigma_power", 0.0), sigma_weight=sigma_weight, seed=seed,
                       start=start)


class _Progress(keras.callbacks.Callback):
    """Learning rates by what is done of steps and minutes, lines of progress, checkpoints."""

    def __init__(self, steps, minutes, checkpoint, sigma, verbose, every=120.0):
        super().__init__()
        self.steps, self.minutes, self.sigma, self.verbose, self.every = steps, minutes, sigma, verbose, every
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.record = {"steps": 0, "minutes": 0.0, "history": []}
        self.rates, self._before, self._started, self._saved = None, 0.0, None, None

    @property
    def _facts(self):
        return self.checkpoint.with_suffix(".json")

    def resume(self):
        """The model of the checkpoint; its learning rates and record come from the file beside it."""
        from keras_crsae.models.serialization import load_crsae

        model = load_crsae(self.checkpoint)
        try:
            stored = json.loads(self._facts.read_text())
            self.rates, self.record = stored["rates"], stored["record"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FileError(f"{self.checkpoint} is there, but {self._facts}, which was written with it, cannot be read "
                            f"({one_line(error)}). Bring it back, or delete the checkpoint to begin anew.") from error
        # The record is put in place first: after a kill between the two it is ahead of the model.
        done = int(model.optimizer.iterations)
        history = [row for row in self.record["history"] if row["step"] <= done]
        self.record = {"steps": done, "minutes": history[-1]["minutes"] if history else 0.0, "history": history}
        self._before = 60.0 * self.record["minutes"]
        return model

    def _seconds(self):
        return self._before + (0.0 if self._started is None else time.monotonic() - self._started)

    def _share(self, step):
        """Part of the training that is done, in [0, 1]."""
        return min(1.0, max(0.0 if self.steps is None else step / self.steps,
                            0.0 if self.minutes is None else self._seconds() / (60.0 * self.minutes)))

    def finished(self, step):
        return self._share(step) >= 1.0

    def on_train_begin(self, logs=None):
        self._started = self._saved = time.monotonic()
        self._step = int(self.model.optimizer.iterations)

    def on_train_batch_begin(self, batch, logs=None):
        fall = 0.5 * (1.0 + math.cos(math.pi * self._share(self._step)))
        for optimizer, rate in zip((self.model.optimizer, self.model.lambda_optimizer), self.rates, strict=True):
            optimizer.learning_rate.assign(rate * fall)

    def on_train_batch_end(self, batch, logs=None):
        self._step += 1
        if self.finished(self._step):
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        loss = logs["reconstruction_loss"]
        row = {"step": self._step, "minutes": self._seconds() / 60, "loss": loss, "sparsity": logs["sparsity"]}
        if self.sigma is not None:
            row["psnr"] = -10 * math.log10(max(loss, 1e-30) * self.sigma**2)
        self.record["history"].append(row)
        self.record.update(steps=self._step, minutes=row["minutes"])
        if self.verbose:
            print(self._line(row), flush=True)
        if self.checkpoint is not None and time.monotonic() - self._saved > self.every:
            self.save()

    def _line(self, row):
        of_steps = "" if self.steps is None else f" of {self.steps}"
        of_minutes = "" if self.minutes is None else f" of {self.minutes:g}"
        quality = f"PSNR {row['psnr']:.2f} dB" if "psnr" in row else f"loss {row['loss']:.4g} sigma^2"
        return (f"step {row['step']}{of_steps}, {row['minutes']:.1f}{of_minutes} min: {quality} in training, "
                f"{row['sparsity']:.1%} of the code non-zero")

    def on_train_end(self, logs=None):
        if self.checkpoint is not None:
            self.save()

    def save(self):
        """Model and record, each put in place whole."""
        self._saved = time.monotonic()
        with atomic_write(self.checkpoint, overwrite=True) as temporary:
            save_apart(self.model, temporary)
            with atomic_write(self._facts, overwrite=True) as facts:  # in place first: ``resume`` expects it so
                facts.write_text(json.dumps({"rates": list(self.rates), "record": self.record}))
