"""Train a CRsAE that starts from the templates of a recording."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import keras
import numpy as np

from keras_crsae.applications.spike_sorting.matching import UnitSpikes, residual, sum_waveforms
from keras_crsae.applications.spike_sorting.parameters import DEFAULTS, SortingParameters
from keras_crsae.applications.spike_sorting.templates import as_kernel
from keras_crsae.models.crsae import CRsAE
from keras_crsae.problem.rate_priors import GammaPrior


def held_out_gain(spikes: UnitSpikes, white: np.ndarray) -> float:
    """Log likelihood (nats a spike) that other templates could add on spikes they were not estimated from.

    Where a template t is off by e, every one of its spikes loses ||e||^2 / 2. The means of what two halves of a unit's
    spikes leave of the signal are both e plus independent noise, so half their product estimates that loss without
    bias. It is about 0 where the templates are the means of their spikes: then training has nothing to learn.

    Args:
        spikes: templates and their spikes, matched to the signal.
        white: (samples, channels), whitened.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting.matching import match_templates
        >>> from keras_crsae.applications.spike_sorting.training import held_out_gain
        >>> shape, signal = np.hanning(30)[None, :, None] * 4, np.zeros((4000, 1), np.float32)
        >>> for start in range(100, 3800, 200):
        ...     signal[start:start + 30] += shape[0]
        >>> round(held_out_gain(match_templates(signal, shape, 20), signal), 3)
        0.0
        >>> held_out_gain(match_templates(signal, 0.8 * np.roll(shape, 2, axis=1), 20), signal) > 0.5
        True
    """
    units = len(spikes.templates)
    # The spikes of a unit in turn: the first, third, ... are one half.
    half = np.zeros(len(spikes.unit_id), np.int64)
    for unit in range(units):
        half[np.flatnonzero(spikes.unit_id == unit)[1::2]] = 1
    group = 2 * spikes.unit_id + half
    sums = sum_waveforms(residual(white, spikes), spikes.start_sample, group, 2 * units, spikes.templates.shape[1])
    counts = np.bincount(group, minlength=2 * units)
    means = sums / np.maximum(counts, 1)[:, None, None]
    products = np.sum(means[::2] * means[1::2], axis=(1, 2))
    return 0.5 * float((counts[::2] + counts[1::2]) @ products) / max(1, len(group))


def train_model(templates: np.ndarray, white: np.ndarray, parameters: SortingParameters, seed: int,
                progress: Callable[[float], object], gain: float = math.inf) -> tuple[CRsAE, dict[str, list[float]]]:
    """A CRsAE trained by EM (``fit``) on the windows with the most energy, and its training curves.

    Args:
        templates: (units, kernel_size, channels), whitened.
        white: (samples, channels), whitened.
        parameters: model, windows and optimiser.
        seed: int.
        progress: called with the fraction of the steps that is done.
        gain: ``held_out_gain``; below ``minimum_training_gain_nats`` the model is not trained, nor where units times
            channels pass ``most_work_channels``, which multiply the cost, unless another number of epochs than the
            default was asked for.

    Returns:
        (model, Keras' ``History.history``, empty where the model was not trained: ``epochs`` is 0, the gain
        small, the probe too wide or the signal shorter than a window).
    """
    model = CRsAE(filters=len(templates), kernel_size=templates.shape[1], iterations=parameters.iterations, sigma=1.0,
                  lambda_init=parameters.initial_lambda, lambda_prior=GammaPrior(strength=parameters.prior_strength),
                  gradient="truncated", seed=seed)
    model.set_dictionary(as_kernel(templates))
    windows = training_windows(white, len(templates), parameters)
    epochs, batch_size = parameters.epochs, parameters.batch_size
    affordable = len(templates) * white.shape[1] <= parameters.most_work_channels
    promising = (gain >= parameters.minimum_training_gain_nats and affordable) or epochs != DEFAULTS.epochs
    if epochs == 0 or not len(windows) or not promising:
        return model, {}
    steps = epochs * -(-len(windows) // batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(parameters.learning_rate, steps)
    model.compile(optimizer=keras.optimizers.Adam(schedule))
    keras.utils.set_random_seed(seed)
    done = itertools.count(1)
    report = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: progress(next(done) / steps))
    history = model.fit(windows, epochs=epochs, batch_size=min(batch_size, len(windows)), verbose=0,
                        callbacks=[report])
    return model, {name: [float(v) for v in values] for name, values in history.history.items()}


def with_filters(model: CRsAE, kernel: np.ndarray, rates: Sequence[float]) -> CRsAE:
    """A model as the one given, with other filters (kernel_size, channels, filters) and their rates of the prior."""
    other = CRsAE.from_config({**model.get_config(), "filters": kernel.shape[2]})
    other.set_dictionary(kernel)
    other.sigma.assign(model.sigma)
    other.assign_rates(np.asarray(rates[:other.lambda_reg.shape[0]], "float32"))
    other.training_state.adapted.assign(model.training_state.adapted)
    return other


def training_windows(white: np.ndarray, num_units: int, parameters: SortingParameters) -> np.ndarray:
    """The windows with the most energy, (windows, window_samples, channels), in order of time.

    A window of a wide probe with many units costs more: the work is bounded, not only the number of windows.

    Example:
        >>> import numpy as np
        >>> from keras_crsae.applications.spike_sorting import SortingParameters
        >>> from keras_crsae.applications.spike_sorting.training import training_windows
        >>> training_windows(np.zeros((10_000, 4)), 3, SortingParameters(window_samples=1000)).shape
        (10, 1000, 4)
    """
    length = parameters.window_samples
    count = len(white) // length
    windows = white[:count * length].reshape(count, length, white.shape[1])
    energy = np.square(windows).mean(axis=(1, 2))
    fraction = min(1.0, parameters.full_work_channels / (num_units * white.shape[1]))
    most = max(2 * parameters.batch_size, round(parameters.maximum_windows * fraction))
    return windows[np.sort(np.argsort(-energy, kind="stable")[:most])]
