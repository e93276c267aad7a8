"""The demo's second part: spike templates learned from random windows of a recording find the spikes of another."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import keras
import numpy as np

from keras_crsae import plots
from keras_crsae.data.simulate import Simulation, simulate_spikes, spike_templates
from keras_crsae.demo.outputs import Row, export_model, save_figure, say
from keras_crsae.demo.scoring import detect_events, match_events
from keras_crsae.metrics import FilterMatch, dictionary_error, match_filters
from keras_crsae.models.crsae import CRsAE
from keras_crsae.training.callbacks import RecentreFilters

SAMPLING_FREQUENCY_HZ = 30_000
NOISE_MICROVOLTS = 10.0
#: Largest distance of a found spike from a true one: 0.5 ms.
TOLERANCE_SAMPLES = SAMPLING_FREQUENCY_HZ // 2000
KERNEL_SAMPLES, UNITS = 45, 3
_BATCH = 8
#: Samples before and after a shown stretch in which no spike is counted, so that whole spikes are seen.
_LEAD, _TAIL = 60, 120


def sort_recording(folder: Path, seed: int) -> list[Row]:
    """Learn, export, detect, score and draw; rows of the demo's table.

    Args:
        folder: for ``spike_templates.onnx`` and two figures.
        seed: of the recordings and first filters.
    """
    templates = spike_templates(KERNEL_SAMPLES, UNITS)
    study, test = (_simulate(templates, seconds, number) for seconds, number in ((20, 2 * seed), (10, 2 * seed + 1)))
    say("learning spike templates from random windows of a simulated recording")
    started = time.perf_counter()
    model, first = learn_templates(study.signal, seed)
    learning = time.perf_counter() - started
    learned = np.asarray(model.dictionary.kernel)
    say("exporting them and detecting spikes of a second recording in onnxruntime")
    encoder, difference, exporting = export_model(model, folder / "spike_templates.onnx", [(1, 501, 1), (3, 1024, 1)])
    started = time.perf_counter()
    code = encoder.encode(test.signal)[0]
    using = time.perf_counter() - started
    reference = model.encode(test.signal)[0]
    difference = max(difference, float(np.abs(code - reference).max() / np.abs(reference).max()))
    match = match_filters(templates, learned)
    precision, recall = score(test, code, match, float(model.sigma))
    model.set_dictionary(first)
    first_scores = score(test, model.encode(test.signal)[0], match_filters(templates, first), float(model.sigma))
    model.set_dictionary(learned)
    save_figure(folder / "spike_templates.png", plots.plot_templates(
        templates, learned, first, SAMPLING_FREQUENCY_HZ,
        title="Spike templates learned from random windows, over the true ones"))
    _draw_code(folder / "spike_code.png", test, code[:, match.learned], match.lags[:, 0], model.decode(code[None])[0])
    return [
        ("sort three units", "template error, mean of three", dictionary_error(templates, first).mean(),
         dictionary_error(templates, learned).mean()),
        ("", "spike precision at 0.5 ms", first_scores[0], precision),
        ("", "spike recall at 0.5 ms", first_scores[1], recall),
        ("", "largest difference Keras - onnxruntime", None, f"{difference:.1e}"),
        ("", "seconds: learn | export | encode 10 s", None, f"{learning:.1f} | {exporting:.1f} | {using:.1f}"),
    ]


def _simulate(templates: np.ndarray, seconds: int, seed: int) -> Simulation:
    """A recording in microvolts, one window: three units of 15 spikes a second each."""
    return simulate_spikes(templates, windows=1, samples=seconds * SAMPLING_FREQUENCY_HZ,
                           events_per_window=15 * seconds, amplitude=(150.0, 15.0), sigma=NOISE_MICROVOLTS, seed=seed)


def score(test: Simulation, code: np.ndarray, match: FilterMatch, sigma: float) -> tuple[float, float]:
    """Precision and recall of the spikes in a code, each unit against its own filter, all units together.

    Args:
        test: the recording with its true code.
        code: (positions, filters).
        match: of true and learned filters.
        sigma: noise standard deviation; codes below it are what overlaps leave.
    """
    found = detect_events(code, min_amplitude=sigma, min_gap=TOLERANCE_SAMPLES)
    counts = np.zeros(3, int)
    for unit, filter_index, lag in zip(match.true, match.learned, match.lags[:, 0], strict=True):
        # A learned template may sit elsewhere in its kernel than the true one: the lag between them is put back.
        counts += match_events(np.flatnonzero(test.code[0, :, unit]), found[filter_index] - lag, TOLERANCE_SAMPLES)
    hits, misses, false_alarms = counts
    return hits / max(hits + false_alarms, 1), hits / max(hits + misses, 1)


def learn_templates(recording: np.ndarray, seed: int, starts: int = 4, epochs: int = 8, window: int = 3000
                    ) -> tuple[CRsAE, np.ndarray]:
    """A model of three templates of 1.5 ms learned on a recording, and the filters that it began with.

    A few short runs from different random windows, then a long one from the best: two of three windows may
    show the same unit, which leaves a larger reconstruction loss.

    Args:
        recording: (1, samples, 1).
        seed: of the first filters.
        starts: short runs.
        epochs: of the long run.
        window: samples of a training window.
    """
    count = recording.shape[1] // window
    data = recording[:, :count * window].reshape(count, window, 1)
    runs = [_short_run(data, 1000 * seed + start) for start in range(starts)]
    _, model, first = min(runs, key=lambda run: run[0])
    rate = keras.optimizers.schedules.CosineDecay(2e-2, max(1, epochs * count // _BATCH))
    model.compile(keras.optimizers.Adam(rate))
    model.fit(data, epochs=epochs, batch_size=_BATCH, verbose=0, callbacks=[RecentreFilters(until=epochs // 2)])
    return model, first


def _short_run(data: np.ndarray, seed: int) -> tuple[float, CRsAE, np.ndarray]:
    """(loss, model, first filters) after two epochs on half of the windows."""
    model = CRsAE(filters=UNITS, kernel_size=KERNEL_SAMPLES, iterations=40, sigma="estimate",
                  lambda_learning="em_closed_form", gradient="decoder", seed=seed)
    model.adapt(data, init="windows")
    first = np.array(model.dictionary.kernel)
    model.compile(keras.optimizers.Adam(2e-2))
    with warnings.catch_warnings():
        # A lambda that reaches its ceiling means that these windows were bad ones; the loss shows that, too.
        warnings.filterwarnings("ignore", message="lambda was held", category=UserWarning)
        history = model.fit(data[:max(1, len(data) // 2)], epochs=2, batch_size=_BATCH, verbose=0,
                            callbacks=[RecentreFilters()]).history
    return history["loss"][-1], model, first


def _draw_code(path: Path, test: Simulation, code: np.ndarray, lags: np.ndarray, reconstruction: np.ndarray) -> None:
    """The 40 ms of the first five seconds in which all units are busiest, each spike at its unit's trough."""
    length = SAMPLING_FREQUENCY_HZ // 25
    troughs = np.abs(test.filters[:, 0]).argmax(axis=0)
    truth = [np.flatnonzero(test.code[0, :, c]) + troughs[c] for c in range(test.code.shape[-1])]
    start = _busiest(truth, length)
    shown = slice(start, start + length)
    positions = length - (KERNEL_SAMPLES - 1)
    save_figure(path, plots.plot_code(
        code[start:start + positions], test.signal[0, shown, 0], reconstruction[shown, 0],
        events=[t[(t >= start) & (t < start + positions)] for t in truth], offsets=troughs - lags, start=start,
        sampling_frequency=SAMPLING_FREQUENCY_HZ, unit="microvolts", row="unit",
        title="A recording that was not learned from: code from onnxruntime (stems, at the spikes' troughs) and truth"))


def _busiest(truth: list[np.ndarray], length: int) -> int:
    """First sample of the stretch in which the quietest unit has the most spikes, then all units together."""
    starts = np.arange(0, 5 * SAMPLING_FREQUENCY_HZ, length // 5)
    counts = np.array([[np.sum((t > s + _LEAD) & (t < s + length - _TAIL)) for t in truth] for s in starts])
    return int(starts[np.lexsort((counts.sum(axis=1), counts.min(axis=1)))[-1]])
