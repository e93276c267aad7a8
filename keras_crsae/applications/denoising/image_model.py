"""Whatever can denoise, as one object: a model in Keras, its file, a name of the zoo, or an exported encoder."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from crsae_onnx.core.cycle_spinning import spread_shifts
from crsae_onnx.core.spec import EXPOSURE

from keras_crsae.applications.denoising.low_pass import LOW_PASS_PIXELS
from keras_crsae.models.presets import preset_file
from keras_crsae.models.serialization import load_crsae

QUALITIES = ("fast", "best")
#: Shifts of "fast", at most, and their share of all: of `crsae-gray-25` eight of 36 (.09 dB less on camera.png), of
#: `denoise-gray-25` one of four (.05 dB less on nine images of set68).
FAST_SHIFTS, FAST_SHARE = 8, 4
#: Quarter turns of the image that "best" averages at stride 1.
BEST_TURNS = (0, 1)


@dataclass(frozen=True)
class ImageModel:
    """What ``denoise`` needs of a model.

    Args:
        reconstruct: (batch (n, height, width, channels), sigma) -> reconstruction on one grid; where the model
            ``takes_counts``, (counts, peak) -> rates in units of the peak.
        rank: 2 for images.
        channels, kernel_size, strides: of its dictionary.
        low_pass: standard deviation, in pixels, of the blur that was taken from its training images.
        sigma_power: see ``Denoiser``.
        peaks: of a model that learned on counts, the smallest and the largest peak in its training; else None.
        takes_counts: whether its likelihood is Poisson: it needs no transform of the counts.
    """

    reconstruct: Callable[[np.ndarray, float], np.ndarray]
    rank: int
    channels: int
    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    low_pass: float = LOW_PASS_PIXELS
    sigma_power: float = 0.0
    peaks: tuple[float, float] | None = None
    takes_counts: bool = False

    def shifts(self, count: int | None = None) -> np.ndarray:
        """(shifts, 2) of the stride's grid, ``count`` of them or all; ValueError for a number out of range."""
        return spread_shifts(self.strides, count)

    def at_quality(self, quality: str | None, shifts: int | None = None) -> tuple[ImageModel, np.ndarray]:
        """The model, and the shifts of its grid that are averaged, at "fast" or "best".

        At a stride above 1 "fast" averages a quarter of the shifts, at most ``FAST_SHIFTS``, and "best" all of them. At
        stride 1 there is one: "best" averages turned images (``BEST_TURNS``).

        Args:
            quality: "fast", "best", or None: all shifts, or so many.
            shifts: a number of shifts, where ``quality`` is None.

        Raises:
            ValueError: another word, or both.
        """
        if quality is None:
            return self, self.shifts(shifts)
        if quality not in QUALITIES:
            raise ValueError(f"`quality` must be one of {QUALITIES}, or None. Received: {quality!r}")
        if shifts is not None:
            raise ValueError(f"`quality` chooses the shifts: give one of both. Received: quality={quality!r}, "
                             f"shifts={shifts!r}")
        every = math.prod(self.strides)
        if quality == "fast":
            return self, self.shifts(min(FAST_SHIFTS, -(-every // FAST_SHARE)))
        return (replace(self, reconstruct=_mean_of_turns(self.reconstruct)) if every == 1 else self), self.shifts()


def _mean_of_turns(reconstruct: Callable[[np.ndarray, float], np.ndarray]
                   ) -> Callable[[np.ndarray, float], np.ndarray]:
    """Mean of what ``reconstruct`` gives of images and of their turned copies, which are turned back."""
    def mean(batch: np.ndarray, level: float) -> np.ndarray:
        total = np.zeros(batch.shape, np.float32)
        for turns in BEST_TURNS:
            turned = np.ascontiguousarray(np.rot90(batch, turns, axes=(1, 2)))
            total += np.rot90(reconstruct(turned, level), -turns, axes=(1, 2))
        return total / np.float32(len(BEST_TURNS))

    return mean


def as_image_model(model: Any) -> ImageModel:
    """The ``ImageModel`` of a model.

    Args:
        model: a ``CRsAE`` of images, the path of its file or preset's folder, a ``crsae_onnx.SparseEncoder`` or the
            name of a zoo model.

    Raises:
        ValueError: another object, a model of signals, or one without filters.

    Example:
        >>> from keras_crsae.applications.denoising.image_model import as_image_model
        >>> as_image_model("denoise-gray").sigma_power
        0.17
    """
    if isinstance(model, str | os.PathLike):
        model = load_crsae(preset_file(model))
    exported = hasattr(model, "info") and hasattr(model, "reconstruct")
    found = _of_encoder(model) if exported else _of_crsae(model)
    if found.rank != 2:
        raise ValueError("`model` must be a model of images (rank 2). Received: a model of signals (rank "
                         f"{found.rank}).")
    return found


def zoo_denoiser(image: np.ndarray) -> str:
    """Name of the zoo's denoiser for an image (height, width) or (height, width, channels), by its colours.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.denoising.image_model import zoo_denoiser
        >>> zoo_denoiser(np.zeros((8, 8, 4))), zoo_denoiser(np.zeros((8, 8)))
        ('denoise-color', 'denoise-gray')
    """
    return "denoise-color" if image.ndim == 3 and image.shape[-1] >= 3 else "denoise-gray"


def peaks_of(training_settings: Any) -> tuple[float, float] | None:
    """(smallest, largest) peak of a model's training, from its ``training_settings``; None: it saw no counts."""
    peak = (training_settings or {}).get("peak")
    return None if peak is None else (float(np.min(peak)), float(np.max(peak)))


def _of_encoder(encoder: Any) -> ImageModel:
    info = encoder.info
    config = info.get("config", {})

    if info.get("size_name") == EXPOSURE:
        if EXPOSURE not in info["inputs"]:
            raise ValueError("The file takes no exposure, which is the peak of an image. Convert the model with "
                             "inputs=('signal', 'exposure').")
        return _of_counts(encoder, info["rank"], info["channels"], info["kernel_size"], info["strides"])

    takes_sigma = "sigma" in info.get("inputs", ())
    if config.get("threshold_offsets") and not takes_sigma:
        raise ValueError("The file's thresholds are no multiples of the noise, and it takes no noise level. Convert "
                         "the model with inputs=('signal', 'sigma').")

    def reconstruct(batch: np.ndarray, sigma: float) -> np.ndarray:
        if takes_sigma:
            return encoder.reconstruct(batch, sigma=sigma)
        # In units of the model's sigma: its threshold is then the image's.
        scaled = batch * np.float32(info["sigma"] / sigma)
        return encoder.reconstruct(scaled) * np.float32(sigma / info["sigma"])

    return ImageModel(reconstruct, info["rank"], info["channels"], tuple(info["kernel_size"]), tuple(info["strides"]),
                      config.get("low_pass", LOW_PASS_PIXELS), config.get("sigma_power", 0.0),
                      peaks_of(config.get("training_settings")))


def _of_crsae(model: Any) -> ImageModel:
    from keras_crsae.models.crsae import CRsAE  # an exported encoder needs no Keras

    if not isinstance(model, CRsAE):
        raise ValueError("`model` must be a CRsAE, the path of its .keras file or a crsae_onnx.SparseEncoder. "
                         f"Received: {type(model).__name__}.")
    if not model.built:
        raise ValueError("The model has no filters yet: fit it, or load a trained one.")
    dictionary = model.dictionary
    if model.likelihood.size_name == EXPOSURE:
        return _of_counts(model, model.rank, dictionary.channels or 1, dictionary.kernel_size, dictionary.strides)
    return ImageModel(lambda batch, sigma: model.reconstruct(batch, sigma=sigma), model.rank,
                      dictionary.channels or 1, dictionary.kernel_size, dictionary.strides,  # built: never None
                      getattr(model, "low_pass", LOW_PASS_PIXELS), getattr(model, "sigma_power", 0.0),
                      peaks_of(getattr(model, "training_settings", None)))


def _of_counts(model: Any, rank: int, channels: int, kernel_size: Sequence[int], strides: Sequence[int]) -> ImageModel:
    """Of a model or file whose likelihood is Poisson, with the peak as exposure: eta is then the image's logarithm."""
    return ImageModel(lambda counts, peak: model.mean(counts, exposure=peak), rank, channels, tuple(kernel_size),
                      tuple(strides), low_pass=0.0, takes_counts=True)
