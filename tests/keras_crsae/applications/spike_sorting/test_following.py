"""Templates that change with the spikes."""

import dataclasses

import numpy as np
import pytest

from keras_crsae.applications import spike_sorting
from keras_crsae.applications.spike_sorting.following import FollowParameters, follow
from keras_crsae.applications.spike_sorting.motion import ProbeMotion

RATE, SECONDS = 10_000, 30
QUICK = FollowParameters(window_seconds=3.0, memory_spikes=30, first_spikes=10)


@pytest.fixture(scope="module")
def fading(sorted_spikes):
    """(int16 recording, spike times of the two units): one fades to 35 %, the other grows by a quarter."""
    filters = np.asarray(sorted_spikes[1].filters)[:, 0]  # (time, units)
    rng = np.random.default_rng(5)
    signal = rng.normal(size=SECONDS * RATE)
    times = np.split(rng.permutation(np.arange(1, SECONDS * RATE // 60))[:600] * 60 + rng.integers(0, 20, 600), 2)
    for unit, train in enumerate(times):
        for time in train[train < len(signal) - 30]:
            size = 16 * (1 + (-0.65, 0.25)[unit] * time / len(signal))
            signal[time:time + len(filters)] += size * filters[:, unit]
    return np.round(20 * signal).astype("int16")[:, None], [np.sort(train) for train in times]


def accuracies(result, times):
    """Of each true unit's best match, to 1 ms around a constant delay."""
    out = []
    for train in times:
        scores = []
        for unit in range(result.num_units):
            found = result.spike_samples[result.spike_units == unit]
            delays = [found[np.abs(found - time).argmin()] - time for time in train] if len(found) else [10**6]
            hits = np.count_nonzero(np.abs(np.array(delays) - np.median(delays)) <= RATE // 1000)
            scores.append(hits / (len(train) + len(found) - hits))
        out.append(max(scores))
    return out


def test_spikes_whose_amplitude_changes_slowly_are_found_to_the_end(sorted_spikes, fading):
    recording, times = fading
    first = sorted_spikes[2]
    done = []
    result = follow(first, recording, parameters=QUICK, progress=lambda step, fraction: done.append(fraction))
    fixed = first.reader.find(first.model.encode, recording)
    late = recording.shape[0] * 2 // 3
    assert min(accuracies(result, times)) > 0.95
    assert len(fixed.peak_sample[fixed.peak_sample > late]) < 0.9 * np.count_nonzero(result.spike_samples > late)
    assert done[-1] == 1.0 and np.all(np.diff(done) > 0)
    change = result.reader.mean_amplitude / first.reader.mean_amplitude
    assert change.min() == pytest.approx(0.4, abs=0.06) and change.max() == pytest.approx(1.23, abs=0.08)
    assert "windows. Amplitudes changed from the first to the last: unit" in result.messages[-1]
    assert result.recording_samples == len(recording) and result.templates.shape == first.templates.shape


def test_a_recording_without_drift_gives_the_same_spikes(sorted_spikes):
    recording, _, first = sorted_spikes
    result = follow(first, recording)
    same = set(zip(result.spike_samples.tolist(), result.spike_units.tolist(), strict=True))
    known = set(zip(first.spike_samples.tolist(), first.spike_units.tolist(), strict=True))
    assert len(same ^ known) <= 0.03 * len(known)
    assert "No amplitude changed by more than 10%" in result.messages[-1]


def test_a_saved_result_is_followed_from_file_to_file(sorted_spikes, fading, saved_folder, tmp_path):
    recording, times = fading
    result = spike_sorting.load_result(saved_folder)
    parts = np.array_split(recording, 3)
    found = []
    for part in parts:
        result = follow(result, part, parameters=QUICK)
        result.save(tmp_path / "day", overwrite=True)
        result = spike_sorting.load_result(tmp_path / "day")
        found.append(result.spike_samples + sum(map(len, parts[:len(found)])))
    whole = follow(sorted_spikes[2], recording, parameters=QUICK).spike_samples
    assert abs(len(np.concatenate(found)) - len(whole)) < 0.03 * len(whole)


def test_sort_follows(fading):
    recording, times = fading
    names = []
    result = spike_sorting.sort(recording, RATE, motion="follow", epochs=0,
                                progress=lambda step, fraction: names.append(step))
    assert result.settings["motion"] == "follow" and result.motion is None and names[-1] == "follow spikes"
    assert "Templates followed the spikes" in result.messages[-1]
    assert np.mean(accuracies(result, times)) > 0.9


def test_other_electrodes_and_a_corrected_probe_are_refused(sorted_spikes):
    recording, _, result = sorted_spikes
    with pytest.raises(ValueError, match="1 channels at 10000 Hz. Received: 2 channels"):
        follow(result, np.repeat(recording, 2, axis=1))
    moved = dataclasses.replace(result, motion=ProbeMotion("x", [np.zeros((2, 1))], [np.arange(2.0)], np.zeros(1)))
    with pytest.raises(ValueError, match="motion of the probe was taken out"):
        follow(moved, recording)


def test_a_silent_recording_keeps_the_templates_and_has_messages_of_its_own(sorted_spikes, rng):
    first = dataclasses.replace(sorted_spikes[2], messages=["of the first recording"])
    noise = np.round(20 * rng.normal(size=(40_000, 1))).astype("int16")
    result = follow(first, noise, parameters=dataclasses.replace(QUICK, memory_spikes=1e-3))
    assert len(result.messages) == 1 and first.messages == ["of the first recording"]
    assert np.isfinite(result.reader.kernel).all() and np.isfinite(result.reader.mean_amplitude).all()


@pytest.mark.parametrize("field", ["window_seconds", "memory_spikes", "first_spikes"])
def test_parameters_are_positive(field):
    with pytest.raises(ValueError, match=field):
        FollowParameters(**{field: 0})
