"""Recordings with known spikes for ``benchmarks.spike_sorting``: the shared files, and others drawn the same way."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FILES = ("single_white", "single_coloured", "tetrode", "probe32", "hc1_semireal")
SIMULATED = ("sim_single_white", "sim_single_coloured", "sim_tetrode", "sim_probe32")
#: Microvolts of one noise sd, which is the unit of the shared files: values of the usual size for all sorters.
NOISE_UV = 10.0
#: Power density of the noise in the shared coloured files, dB over white noise of the same variance, at these Hz.
_SPECTRUM = ((0, -20), (100, -4), (300, 4.5), (700, 5.4), (1400, 4.1), (2100, 3.4), (2800, 2.9), (3500, 2.2),
             (4200, 1.7), (4900, 0.8), (5600, -0.1), (6300, -1.1), (7000, -2.1), (7700, -2.8), (8400, -3.7),
             (9100, -4.2), (9800, -4.9), (11200, -5.5), (12700, -5.9), (15000, -6.4))
_OVERSAMPLING = 16
_REFRACTORY_MS = 3.0
#: Largest cosine of two templates, time by time; .96 and .97 occur in the shared files.
_MAXIMUM_COSINE = 0.96


@dataclass(frozen=True)
class Recording:
    """One recording and its truth.

    Attributes:
        name: kind, with the seed where it was drawn.
        traces: (samples, channels) int16.
        gain_uv: microvolts a step of ``traces``.
        sampling_frequency: Hz.
        locations: (channels, 2), micrometres.
        spike_samples, spike_units: (spikes,) int64, troughs on the unit's best channel and their true unit.
        exhaustive: False where only some of the units are known; other units of the sorting are not scored then.
    """

    name: str
    traces: np.ndarray
    gain_uv: float
    sampling_frequency: float
    locations: np.ndarray
    spike_samples: np.ndarray
    spike_units: np.ndarray
    exhaustive: bool = True

    @property
    def duration(self):
        """Seconds."""
        return len(self.traces) / self.sampling_frequency

    def first(self, seconds):
        """The first ``seconds`` of the recording."""
        count = int(seconds * self.sampling_frequency)
        kept = self.spike_samples < count
        return Recording(f"{self.name}, first {seconds:g} s", self.traces[:count], self.gain_uv,
                         self.sampling_frequency, self.locations, self.spike_samples[kept], self.spike_units[kept],
                         self.exhaustive)


def load(kind, seed=0):
    """A shared file (whatever the seed) or a simulated recording of this seed.

    Raises:
        ValueError: an unknown kind.
        FileNotFoundError: the file is not in the folder KERAS_CRSAE_DATA.
    """
    if kind in SIMULATED:
        return simulate(kind, seed)
    if kind not in FILES:
        raise ValueError(f"Unknown kind of recording {kind!r}. Known: {', '.join(FILES + SIMULATED)}.")
    folder = os.environ.get("KERAS_CRSAE_DATA")
    name = "hc1_semireal_first120s" if kind == "hc1_semireal" else kind
    path = Path(folder or ".") / "spikes" / f"{name}.npz"
    if not folder or not path.is_file():
        raise FileNotFoundError(f"KERAS_CRSAE_DATA must name the folder that holds spikes/{name}.npz. "
                                f"Received: {folder!r}")
    with np.load(path) as stored:
        samples, units = stored["spike_samples"].astype(np.int64), stored["spike_labels"].astype(np.int64)
        confirmed = kind == "hc1_semireal"  # label 1 there is every other event, of unknown units
        kept = units == 0 if confirmed else np.ones(len(units), bool)
        return Recording(kind, stored["traces_int16"], float(stored["gain"]) * NOISE_UV, float(stored["fs"]),
                         stored["channel_locations"].astype(float), samples[kept], units[kept], not confirmed)


def simulate(kind, seed=0, duration=None):
    """A recording drawn the way the shared file of that kind was, from another seed and with other templates.

    One channel: 3 units with troughs of 8, 5.5 and 4 noise sd, a third of the spikes within 2 ms of another, white or
    coloured noise. Tetrode: 6 units, the last two with templates of cosine 0.95. 32 channels: 15 units. Spikes of one
    unit keep 3 ms apart, fall between samples, and their amplitudes vary by 7 %. Templates come from
    SpikeInterface's generator.

    Args:
        kind: one of ``SIMULATED``.
        seed: of templates, spikes and noise.
        duration: seconds; None: that of the shared file.

    Returns:
        Recording.
    """
    rng = np.random.default_rng([SIMULATED.index(kind), seed])
    fs = 30000.0
    if kind.startswith("sim_single"):
        duration, locations, rates, partners = duration or 60.0, np.zeros((1, 2)), (17.0, 14.0, 10.0), 0.2
        fine, troughs = draw_templates(locations, 3, rng), (8.0, 5.5, 4.0)
    elif kind == "sim_tetrode":
        angle = np.arange(4) * np.pi / 2
        duration, locations = duration or 60.0, 12.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        troughs, rates, partners = rng.uniform(5, 13, 6), rng.uniform(4, 11, 6), 0.0
        fine = draw_templates(locations, 6, rng, similar=0.95)
    else:
        duration, locations = duration or 20.0, np.stack([np.zeros(32), 20.0 * np.arange(32)], axis=1)
        troughs, rates, partners = rng.uniform(5, 16, 15), rng.uniform(3.5, 14, 15), 0.0
        fine = draw_templates(locations, 15, rng)
    fine = fine * (np.asarray(troughs) / np.abs(fine).max(axis=(1, 2)))[:, None, None]
    count = int(duration * fs)
    trains = draw_trains(rates, partners, count, fs, rng)
    noise = rng.standard_normal((count, len(locations))) if kind == "sim_single_white" else \
        coloured(count, locations, fs, rng)
    signal, samples, units = inject(noise, fine, trains, rng)
    gain = float(np.abs(signal).max()) / 32000
    return Recording(f"{kind}, seed {seed}", np.rint(signal / gain).astype(np.int16), gain * NOISE_UV, fs, locations,
                     samples, units)


def draw_templates(locations, units, rng, similar=None):
    """(units, time, channels), oversampled; no two are similar but the last two, whose cosine is ``similar``."""
    from spikeinterface.core.generate import generate_templates

    low, high = locations.min(axis=0) - 10, locations.max(axis=0) + 10
    contacts = np.column_stack([locations, np.zeros(len(locations))])
    while True:
        where = np.column_stack([rng.uniform(low, high, (units, 2)), rng.uniform(8, 25, units)])
        templates = generate_templates(contacts, where, 30000.0, 0.8, 1.6, seed=int(rng.integers(2**31)),
                                       dtype="float64", upsample_factor=_OVERSAMPLING,
                                       unit_params={"repolarization_ms": (0.3, 0.6), "recovery_ms": (0.5, 0.9)})
        # (units, time, channels, phase) -> one fine time axis
        templates = np.moveaxis(templates, -1, 2).reshape(units, -1, len(locations))
        templates /= np.linalg.norm(templates, axis=(1, 2), keepdims=True)
        if similar is not None:
            across = templates[0] - np.sum(templates[0] * templates[-2]) * templates[-2]
            templates[-1] = similar * templates[-2] + np.sqrt(1 - similar**2) * across / np.linalg.norm(across)
        cosines = np.einsum("utc,vtc->uv", templates, templates)[np.triu_indices(units, 1)]
        if np.sort(cosines)[-1 if similar is None else -2] < _MAXIMUM_COSINE:
            return templates


def draw_trains(rates, partners, count, fs, rng):
    """Spike times of each unit in samples (float), sorted, at least the refractory time apart."""
    gap = _REFRACTORY_MS * fs / 1000
    times = [rng.uniform(100, count - 200, rng.poisson(r * count / fs)) for r in rates]
    for unit in range(len(rates)):  # companions of spikes of the other units: overlaps
        others = np.concatenate([t for i, t in enumerate(times) if i != unit]) if len(rates) > 1 else np.zeros(0)
        chosen = others[rng.random(len(others)) < partners / len(rates)]
        times[unit] = np.append(times[unit], chosen + rng.uniform(-0.002, 0.002, len(chosen)) * fs)
    out = []
    for train in times:
        kept = []
        for time in np.sort(train[(train > 100) & (train < count - 200)]):
            if not kept or time - kept[-1] >= gap:
                kept.append(time)
        out.append(np.array(kept))
    return out


def coloured(count, locations, fs, rng):
    """Noise of sd 1 with the shared files' spectrum, correlated over space: 1/3 exp(-distance / 50 micrometres)."""
    level = np.interp(np.fft.rfftfreq(count, 1 / fs), *np.array(_SPECTRUM, float).T)
    distance = np.linalg.norm(locations[:, None] - locations[None], axis=-1)
    mix = np.linalg.cholesky((np.exp(-distance / 50) + 2 * np.eye(len(locations))) / 3)
    white = rng.standard_normal((count, len(locations))) @ mix.T
    noise = np.fft.irfft(np.fft.rfft(white, axis=0) * 10 ** (level / 20)[:, None], count, axis=0)
    return noise / noise.std(axis=0)


def inject(signal, fine, trains, rng, size=None):
    """Spikes added between samples; returns signal, samples of the largest trough, units, sorted by time.

    ``size``: None, or ``callable(unit, time)``, what the amplitude is multiplied by, a number or one of each channel.
    """
    peak = [int(np.unravel_index(np.abs(t).argmax(), t.shape)[0]) for t in fine]
    samples, units = [], []
    for unit, train in enumerate(trains):
        for time in train:
            sample = int(np.rint(time))
            # The fine template at the whole samples around its extremum, moved by the fraction left.
            offset = peak[unit] - int(np.rint((time - sample) * _OVERSAMPLING))
            wave = fine[unit][offset % _OVERSAMPLING::_OVERSAMPLING]
            start = sample - offset // _OVERSAMPLING
            scale = rng.normal(1, 0.07)
            signal[start:start + len(wave)] += (scale if size is None else scale * size(unit, time)) * wave
            samples.append(sample)
            units.append(unit)
    order = np.argsort(samples, kind="stable")
    return signal, np.array(samples, np.int64)[order], np.array(units, np.int64)[order]
