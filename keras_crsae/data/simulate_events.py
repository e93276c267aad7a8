"""Spike trains of trials whose rate rises at events, with their truth (NumPy, seeded)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from crsae_onnx.core.validation import as_positive, as_positive_int
from numpy.typing import ArrayLike

#: Fields of a table of events: the time is that at which the kernel starts, in ms of the trial; the amplitude is the
#: largest change of eta (log odds or log rate) that the event causes.
EVENT_FIELDS = np.dtype([("trial", np.int64), ("neuron", np.int64), ("time_ms", np.float64), ("kernel", np.int64),
                         ("amplitude", np.float64)])


@dataclass(frozen=True)
class EventSimulation:
    """Spikes of trials with their truth.

    Attributes:
        spikes: (trials, samples, neurons) uint8 of 0 and 1.
        kernels: (kernel samples, kernels), the largest magnitude of each is 1.
        events: structured array with the fields ``trial``, ``neuron``, ``time_ms``, ``kernel``, ``amplitude``.
        rates_hz: (trials, samples, neurons), the true rates.
        sample_ms: length of a sample.
    """

    spikes: np.ndarray
    kernels: np.ndarray
    events: np.ndarray
    rates_hz: np.ndarray
    sample_ms: float

    def onsets(self, trial: int, neuron: int = 0, kernel: int = 0) -> np.ndarray:
        """Times of the events of one trial, neuron and kernel, in ms."""
        chosen = (self.events["trial"] == trial) & (self.events["neuron"] == neuron) & (self.events["kernel"] == kernel)
        return self.events["time_ms"][chosen]


def response_kernels(samples: int = 125, kernels: int = 1) -> np.ndarray:
    """Smooth time courses of a neuron's response, (samples, kernels), the largest magnitude of each 1.

    The first rises fast and decays slowly, as the response to a deflected whisker; the second answers twice, as to the
    begin and the end of a stimulus; the third dips before it rises; further ones are later versions of these.

    Args:
        samples: length.
        kernels: number.

    Example:
        >>> from keras_crsae.data import response_kernels
        >>> response_kernels(25, 2).shape
        (25, 2)
    """
    samples, kernels = as_positive_int(samples, "samples"), as_positive_int(kernels, "kernels")
    time = (np.arange(samples) + 0.5) / samples
    taper = np.minimum(1.0, (1 - time) / 0.25)
    made = []
    for index in range(kernels):
        late = 0.12 * (index // 3)
        if index % 3 == 0:
            t = np.maximum(time - late, 0) / 0.18
            shape = t * np.exp(1 - t)
        elif index % 3 == 1:
            shape = np.exp(-0.5 * ((time - 0.2 - late) / 0.08) ** 2) \
                + 0.9 * np.exp(-0.5 * ((time - 0.72 - late) / 0.1) ** 2)
        else:
            shape = np.exp(-0.5 * ((time - 0.65 - late) / 0.13) ** 2) \
                - 0.6 * np.exp(-0.5 * ((time - 0.28 - late) / 0.12) ** 2)
        made.append(shape * taper / np.abs(shape * taper).max())
    return np.stack(made, axis=1)


def simulate_neural_events(trials: int = 50, duration_ms: float = 3000.0, neurons: int = 1,
                           kernels: ArrayLike | int = 1, kernel_ms: float = 125.0,
                           onsets_ms: ArrayLike | None = None, events_per_trial: int = 5,
                           gap_ms: Sequence[float] | None = None, amplitude: tuple[float, float] = (5.0, 0.7),
                           baseline_hz: ArrayLike = 8.0, sample_ms: float = 1.0, seed: int = 0) -> EventSimulation:
    """Bernoulli spikes with log odds = baseline + sum of kernels at events, one draw a sample.

    A whisker experiment is ``onsets_ms=500 + 125 * np.arange(16)``, ``neurons=10``: every trial has its events at the
    same times, of varying amplitude. Without ``onsets_ms`` times are random in every trial, neuron and kernel; with
    ``gap_ms`` below ``kernel_ms`` events overlap.

    Args:
        trials, duration_ms, neurons: size.
        kernels: (samples, kernels) time courses, or the number of ``response_kernels``.
        kernel_ms: length of those, where a number is given.
        onsets_ms: times of events in every trial, of the first kernel, the second and so on in turn; None: random.
        events_per_trial: of each kernel and neuron, where times are random.
        gap_ms: (least, most) time between an event and the next of a kernel, uniform; None: times are uniform over the
            trial, at least half a kernel apart.
        amplitude: mean and standard deviation of the largest change of the log odds; at least a third of the mean.
        baseline_hz: rate without events, a number or one a neuron.
        sample_ms: length of a sample.
        seed: int.

    Returns:
        EventSimulation.

    Raises:
        ValueError: events that do not fit into a trial, or a baseline of one spike a sample or more.

    Example:
        >>> from keras_crsae.data import simulate_neural_events
        >>> data = simulate_neural_events(trials=4, duration_ms=1000, events_per_trial=3, seed=1)
        >>> data.spikes.shape, len(data.events)
        ((4, 1000, 1), 12)
    """
    rng, sample_ms = np.random.default_rng(seed), as_positive(sample_ms, "sample_ms")
    trials, neurons = as_positive_int(trials, "trials"), as_positive_int(neurons, "neurons")
    samples = round(as_positive(duration_ms, "duration_ms") / sample_ms)
    if np.ndim(kernels) == 0:
        kernels = response_kernels(round(kernel_ms / sample_ms), as_positive_int(kernels, "kernels"))
    shapes = np.asarray(kernels, float)
    if shapes.ndim != 2 or not np.isfinite(shapes).all() or not np.abs(shapes).max(axis=0, initial=0).all():
        raise ValueError("`kernels` must be a number, or finite time courses of shape (samples, kernels), none of them "
                         f"zero. Received: shape {shapes.shape}")
    shapes = shapes / np.abs(shapes).max(axis=0)
    base = np.broadcast_to(np.asarray(baseline_hz, float), (neurons,)) * sample_ms / 1000
    if not ((base > 0) & (base < 1)).all():
        raise ValueError("`baseline_hz` must be above 0 and below one spike a sample, a number or one a neuron. "
                         f"Received: baseline_hz={baseline_hz!r}, sample_ms={sample_ms}")
    last = samples - len(shapes)
    rows = []
    for trial in range(trials):
        for neuron in range(neurons):
            for kernel in range(shapes.shape[1]):
                if onsets_ms is None:
                    times = _random_times(rng, events_per_trial, last * sample_ms, len(shapes) * sample_ms, gap_ms)
                else:
                    times = np.asarray(onsets_ms, float).ravel()[kernel::shapes.shape[1]]
                if len(times) and not 0 <= times.min() <= times.max() <= last * sample_ms:
                    raise ValueError(f"Events from {times.min():.6g} to {times.max():.6g} ms, with kernels of "
                                     f"{len(shapes) * sample_ms:g} ms, do not fit into trials of "
                                     f"{samples * sample_ms:g} ms. Ask for longer trials, or fewer or closer events.")
                for time in np.round(times / sample_ms) * sample_ms:
                    rows.append((trial, neuron, time, kernel, max(rng.normal(*amplitude), amplitude[0] / 3)))
    events = np.array(rows, EVENT_FIELDS)
    eta = np.tile(np.log(base / (1 - base)), (trials, samples, 1))
    for event in events:
        first = round(event["time_ms"] / sample_ms)
        eta[event["trial"], first:first + len(shapes), event["neuron"]] += event["amplitude"] * shapes[
            :, event["kernel"]]
    probability = 1 / (1 + np.exp(-eta))
    spikes = (rng.random(eta.shape) < probability).astype(np.uint8)
    return EventSimulation(spikes, shapes, events, probability * 1000 / sample_ms, sample_ms)


def _random_times(rng: np.random.Generator, count: int, last_ms: float, kernel_ms: float,
                  gap_ms: Sequence[float] | None) -> np.ndarray:
    """Times of ``count`` events in [0, last_ms], at random gaps, or uniform and at least half a kernel apart."""
    if gap_ms is not None:
        gaps = np.cumsum(np.concatenate([[0.0], rng.uniform(*gap_ms, size=max(count - 1, 0))]))[:count]
        return rng.uniform(0, max(last_ms - gaps[-1], 0)) + gaps if count else gaps
    room = last_ms - 0.5 * kernel_ms * (count - 1)
    return np.sort(rng.uniform(0, max(room, 0), count)) + 0.5 * kernel_ms * np.arange(count)
