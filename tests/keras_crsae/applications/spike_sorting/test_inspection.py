"""What of a recording holds noise: stretches to learn from, levels, and the sentences about the rest."""

import numpy as np
import pytest

from keras_crsae.applications.spike_sorting.inspection import inspect_recording
from keras_crsae.applications.spike_sorting.parameters import SortingParameters

RATE = 1000.0


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).normal(size=(40_000, 2))


def test_active_stretches_of_a_long_recording_are_chosen_and_artefacts_are_not(noise):
    rng = np.random.default_rng(0)
    traces = noise[:, :1].copy()
    for second, spikes in ((7, 60), (23, 60), (31, 400)):  # the last one is an artefact
        traces[second * 1000 + rng.choice(1000, spikes, replace=False)] += 12
    long = SortingParameters(learning_seconds=2.0)
    assert inspect_recording(traces, RATE, long).stretches == [(7000, 8000), (23_000, 24_000)]
    found = inspect_recording(traces, RATE)
    assert found.stretches == [(0, 40_000)] and found.holds_noise.all() and not found.messages
    few = inspect_recording(noise, RATE, SortingParameters(learning_values=5000))
    assert sum(stop - start for start, stop in few.stretches) == 2000, "wide probes are learned from in bounded memory"
    # A blank has no say in what is active, and is not learned from.
    traces[8000:20_000], traces[23_000:23_400] = 3.0, np.nan
    blanked = inspect_recording(traces, RATE, long)
    assert blanked.stretches[0] == (7000, 8000) and blanked.stretches[1][0] >= 23_380
    assert "30.0% of the samples inspected are blanked" in blanked.messages[1]


@pytest.mark.parametrize(("kind", "share"), [(0.0, 0.1), (7.25, 0.35), (np.nan, 0.5), (20.0, 0.7), (np.nan, 0.1),
                                             (7.25, 0.7)])
def test_blanked_samples_have_no_say(noise, share, kind):
    traces = noise * [1.0, 5.0] + [20.0, -3.0]
    low, high = 4000, 4000 + round(share * len(traces))
    traces[low:high] = kind
    found = inspect_recording(traces, RATE)
    np.testing.assert_allclose([level.std for level in found.levels], [1.0, 5.0], rtol=0.05)
    np.testing.assert_allclose(found.offset, [20.0, -3.0], atol=0.3)
    assert len(found.messages) == 1 and found.messages[0].startswith(f"{share:.1%} of the samples are ")
    assert ("NaN" if np.isnan(kind) else "blanked") in found.messages[0]
    kept = sum(stop - start for start, stop in found.stretches)
    assert kept <= len(traces) - (high - low) + 100, "no time is spent on the blank"


def test_the_channels_of_a_blank_are_named_and_learning_waits_for_them(noise):
    traces = noise.copy()
    traces[10_000:22_000, 1] = 0
    found = inspect_recording(traces, RATE)
    assert found.messages[0].startswith("30.0% of the samples of channels [1] are blanked")
    assert all(stop <= 10_010 or start >= 21_990 for start, stop in found.stretches)
    assert found.holds_noise[found.learn].all() and 0 < np.count_nonzero(~found.learn) < 20
    traces[4000:, 1] = 0  # too little is left to wait for
    found = inspect_recording(traces, RATE)
    assert found.stretches == [(0, 40_000)] and found.learn.all()


@pytest.mark.parametrize("sigma", [0.3, 0.4, 0.5, 0.8])
def test_noise_below_one_count_is_estimated_and_named(noise, sigma):
    found = inspect_recording(np.round(noise * sigma + 12).astype(np.int16), RATE)
    np.testing.assert_allclose([level.std for level in found.levels], sigma, rtol=0.05)
    assert len(found.messages) == 1 and "channels [0, 1] have noise below one count" in found.messages[0]
    assert not inspect_recording(np.round(noise * 2).astype(np.int16), RATE).messages


def test_a_saturated_channel_is_reported(noise):
    for factor, dtype in ((1, np.float64), (1, np.int16), (40, np.int16)):
        traces = np.round(noise * 2 * factor, 0 if dtype is np.int16 else 9).astype(dtype)
        traces[:, 1] = np.minimum(traces[:, 1], 3 * factor)
        found = inspect_recording(traces, RATE)
        np.testing.assert_allclose(found.offset, np.median(traces, axis=0), atol=0.2)
        assert len(found.messages) == 1 and found.messages[0].startswith("channel 1"), factor
        assert "saturated" in found.messages[0]


def test_gaps_and_dead_channels_are_reported():
    traces = np.random.default_rng(2).normal(size=(10_000, 3))
    traces[:, 2], traces[1000:1100] = 7, np.nan
    found = inspect_recording(traces, RATE)
    assert found.offset[2] == 7 and np.isfinite(found.offset).all()
    assert found.messages[0].startswith("1.0% of the samples are NaN")
    assert "channels [2] are constant" in found.messages[1] and len(found.messages) == 2


@pytest.mark.parametrize(("traces", "text"), [
    (np.zeros((4000, 2)), "Every channel"), (np.full((4000, 1), np.nan), "Every channel"),
    (np.concatenate([np.random.default_rng(3).normal(size=(900, 1)), np.full((9000, 1), 4.0)]), r"Only 0.9 s .*9.1%"),
])
def test_too_little_noise_is_refused(traces, text):
    with pytest.raises(ValueError, match=text):
        inspect_recording(traces, RATE)
