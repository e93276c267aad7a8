"""Spike sorting: templates and spike times from an extracellular recording."""

import math
from dataclasses import dataclass, field

import numpy as np
from crsae_onnx.core.signals import robust_std
from crsae_onnx.core.spikes.detector import SpikeReader
from crsae_onnx.core.spikes.whitening import Whitening
from crsae_onnx.core.validation import as_int, as_positive, as_positive_int

from keras_crsae.applications.spike_sorting import templates as found_in
from keras_crsae.applications.spike_sorting.discovery import SMALLEST, discover
from keras_crsae.applications.spike_sorting.noise import band_pass, channel_noise, fit_whitening
from keras_crsae.applications.spike_sorting.recording import as_recording, inspect, learning_stretches

#: Seconds of recording that sorting needs.
SHORTEST = 1.0
#: Seconds of a template before and after its extremum.
BEFORE, AFTER = 0.0007, 0.0015
#: Rate of the prior on the code at noise 1, and how many positions that prior weighs.
LAMBDA, STRENGTH = 3.0, 3.0
#: Samples of a training window; windows at most; epochs; batch.
WINDOW, WINDOWS, EPOCHS, BATCH = 2048, 192, 3, 16
#: Filters times channels from which fewer windows are trained on.
WORK = 24
#: Bounds of a unit's amplitude spread (a wide one lets a unit take its neighbours' spikes, which widens it further),
#: and of its cost in nats.
SPREAD, COST = (0.05, 0.1), (5.0, 9.0)
#: Rounds of matching and averaging after training, and how many of them, the last, match thoroughly.
_CLOSING, _THOROUGH = 8, 2


class NoSpikesError(ValueError):
    """The recording holds no waveforms that repeat above its noise."""


@dataclass
class SpikeSortingResult:
    """What ``sort`` found."""

    spike_samples: np.ndarray  #: int64, samples of the extremum of largest magnitude on the unit's best channel
    spike_units: np.ndarray  #: int64, rows of ``templates``
    spike_amplitudes: np.ndarray  #: float32, that extremum in the recording's unit; negative for troughs
    templates: np.ndarray  #: float32 (units, time, channels), in the recording's unit
    nbefore: int  #: samples of a template before its extremum
    sampling_frequency: float  #: Hz
    model: object  #: CRsAE, of whitened signals
    reader: SpikeReader  #: what reads spikes off a recording with ``model.encode`` or an exported encoder
    settings: dict  #: the arguments of ``sort`` as resolved
    messages: list = field(default_factory=list)  #: what was dropped, missing or odd, in sentences
    history: dict = field(default_factory=dict)  #: training curves, as Keras' History.history
    channel_locations: np.ndarray | None = None  #: (channels, 2), micrometres
    recording_samples: int = 0  #: length of the recording sorted
    noise: np.ndarray | None = None  #: (channels,), robust noise standard deviation in the recording's unit

    @property
    def units(self):
        return len(self.templates)

    @property
    def sorting(self):
        """SpikeInterface ``NumpySorting``, with the units' properties (extra: ``spikes``)."""
        from keras_crsae.applications.spikeinterface.convert import as_sorting

        return as_sorting(self)

    def save(self, folder, overwrite=False):
        """Write a folder that ``spike_files.load_result`` reads; see ``spike_files.save_result``."""
        from keras_crsae.applications.spike_sorting.persistence import save_result

        return save_result(self, folder, overwrite)

    def __repr__(self):
        rate = len(self.spike_samples) / max(self.recording_samples / self.sampling_frequency, 1e-9)
        return f"SpikeSortingResult({self.units} units, {len(self.spike_samples)} spikes, {rate:.1f} a second)"


def sort(recording, sampling_frequency=None, units=None, *, band=None, common_reference=False,
         channel_locations=None, iterations=40, epochs=EPOCHS, learning_seconds=120.0, seed=0, progress=None):
    """Sort the spikes of a recording.

    The noise is estimated and whitened over time and channels; waveforms are detected, clustered, split and merged
    into units; a ``CRsAE`` starts from their templates and is trained by EM (``fit``) on active windows; the whole
    recording is encoded frame by frame, in constant memory; the code's local maxima are refined into spikes
    (``crsae_onnx.core.spikes.template_matching``).

    Args:
        recording: (samples, channels) or (samples,), any real dtype: an array, memmap, or any object with ``shape``
            and time slices; or a SpikeInterface recording. NaN samples mark gaps.
        sampling_frequency: Hz; None: the SpikeInterface recording's.
        units: None, found from the data; or a number: the most distinct so many units are kept.
        band: (low, high) in Hz of a band-pass filter applied first, e.g. (300, 6000) for raw recordings; None: none.
        common_reference: subtract the median over channels first.
        channel_locations: (channels, 2), micrometres, for reports; None: the SpikeInterface recording's.
        iterations: FISTA iterations of the encoder.
        epochs: of training over the active windows; 0 keeps the clustered templates.
        learning_seconds: at most so much of the recording is used to learn, its active stretches first.
        seed: int; the same seed and machine give the same result.
        progress: None or ``callable(step, share)``: a step's name and the share of it that is done.

    Returns:
        ``SpikeSortingResult``.

    Raises:
        ValueError: unfit recording or option, told before work starts.
        NoSpikesError: no unit stands out of the noise.

    Example:
        >>> result = sort(recording, sampling_frequency=10000, seed=0)       # (samples, channels)
        >>> spikes_of_unit_0 = result.spike_samples[result.spike_units == 0]
    """
    tell = progress or (lambda step, share: None)
    traces, frequency, locations = as_recording(recording, sampling_frequency, channel_locations)
    _check(traces, frequency, units, iterations, epochs, learning_seconds)
    taps = None if band is None else band_pass(*band, frequency)
    settings = {"units": units, "band": None if band is None else [float(b) for b in band],
                "common_reference": bool(common_reference), "iterations": int(iterations), "epochs": int(epochs),
                "learning_seconds": float(learning_seconds), "seed": int(seed)}
    tell("look at the recording", 0.0)
    stretches = learning_stretches(traces, round(learning_seconds * frequency), round(frequency))
    offset, messages = inspect(traces, stretches)
    plain = Whitening(np.ones((1, traces.shape[1])) if taps is None else np.repeat(taps[:, None], traces.shape[1], 1),
                      np.eye(traces.shape[1]), offset, 0 if taps is None else len(taps) // 2, common_reference)
    signal = np.concatenate([plain(traces, low, high) for low, high in stretches])
    whitening = fit_whitening(signal, frequency, offset=offset, band=taps, common_reference=common_reference)
    white = np.concatenate([whitening(traces, low, high) for low, high in stretches])
    before = max(2, round(BEFORE * frequency))
    shown = before + max(4, round(AFTER * frequency))
    size = shown + len(whitening.taps) - (1 if taps is None else len(taps))
    refractory = max(1, round(0.001 * frequency))

    tell("find units", 0.0)
    templates, dropped = discover(signal, white, frequency, size, before, seed=seed, refractory=refractory,
                                  tell=lambda text: tell(f"find units, {text}", 0.5))
    messages += dropped
    if not len(templates):
        raise NoSpikesError("No repeating waveform stands out of the noise: extrema must pass "
                            f"{found_in.DETECT:g} noise standard deviations, at least {found_in.FEWEST} times, and "
                            f"whitened waveforms {SMALLEST:g}. Look at the recording's unit and band, use a "
                            "longer stretch, or filter it: band=(300, 6000).")
    templates, said = _limited(templates, units, white, refractory)
    messages += said

    tell("train", 0.0)
    model, history = _train(templates, white, iterations, epochs, seed, tell)
    templates = np.moveaxis(model.dictionary.kernel.numpy(), -1, 0) * found_in.norms(templates)[:, None, None]
    found, templates, spread, cost = _refined(templates, white, refractory, tell)
    reader = _reader(found, templates, spread, cost, signal, whitening, frequency, refractory, shown)
    model.set_dictionary(reader.kernel)

    spikes = reader.find(model.encode, traces, lambda done, total: tell("read spikes", done / total))
    shapes = _mean_waveforms(traces, plain, spikes, reader.kernel.shape[2], before, shown)
    return SpikeSortingResult(*spikes, shapes, before, frequency, model, reader, settings, messages, history, locations,
                              traces.shape[0], channel_noise(signal))


def _check(traces, frequency, units, iterations, epochs, learning_seconds):
    if traces.shape[0] < SHORTEST * frequency:
        raise ValueError(f"The recording has {traces.shape[0]} samples, {traces.shape[0] / frequency:.3g} s at "
                         f"{frequency:g} Hz. Sorting needs at least {SHORTEST:g} s; spikes must repeat to be learned.")
    if units is not None:
        as_positive_int(units, "units")
    as_positive_int(iterations, "iterations")
    as_int(epochs, "epochs", minimum=0)
    as_positive(learning_seconds, "learning_seconds")


def _limited(templates, units, white, refractory):
    """At most ``units`` templates; those with the most energy in the recording stay."""
    if units is None or len(templates) == units:
        return templates, []
    if len(templates) < units:
        return templates, [f"{units} units were asked for; the recording holds {len(templates)} that can be told from "
                           "each other and from noise."]
    found = found_in.match(white, templates, refractory)
    energy = np.bincount(found.unit, minlength=len(templates)) * np.square(found_in.norms(templates))
    keep = np.sort(np.argsort(-energy, kind="stable")[:units])
    return templates[keep], [f"{len(templates)} units were found and {units} asked for: those with the least energy "
                             "(spikes times squared norm) were dropped."]


def _train(templates, white, iterations, epochs, seed, tell):
    """A CRsAE that starts from templates, trained on the windows where spikes are, and its History.history."""
    import keras

    from keras_crsae.models.crsae import CRsAE
    from keras_crsae.problem.rate_priors import GammaPrior

    model = CRsAE(filters=len(templates), kernel_size=templates.shape[1], iterations=iterations, sigma=1.0,
                  lambda_init=LAMBDA, lambda_prior=GammaPrior(strength=STRENGTH), gradient="truncated", seed=seed)
    model.set_dictionary(found_in.as_kernel(templates))
    count = len(white) // WINDOW
    if epochs == 0 or count < 1:
        return model, {}
    windows = white[:count * WINDOW].reshape(count, WINDOW, -1)
    loud = np.square(windows).mean(axis=(1, 2))
    # Wide probes with many units cost more a window: the work of training is bounded, not its windows.
    most = max(2 * BATCH, round(WINDOWS * min(1.0, WORK / (len(templates) * windows.shape[2]))))
    windows = windows[np.sort(np.argsort(-loud, kind="stable")[:most])]
    steps = epochs * -(-len(windows) // BATCH)
    model.compile(optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, steps)))
    keras.utils.set_random_seed(seed)
    report = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: tell("train", (epoch + 1) / epochs))
    history = model.fit(windows, epochs=epochs, batch_size=min(BATCH, len(windows)), verbose=0, callbacks=[report])
    return model, {name: [float(v) for v in values] for name, values in history.history.items()}


def _refined(templates, white, refractory, tell):
    """(``Found``, templates, spread, cost) after rounds of matching and averaging."""
    spread, cost = 0.1, found_in.COST
    for turn in range(_CLOSING):
        tell("refine templates", turn / _CLOSING)
        found = found_in.match(white, templates, refractory, spread, cost, thorough=turn >= _CLOSING - _THOROUGH)
        spread, dear = _amplitudes(found, len(white), spread)
        # Costs only rise: units of many neurons' small spikes would become ever cheaper, smaller and more frequent.
        cost = np.maximum(cost, dear) if turn else dear
        templates = _averaged(found, white)
    return found, templates, spread, cost


def _averaged(found, white):
    """Templates as the means of their spikes, each with all others subtracted, and without the means' noise."""
    rest = found_in.unexplained(white, found)
    counts = np.bincount(found.unit, minlength=len(found.templates))
    means = [found_in.cleaned(rest, found, u).mean(axis=0) if counts[u] else found.templates[u]
             for u in range(len(found.templates))]
    clean = found_in.few_shapes(found_in.shrunk(np.stack(means), counts), counts)
    left = clean.any(axis=(1, 2), keepdims=True)  # of a unit with few spikes nothing may be
    return np.where(left, clean, found.templates.astype(np.float32))


def _reader(found, templates, spread, cost, signal, whitening, frequency, refractory, shown):
    """A ``SpikeReader`` of templates whose spikes are ``found`` in ``signal`` (referenced and band-passed)."""
    size = found_in.norms(templates)
    extremum, peak = np.zeros(len(size), np.int64), np.zeros(len(size))
    for u in range(len(size)):
        at = found.position[found.unit == u]
        wave = np.median(found_in.waveforms(signal, at[at + shown <= len(signal)], shown), axis=0)
        extremum[u], channel = np.unravel_index(np.abs(wave).argmax(), wave.shape)
        peak[u] = wave[extremum[u], channel]
    return SpikeReader(whitening, found_in.as_kernel(templates), size, spread, cost, extremum, peak, frequency,
                       refractory / frequency)


def _amplitudes(found, samples, spread):
    """(spread, cost) of each unit from the amplitudes and number of its spikes, matched with ``spread``.

    Matching pulls an amplitude h towards the unit's mean m by the prior: h = (c + m / s^2) / (1 + 1 / s^2). The
    correlation c itself has the amplitudes' variance plus that of the noise, 1.
    """
    spreads, costs = [], []
    size = found_in.norms(found.templates)
    for u, (mean, prior) in enumerate(zip(size, np.broadcast_to(spread, len(size)), strict=True)):
        heights = found.height[found.unit == u]
        variance = np.square(prior * mean)
        c = heights * (1 + 1 / variance) - mean / variance
        width = robust_std(c) if len(c) else 0.0
        spreads.append(np.clip(math.sqrt(max(width**2 - 1, 0)) / mean, *SPREAD))
        # A spike's place is known to about three samples: so many positions share its prior.
        costs.append(np.clip(math.log(samples / max(len(heights), 1) / 3), *COST))
    return np.array(spreads), np.array(costs)


def _mean_waveforms(traces, plain, spikes, units, before, shown, most=500):
    """Median waveforms around the spikes, float32 (units, shown, channels), of at most ``most`` spikes a unit."""
    out = np.zeros((units, shown, traces.shape[1]), np.float32)
    for u in range(units):
        at = spikes.peak_sample[spikes.unit_id == u]
        at = at[(at >= before) & (at + shown - before <= traces.shape[0])]
        if len(at):
            at = at[np.linspace(0, len(at) - 1, min(most, len(at))).astype(int)]
            out[u] = np.median([plain(traces, t - before, t - before + shown) for t in at], axis=0)
    return out
