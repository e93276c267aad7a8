"""Motion of a probe, estimated and taken out."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from keras_crsae.applications.spike_sorting import load_result
from keras_crsae.applications.spike_sorting.motion import (
    ProbeMotion,
    check_motion,
    estimate_motion,
    sorted_traces,
    without_motion,
)
from keras_crsae.applications.spike_sorting.recording import as_recording

si = pytest.importorskip("spikeinterface.core", reason="the extra `spikes` is not installed")
pytest.importorskip("spikeinterface.sortingcomponents.motion", reason="spikeinterface[sortingcomponents]")

# SpikeInterface's own and numba's.
pytestmark = pytest.mark.filterwarnings("ignore")
RATE, SECONDS, PITCH = 10_000, 20, 20.0
PLACES = np.stack([np.zeros(16), PITCH * np.arange(16)], axis=1)


def drift(seconds):
    """Micrometres, a rigid motion of one micrometre a second."""
    return seconds - SECONDS / 2


@pytest.fixture(scope="module")
def moving():
    """(samples, channels) of a column of 16 channels: units at irregular depths whose spikes move along it."""
    rng = np.random.default_rng(0)
    traces = rng.normal(size=(SECONDS * RATE, 16)).astype(np.float32)
    shape = -np.exp(-0.5 * ((np.arange(30) - 8) / 2.0) ** 2)
    for depth, size in ((45, 60), (71, 25), (118, 40), (153, 75), (205, 30), (219, 55), (262, 90)):
        for time in rng.choice(len(traces) - 60, 30 * SECONDS, replace=False):
            distance = PLACES[:, 1] - depth - drift(time / RATE)
            traces[time:time + 30] += shape[:, None] * size * np.exp(-0.5 * (distance / 25) ** 2)
    return traces


@pytest.mark.parametrize("motion, places, message", [
    ("dance", PLACES, "must be None, \"follow\", \"estimate\" or one of .* presets .*rigid_fast.*Received"),
    ("estimate", None, "no channel locations"), ("estimate", PLACES[:3], "too few depths"),
])
def test_what_cannot_be_estimated_is_refused_before_work(motion, places, message):
    with pytest.raises(ValueError, match=message):
        check_motion(motion, places)


def test_a_preset_that_needs_a_missing_package_says_so(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    with pytest.raises(ValueError, match="needs the package torch"):
        check_motion("dredge", PLACES)
    assert check_motion("kilosort_like", PLACES) == "kilosort_like"
    assert check_motion(None, None) is None and check_motion("follow", None) is None


def test_a_known_motion_is_taken_out(moving):
    """Without it, the depth of the spikes' largest channel does not change."""
    times = np.arange(0.5, SECONDS)
    motion = ProbeMotion("known", [drift(times)[:, None]], [times], np.array([160.0]))
    assert motion.range_um == pytest.approx(SECONDS - 1) and "19 micrometres" in motion.message
    still = without_motion(moving, motion, RATE, PLACES)
    assert still.get_num_samples() == len(moving) and still.get_num_channels() == 16
    for recording, moves in ((as_recording(still).traces, False), (moving, True)):
        depth = []
        for start in (0, (SECONDS - 3) * RATE):
            energy = np.square(np.asarray(recording[start:start + 3 * RATE], float)).mean(axis=0)[:6] - 1
            depth.append(energy @ PLACES[:6, 1] / energy.sum())
        assert (abs(depth[1] - depth[0]) > 2.0) == moves


def test_a_motion_is_estimated(moving):
    motion = estimate_motion(moving, as_recording(moving, RATE, PLACES), check_motion("estimate", PLACES))
    assert len(motion.depths_um) == 1  # a short probe moves as a whole
    error = motion.displacement_um[0][:, 0] - drift(motion.seconds[0])
    assert np.median(np.abs(error - np.median(error))) < 3
    same = ProbeMotion.from_plain(motion.to_plain())
    np.testing.assert_allclose(same.displacement_um[0], motion.displacement_um[0], atol=1e-3)


def test_traces_of_a_result_are_without_its_motion_and_of_its_shape(moving):
    times = np.arange(0.5, SECONDS)
    result = SimpleNamespace(recording_samples=len(moving), templates=np.zeros((1, 30, 16)), sampling_frequency=RATE,
                             channel_locations=PLACES, motion=None)
    assert sorted_traces(result, moving) is moving
    result.motion = ProbeMotion("known", [drift(times)[:, None]], [times], np.array([160.0]))
    traces = sorted_traces(result, moving)
    assert traces.shape == moving.shape and np.abs(np.asarray(traces[:300]) - moving[:300]).max() > 1
    with pytest.raises(ValueError, match="shape \\(30000, 16\\); \\(200000, 16\\) was sorted. Give that one."):
        sorted_traces(result, moving[:30_000])


def test_the_motion_is_saved_with_the_result(sorted_spikes, tmp_path):
    motion = ProbeMotion("rigid_fast", [np.array([[0.0], [1.5]])], [np.array([0.5, 1.5])], np.array([100.0]))
    result = dataclasses.replace(sorted_spikes[2], motion=motion)
    back = load_result(result.save(tmp_path / "moved")).motion
    assert back.preset == "rigid_fast" and back.displacement_um[0].tolist() == [[0.0], [1.5]]
    assert load_result(sorted_spikes[2].save(tmp_path / "still")).motion is None
