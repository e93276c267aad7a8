"""Sorting end to end on recordings with known spikes, and refusals of invalid ones."""

import os
from pathlib import Path

import numpy as np
import pytest

from keras_crsae.applications import spike_sorting
from keras_crsae.demo.scoring import match_events

RATE, SECONDS = 20_000, 8


def waveforms():
    """Three units on two channels, the last one with an upward peak; (3, 40, 2) in noise standard deviations."""
    time = np.arange(40)
    trough, late = np.exp(-0.5 * ((time - 14) / 2.0) ** 2), np.exp(-0.5 * ((time - 22) / 4.0) ** 2)
    return np.stack([np.stack([-9 * trough + 3 * late, -4 * trough], 1), np.stack([-3 * trough, -8 * trough + late], 1),
                     np.stack([7 * trough - 3 * late, 6 * trough], 1)])


@pytest.fixture(scope="module")
def simulated():
    """(traces int16, samples of the extrema, units)."""
    rng = np.random.default_rng(0)
    traces = rng.normal(size=(SECONDS * RATE, 2))
    sample, unit = [], []
    for u, wave in enumerate(waveforms()):
        gaps = 60 + rng.exponential(RATE / (15 + 10 * u), 20 * SECONDS + 60)
        at = np.cumsum(gaps).astype(int)
        at = at[at < len(traces) - 100]
        for t in at:
            traces[t:t + 40] += wave * (1 + 0.06 * rng.normal())
        sample.append(at + 14)
        unit.append(np.full(len(at), u))
    return np.round(traces * 50 + 300).astype(np.int16), np.concatenate(sample), np.concatenate(unit)


@pytest.fixture(scope="module")
def result(simulated):
    return spike_sorting.sort(simulated[0], sampling_frequency=RATE, seed=0)


def accuracies(result, sample, unit, rate=RATE):
    """Best TP / (TP + FN + FP) at 0.5 ms of each true unit, (units,)."""
    out = []
    for u in np.unique(unit):
        true, best = np.sort(sample[unit == u]), 0.0
        for v in range(result.num_units):
            hits, misses, false = match_events(true, np.sort(result.spike_samples[result.spike_units == v]),
                                               round(0.0005 * rate))
            best = max(best, hits / (hits + misses + false))
        out.append(best)
    return np.array(out)


def test_known_spikes_are_sorted(result, simulated):
    assert result.num_units == 3
    assert accuracies(result, *simulated[1:]).min() > 0.95


def test_types_shapes_and_units_of_a_result(result, simulated):
    assert result.spike_samples.dtype == np.int64 and result.spike_units.dtype == np.int64
    assert result.spike_amplitudes.dtype == np.float32 and (np.diff(result.spike_samples) >= 0).all()
    assert result.templates.shape[::2] == (3, 2) and result.templates.dtype == np.float32
    for u, wave in enumerate(result.templates):
        row, channel = np.unravel_index(np.abs(wave).argmax(), wave.shape)
        assert row == result.nbefore, "the extremum lies nbefore samples after the template's start"
        amplitudes = result.spike_amplitudes[result.spike_units == u]
        np.testing.assert_allclose(np.median(amplitudes), wave[row, channel], rtol=0.05)
    np.testing.assert_allclose(np.sort(np.abs(result.templates).max((1, 2))), 50 * np.array([7, 8, 9]), rtol=0.08)


def test_a_unit_that_peaks_upward_is_timed_at_its_peak(result, simulated):
    upward = int(result.templates.max((1, 2)).argmax())
    assert (result.spike_amplitudes[result.spike_units == upward] > 0).all()


def test_training_went_through_fit(result):
    assert len(result.history["reconstruction_loss"]) == spike_sorting.SortingParameters().epochs
    assert result.model.lambda_reg.shape == (3,)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_spikes(result, simulated):
    again = spike_sorting.sort(simulated[0], sampling_frequency=RATE, seed=0)
    np.testing.assert_array_equal(again.spike_samples, result.spike_samples)
    np.testing.assert_array_equal(again.spike_units, result.spike_units)


def test_a_stream_gives_the_same_spikes(result, simulated):
    stream, parts = result.reader.stream(result.model.encode), []
    for start in range(0, len(simulated[0]), 7001):
        parts.append(stream.push(simulated[0][start:start + 7001]))
    parts.append(stream.finish())
    sample, unit, _ = (np.concatenate(p) for p in zip(*parts, strict=True))
    order = np.lexsort((unit, sample))
    np.testing.assert_array_equal(sample[order], result.spike_samples)
    np.testing.assert_array_equal(unit[order], result.spike_units)


def test_gaps_dead_channels_and_drift_are_reported_and_survived(simulated):
    """A gap of NaN, a dead channel and a slow drift that the band-pass filter removes; more units than there are."""
    traces, sample, unit = simulated
    time = np.arange(len(traces))[:, None] / RATE
    odd = np.concatenate([traces, np.zeros((len(traces), 1))], axis=1) + 2000 * np.sin(2 * np.pi * time)
    odd[:, 2] = 7
    odd[50_000:52_000] = np.nan
    result = spike_sorting.sort(odd, sampling_frequency=RATE, units=9, band=(300, 6000), seed=0,
                                parameters=spike_sorting.SortingParameters(epochs=1))
    messages = " ".join(result.messages)
    assert "NaN" in messages and "[2]" in messages and "units=9, but the recording has only 3" in messages
    gap = (result.spike_samples > 50_100) & (result.spike_samples < 51_900)
    assert not gap.any()
    whole = (sample < 49_900) | (sample > 52_100)
    assert accuracies(result, sample[whole], unit[whole]).min() > 0.9


def test_fewer_units_keep_the_strongest(simulated):
    result = spike_sorting.sort(simulated[0][:5 * RATE], sampling_frequency=RATE, units=2, seed=0,
                                parameters=spike_sorting.SortingParameters(epochs=0))
    assert result.num_units == 2 and any("3 units were found, units=2" in m for m in result.messages)


@pytest.mark.parametrize(("traces", "options", "text"), [
    (np.zeros((40_000, 1)), {}, "constant"),
    (np.zeros((100, 1)), {}, "at least 1 s"),
    (np.zeros((4, 40_000)), {}, "transpose"),
    (np.zeros((40_000, 1), complex), {}, "real"),
    (np.zeros((40_000, 2, 2)), {}, "samples, channels"),
    (np.zeros((40_000, 1)), {"sampling_frequency": None}, "sampling_frequency"),
    (np.zeros((40_000, 1)), {"sampling_frequency": -3}, "sampling_frequency"),
    (np.zeros((40_000, 1)), {"units": 0}, "units"),
    (np.zeros((40_000, 1)), {"band": (6000, 300)}, "band"),
    (np.zeros((40_000, 1)), {"parameters": {"epochs": 1}}, "SortingParameters.from_dict"),
    (np.zeros((40_000, 2)), {"channel_locations": [[0, 0]]}, "channel_locations"),
])
def test_invalid_input_is_refused_before_work_starts(traces, options, text):
    with pytest.raises(ValueError, match=text):
        spike_sorting.sort(traces, **{"sampling_frequency": RATE, **options})


def test_noise_alone_has_no_spikes():
    noise = np.random.default_rng(1).normal(size=(3 * RATE, 1))
    with pytest.raises(spike_sorting.NoSpikesError, match="No repeating waveform exceeds the noise"):
        spike_sorting.sort(noise, sampling_frequency=RATE)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("single_white", 0.88), ("single_coloured", 0.70), ("tetrode", 0.93)])
def test_recordings_of_the_shared_data(name, least):
    folder = os.environ.get("KERAS_CRSAE_DATA")
    if not folder or not (Path(folder) / "spikes").is_dir():
        pytest.skip("needs the shared recordings: set KERAS_CRSAE_DATA to the folder that holds spikes/")
    data = np.load(Path(folder) / "spikes" / f"{name}.npz")
    rate = float(data["fs"])
    result = spike_sorting.sort(data["traces_int16"], sampling_frequency=rate, seed=0)
    assert accuracies(result, data["spike_samples"], data["spike_labels"], rate).mean() > least
