"""The whole thread on real and simulated input: fit, export, run in onnxruntime, score, draw."""

import sys
import time
import warnings
from pathlib import Path

import numpy as np
from crsae_onnx.core.atomic_files import atomic_write

from keras_crsae.applications.denoising.pipeline import denoise, split
from keras_crsae.data.images import gray_image, photographs, random_patches, unit_image
from keras_crsae.data.simulate import simulate_spikes, spike_templates
from keras_crsae.demo.scoring import detect_events, match_events
from keras_crsae.metrics import dictionary_error, match_filters, psnr

# Photographs that ship inside scikit-image, both CC0: filters are learned on one and used on the other.
LEARNED_ON, DENOISED = "coffee.png", "camera.png"
NOISE = 25 / 255
SAMPLING_FREQUENCY = 30_000
NOISE_MICROVOLTS = 10.0
TOLERANCE = SAMPLING_FREQUENCY // 2000  # 0.5 ms


def run(output="demo-output", seed=0):
    """Learn, export and use two models; print one table and write figures.

    (a) Filters of images: learned by EM on a noisy photograph, exported, used in onnxruntime on another one.
    (b) Spike templates: learned from random windows of a simulated recording with three units, exported;
    spikes of a second recording are read off the codes that onnxruntime gives, and scored against the truth.

    Args:
        output: folder for figures and models, made if missing; files of an earlier demo there are replaced.
        seed: of noise, simulation and training.

    Returns:
        A list of rows (what, measure, before, after), as printed.

    Raises:
        ModuleNotFoundError: an extra is missing (needed: export, runtime-cpu, plots, images).

    Example:
        >>> rows = run("demo-output")
    """
    import keras

    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(seed)
    rows = [*_photograph(folder, seed), *_recording(folder, seed)]
    print(_table(rows))
    print(f"Figures and models: {folder}/")
    return rows


def _say(text):
    print(f"demo: {text} ...", file=sys.stderr, flush=True)


# (a) A photograph


def shipped_photograph(name):
    """A photograph of the installed scikit-image, grey, float32 (height, width, 1) in [0, 1]; nothing is downloaded."""
    return gray_image(unit_image(photographs([name])[0]))


def _photograph(folder, seed):
    from skimage.restoration import denoise_tv_chambolle

    from keras_crsae import plots

    rng = np.random.default_rng(seed)
    study, clean = shipped_photograph(LEARNED_ON), shipped_photograph(DENOISED)
    noisy_study, noisy = (p + NOISE * rng.standard_normal(p.shape).astype("float32") for p in (study, clean))
    _say(f"learning image filters on a noisy {LEARNED_ON}")
    started = time.perf_counter()
    model, first = learn_image_filters(noisy_study, rng, seed)
    learning = time.perf_counter() - started
    _say(f"exporting them and denoising {DENOISED} in onnxruntime")
    encoder, difference, exporting = _export(model, folder / "image_filters.onnx", [(1, 37, 50, 1), (2, 64, 41, 1)])
    started = time.perf_counter()
    denoised = denoise(noisy, encoder, sigma=NOISE)
    using = time.perf_counter() - started
    in_keras = denoise(noisy, model, sigma=NOISE)
    difference = max(difference, float(np.abs(in_keras - denoised).max() / np.abs(in_keras).max()))
    learned = np.asarray(model.dictionary.kernel)
    model.set_dictionary(first)
    unlearned = psnr(clean, denoise(noisy, model, sigma=NOISE))
    variation = psnr(clean, denoise_tv_chambolle(noisy[..., 0].astype(float), weight=0.14)[..., None])

    # Most used first: codes of the photograph that was learned on.
    use = np.abs(encoder.encode(split(noisy_study[None])[1])).sum(axis=(0, 1, 2))
    order = np.argsort(-use)
    _put(folder / "image_filters_before.png", plots.plot_filters(
        first[..., order], title="Before learning: random windows of the noisy photograph"))
    _put(folder / "image_filters.png", plots.plot_filters(
        learned[..., order], title=f"Learned by EM on the noisy {LEARNED_ON}, most used first"))
    _put(folder / "denoised.png", plots.plot_denoising(clean, noisy, denoised, zoom=(90, 190, 128), title=(
        f"{DENOISED}, noise of 25 grey levels, denoised in onnxruntime (filters from {LEARNED_ON})")))
    return [
        (f"denoise {DENOISED}", "PSNR (dB), noise of 25 grey levels", psnr(clean, noisy), psnr(clean, denoised)),
        ("", "  the same, filters before learning", psnr(clean, noisy), unlearned),
        ("", "  for comparison: total variation", psnr(clean, noisy), variation),
        ("", "largest difference Keras - onnxruntime", None, f"{difference:.1e}"),
        ("", "seconds: learn | export | denoise", None, f"{learning:.1f} | {exporting:.1f} | {using:.1f}"),
    ]


def learn_image_filters(noisy, rng, seed, epochs=5, patches=64):
    """A model of 36 filters of 8 x 8 learned on one noisy image, and the filters that it began with.

    Args:
        noisy: (height, width, 1) in units of [0, 1], with noise of standard deviation NOISE.
        rng: ``np.random.Generator`` of the patches.
        seed: of the first filters.
        epochs, patches: how long; the defaults take under a minute on two cores.
    """
    import keras

    from keras_crsae.models.crsae import CRsAE

    data = random_patches([split(noisy[None])[1][0]], (64, 64), patches, rng)
    # Lambda starts at 1.2 / sigma, low enough for all filters to take part; EM raises it as they find structure.
    model = CRsAE(filters=36, kernel_size=8, strides=2, rank=2, iterations=15, shrinkage="soft", sigma=NOISE,
                  lambda_init=1.2 / NOISE, lambda_learning="em_closed_form", gradient="decoder", seed=seed)
    model.adapt(data, filters="windows")
    first = np.array(model.dictionary.kernel)
    batch = 4
    rate = keras.optimizers.schedules.CosineDecay(2e-2, max(1, epochs * patches // batch))
    model.compile(keras.optimizers.Adam(rate))
    model.fit(data, epochs=epochs, batch_size=batch, verbose=0)
    return model, first


# (b) A recording


def _recording(folder, seed):
    from keras_crsae import plots

    templates = spike_templates(45, 3)
    study, test = (_simulate(templates, seconds, number) for seconds, number in ((20, 2 * seed), (10, 2 * seed + 1)))
    _say("learning spike templates from random windows of a simulated recording")
    started = time.perf_counter()
    model, first = learn_templates(study.signal, seed)
    learning = time.perf_counter() - started
    learned = np.asarray(model.dictionary.kernel)
    _say("exporting them and detecting spikes of a second recording in onnxruntime")
    encoder, difference, exporting = _export(model, folder / "spike_templates.onnx", [(1, 501, 1), (3, 1024, 1)])
    started = time.perf_counter()
    code = encoder.encode(test.signal)[0]
    using = time.perf_counter() - started
    reference = model.encode(test.signal)[0]
    difference = max(difference, float(np.abs(code - reference).max() / np.abs(reference).max()))
    match = match_filters(templates, learned)
    precision, recall = _score(test, code, match, float(model.sigma))
    model.set_dictionary(first)
    first_scores = _score(test, model.encode(test.signal)[0], match_filters(templates, first), float(model.sigma))
    model.set_dictionary(learned)

    _put(folder / "spike_templates.png", plots.plot_templates(
        templates, learned, first, SAMPLING_FREQUENCY,
        title="Spike templates learned from random windows, over the true ones"))
    _draw_code(folder / "spike_code.png", plots, test, code[:, match.learned], match.lags[:, 0],
               model.decode(code[None])[0])
    return [
        ("sort three units", "template error, mean of three", dictionary_error(templates, first).mean(),
         dictionary_error(templates, learned).mean()),
        ("", "spike precision at 0.5 ms", first_scores[0], precision),
        ("", "spike recall at 0.5 ms", first_scores[1], recall),
        ("", "largest difference Keras - onnxruntime", None, f"{difference:.1e}"),
        ("", "seconds: learn | export | encode 10 s", None, f"{learning:.1f} | {exporting:.1f} | {using:.1f}"),
    ]


def _simulate(templates, seconds, seed):
    """A recording in microvolts, one window: three units of 15 spikes a second each."""
    return simulate_spikes(templates, windows=1, samples=seconds * SAMPLING_FREQUENCY, events_per_window=15 * seconds,
                           amplitude=(150.0, 15.0), sigma=NOISE_MICROVOLTS, seed=seed)


def _score(test, code, match, sigma):
    """Precision and recall of the spikes in a code, each unit against its own filter, all units together."""
    # lambda has thresholded the code already; below one sigma lie only the leavings of overlaps.
    found = detect_events(code, least=sigma, gap=TOLERANCE)
    counts = np.zeros(3, int)
    for unit, own, lag in zip(match.true, match.learned, match.lags[:, 0], strict=True):
        # A learned template may sit elsewhere in its kernel than the true one: the lag between them is put back.
        counts += match_events(np.flatnonzero(test.code[0, :, unit]), found[own] - lag, TOLERANCE)
    hits, misses, false = counts
    return hits / max(hits + false, 1), hits / max(hits + misses, 1)


def learn_templates(recording, seed, starts=4, epochs=8, window=3000):
    """A model of three templates of 1.5 ms learned on a recording, and the filters that it began with.

    A few short runs from different random windows, then a long one from the best: two of three windows may
    show the same unit, which the reconstruction loss tells.

    Args:
        recording: (1, samples, 1).
        seed: of the first filters.
        starts: short runs.
        epochs: of the long run.
        window: samples of a training window.
    """
    import keras

    from keras_crsae.models.crsae import CRsAE
    from keras_crsae.training.callbacks import RecentreFilters

    count = recording.shape[1] // window
    data, batch = recording[:, :count * window].reshape(count, window, 1), 8
    best = None
    for start in range(starts):
        model = CRsAE(filters=3, kernel_size=45, iterations=40, sigma="estimate", lambda_learning="em_closed_form",
                      gradient="decoder", seed=1000 * seed + start)
        model.adapt(data, filters="windows")
        first = np.array(model.dictionary.kernel)
        model.compile(keras.optimizers.Adam(2e-2))
        with warnings.catch_warnings():
            # That lambda ran against its ceiling says that these windows were bad ones; the loss says so too.
            warnings.filterwarnings("ignore", message="lambda was held", category=UserWarning)
            history = model.fit(data[:max(1, count // 2)], epochs=2, batch_size=batch, verbose=0,
                                callbacks=[RecentreFilters()]).history
        if best is None or history["loss"][-1] < best[0]:
            best = history["loss"][-1], model, first
    _, model, first = best
    rate = keras.optimizers.schedules.CosineDecay(2e-2, max(1, epochs * count // batch))
    model.compile(keras.optimizers.Adam(rate))
    model.fit(data, epochs=epochs, batch_size=batch, verbose=0, callbacks=[RecentreFilters(until=epochs // 2)])
    return model, first


def _draw_code(path, plots, test, code, lags, reconstruction):
    """The 40 ms of the first five seconds in which all units are busiest, each spike at its unit's trough."""
    length = SAMPLING_FREQUENCY // 25
    troughs = np.abs(test.filters[:, 0]).argmax(axis=0)
    truth = [np.flatnonzero(test.code[0, :, c]) + troughs[c] for c in range(test.code.shape[-1])]
    starts = np.arange(0, 5 * SAMPLING_FREQUENCY, length // 5)
    counts = np.array([[np.sum((t > s + 60) & (t < s + length - 120)) for t in truth] for s in starts])
    start = starts[np.lexsort((counts.sum(axis=1), counts.min(axis=1)))[-1]]
    chosen = slice(start, start + length)
    _put(path, plots.plot_code(
        code[start:start + length - 44], test.signal[0, chosen, 0], reconstruction[chosen, 0],
        events=[t[(t >= start) & (t < start + length - 44)] for t in truth], offsets=troughs - lags, start=start,
        sampling_frequency=SAMPLING_FREQUENCY, unit="microvolts", row="unit",
        title="A recording that was not learned from: code from onnxruntime (stems, at the spikes' troughs) and truth"))


# Both


def _put(path, figure):
    """A figure's file, whole at every moment."""
    with atomic_write(path, overwrite=True) as temporary:
        figure.savefig(temporary, dpi=120)


def _export(model, path, shapes):
    """(encoder in onnxruntime, largest relative difference to Keras on random signals, seconds of conversion)."""
    from crsae_onnx import SparseEncoder
    from crsae_onnx.convert import convert
    from crsae_onnx.validate import validate

    started = time.perf_counter()
    convert(model, path, overwrite=True)
    seconds = time.perf_counter() - started
    report = validate(model, path, shapes=shapes)
    return SparseEncoder(path), max(row["difference"] for row in report), seconds


def _table(rows):
    def text(value):
        return "" if value is None else value if isinstance(value, str) else f"{value:.3f}"

    lines = [("what", "measure", "before", "after"), *((what, name, text(a), text(b)) for what, name, a, b in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(4)]
    made = [f"{a:{widths[0]}}  {b:{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}".rstrip() for a, b, c, d in lines]
    rule = "-" * max(len(line) for line in made)
    return "\n".join([rule, made[0], rule, *made[1:], rule])
