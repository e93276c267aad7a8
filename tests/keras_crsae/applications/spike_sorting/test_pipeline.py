"""Sorting end to end on recordings with known spikes, and refusals of invalid ones."""

import os
from pathlib import Path
from types import SimpleNamespace

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


def test_training_goes_through_fit_unless_held_out_spikes_promise_nothing(result):
    assert len(result.history.get("reconstruction_loss", [])) in (0, result.parameters.epochs)
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


QUICK = spike_sorting.SortingParameters(epochs=0)
SLOW_RATE, LONG = 10_000, 120_000


@pytest.fixture(scope="module")
def whole():
    """(traces about 300 in noise standard deviations, result of sorting them): two units on two channels."""
    rng = np.random.default_rng(3)
    traces, waves = 300 + rng.normal(size=(LONG, 2)), waveforms()[:2, ::2]
    for wave in waves:
        at = np.cumsum(60 + rng.exponential(SLOW_RATE / 10, 400)).astype(int)
        for t in at[at < LONG - 60]:
            traces[t:t + 20] += wave * (1 + 0.06 * rng.normal())
    return traces, spike_sorting.sort(traces, SLOW_RATE, parameters=QUICK)


def blank(traces, kind, share):
    """(the recording with ``share`` of it blanked, boolean (samples,): what is left)."""
    traces, left, channels = traces.copy(), np.ones(LONG, bool), slice(None)
    if kind in ("short", "channel short"):  # as around stimulation: 1 to 5 ms, hundreds of times
        for start in range(500, LONG - 500, round(30 / share)):
            left[start:start + 10 + start % 41] = False
    else:
        left[LONG // 10:LONG // 10 + round(share * LONG)] = False
    if kind.startswith("channel"):
        channels = 0
    value = {"constant": 37.0, "nan": np.nan, "own level": 300.0, "saturated": 32_767.0,
             "held": traces[LONG // 10 - 1]}.get(kind, 0.0)
    traces[~left, channels] = value
    return traces, left


def check_same_outside(result, expected, left):
    """The units and spikes of ``expected`` where more than a template from what is blanked."""
    left = np.convolve(~left, np.ones(61), "same") < 0.5
    assert result.num_units == expected.num_units == 2
    sample, unit = (spikes[left[expected.spike_samples]] for spikes in (expected.spike_samples, expected.spike_units))
    kept = left[result.spike_samples]
    found = SimpleNamespace(num_units=2, spike_samples=result.spike_samples[kept], spike_units=result.spike_units[kept])
    assert len(sample) > 20 and accuracies(found, sample, unit, SLOW_RATE).min() > 0.98


@pytest.mark.parametrize(("kind", "share"), [
    ("zero", 0.3), ("nan", 0.7), ("short", 0.2),
    # Each kind at one share: ``inspect_recording`` is tested at all of them.
    *(pytest.param(kind, share, marks=pytest.mark.slow) for kind, share in (
        ("zero", 0.7), ("constant", 0.35), ("held", 0.5), ("own level", 0.7), ("saturated", 0.3), ("channel", 0.3),
        ("channel short", 0.3)))])
def test_a_blanked_recording_gives_the_units_and_spikes_of_the_rest(whole, kind, share):
    traces, left = blank(whole[0], kind, share)
    result = spike_sorting.sort(traces, SLOW_RATE, parameters=QUICK)
    np.testing.assert_allclose(result.noise, 1, rtol=0.05)
    check_same_outside(result, whole[1], left)
    text = "NaN" if kind == "nan" else "channels [0] are blanked" if kind.startswith("channel") else "are blanked"
    assert sum(text in message for message in result.messages) == 1
    inside = np.convolve(left, np.ones(61), "same") < 0.5
    assert kind.startswith("channel") or not inside[result.spike_samples].any()


@pytest.mark.parametrize("sigma", [0.5, *(pytest.param(s, marks=pytest.mark.slow) for s in (0.4, 1.5))])
def test_whole_counts_of_little_noise_give_the_same_units_and_spikes(whole, sigma):
    traces, left = blank(whole[0], "zero", 0.3)
    result = spike_sorting.sort(np.round(traces * sigma).astype(np.int16), SLOW_RATE, parameters=QUICK)
    np.testing.assert_allclose(result.noise, sigma, rtol=0.05)
    check_same_outside(result, whole[1], left)
    assert any("below one count" in message for message in result.messages) == (sigma < 1)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "share"), [("short", 0.1), ("nan", 0.3)])
def test_a_band_pass_does_not_ring_where_a_drifting_recording_is_blanked(whole, kind, share):
    time = np.arange(LONG)[:, None] / SLOW_RATE
    drifting = whole[0] + 10 * np.sin(2 * np.pi * 1.3 * time) + 5 * np.sin(2 * np.pi * 7 * time)
    expected = spike_sorting.sort(drifting, SLOW_RATE, band=(300, 3000), parameters=QUICK)
    traces, left = blank(drifting, kind, share)
    left[-30:] = False  # the filter rings at the recording's end
    result = spike_sorting.sort(traces, SLOW_RATE, band=(300, 3000), parameters=QUICK)
    np.testing.assert_allclose(result.noise, expected.noise, rtol=0.05)
    check_same_outside(result, expected, left)


def test_blanks_give_no_spikes_whole_or_in_a_stream(whole):
    """At use time, too: a recording that was blanked after the units were learned."""
    reader, encode = whole[1].reader, whole[1].model.encode
    traces, left = blank(whole[0], "short", 0.1)
    traces[70_000:90_000], left[70_000:90_000] = -2000.0, False
    spikes = reader.find(encode, traces)
    check_same_outside(SimpleNamespace(num_units=2, spike_samples=spikes.peak_sample, spike_units=spikes.unit_id),
                       whole[1], left)
    stream, parts = reader.stream(encode), []
    for start in range(0, LONG, 7001):
        parts.append(stream.push(traces[start:start + 7001]))
    parts.append(stream.finish())
    sample, unit, _ = (np.concatenate(p) for p in zip(*parts, strict=True))
    order = np.lexsort((unit, sample))
    np.testing.assert_array_equal(sample[order], spikes.peak_sample)
    np.testing.assert_array_equal(unit[order], spikes.unit_id)


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
@pytest.mark.parametrize(("name", "seconds", "least"), [("single_white", 60, 0.88), ("single_coloured", 60, 0.70),
                                                        ("tetrode", 20, 0.93)])
def test_recordings_of_the_shared_data(name, seconds, least):
    folder = os.environ.get("KERAS_CRSAE_DATA")
    if not folder or not (Path(folder) / "spikes").is_dir():
        pytest.skip("needs the shared recordings: set KERAS_CRSAE_DATA to the folder that holds spikes/")
    data = np.load(Path(folder) / "spikes" / f"{name}.npz")
    rate = float(data["fs"])
    count = round(seconds * rate)
    result = spike_sorting.sort(data["traces_int16"][:count], sampling_frequency=rate, seed=0)
    known = data["spike_samples"] < count
    found = accuracies(result, data["spike_samples"][known], data["spike_labels"][known], rate)
    assert result.num_units == len(found) and found.mean() > least
