"""Recordings are checked and get one interface."""

import numpy as np
import pytest
from crsae_onnx.core.spikes.detector import Spikes

from keras_crsae.applications.spike_sorting.parameters import SortingParameters
from keras_crsae.applications.spike_sorting.recording import (
    as_recording,
    check_options,
    inside_segments,
    segment_message,
)


def test_one_dimension_is_one_channel():
    recording = as_recording(np.arange(40_000, dtype=np.int16), 20_000)
    assert recording.traces.shape == (40_000, 1) and recording.sampling_frequency == 20_000.0
    np.testing.assert_array_equal(recording.traces[5:7], [[5], [6]])
    assert recording.channel_locations is None


def test_three_coordinates_become_two():
    recording = as_recording(np.zeros((40_000, 2)), 20_000, locations=[[0, 1, 2], [3, 4, 5]])
    assert recording.channel_locations.tolist() == [[0, 1], [3, 4]]


@pytest.mark.parametrize("traces, frequency, locations, message", [
    (np.zeros((4, 40_000)), 20_000, None, "transpose"), (np.zeros((40_000, 1), complex), 20_000, None, "real"),
    (np.zeros((40_000, 2, 2)), 20_000, None, "samples, channels"), (np.zeros((0, 2)), 20_000, None, "not empty"),
    (np.zeros((40_000, 1)), None, None, "is needed for an array"), (np.zeros((40_000, 1)), -3, None, "must be in Hz"),
    (np.zeros((40_000, 1)), "fast", None, "must be in Hz"), ([[1], [1, 2]], 20_000, None, "must be an array"),
    (np.zeros((40_000, 2)), 20_000, [[0, 0]], "channel_locations"),
    (np.zeros((40_000, 2)), 20, None, "in kHz, give 20000"),
    (np.arange(-20_000, 20_000, dtype="int16").view("float32"), 20_000, None, "values that no recording has"),
    (np.arange(-20_000, 20_000, dtype="int16").view("float64"), 20_000, None, "read from a file as the wrong type"),
])
def test_invalid_recordings_are_refused(traces, frequency, locations, message):
    with pytest.raises(ValueError, match=message):
        as_recording(traces, frequency, locations)


@pytest.mark.parametrize("options, message", [
    ({"band": (300, 6000)}, "5000 Hz at 10000 Hz"), ({"common_reference": True}, "has one channel"),
    ({"parameters": SortingParameters(minimum_recording_seconds=3.0)}, "needs at least 3 s"),
    ({"parameters": {"epochs": 1}}, "from_dict")])
def test_options_that_do_not_fit_the_recording_are_refused(options, message):
    recording = as_recording(np.zeros(20_000, np.int16), 10_000)
    assert check_options(recording) is None and check_options(recording, band=(300, 4000)).ndim == 1
    with pytest.raises(ValueError, match=message):
        check_options(recording, **options)


def test_masked_samples_are_gaps_as_nan_is_and_are_read_by_stretches(tmp_path):
    values = np.random.default_rng(0).integers(-50, 50, (3000, 2)).astype(np.int16)
    values.tofile(tmp_path / "y.dat")
    mask = np.zeros(values.shape, bool)
    mask[100:200], mask[7, 1] = True, True
    masked = np.ma.array(np.memmap(tmp_path / "y.dat", np.int16, "r", shape=values.shape), mask=mask, copy=False)
    gaps = np.where(mask, np.nan, values).astype(np.float32)
    for recording, expected in ((masked, gaps), (list(masked), gaps), (masked[:, 1], gaps[:, 1:]),
                                (masked.astype(np.int32), gaps.astype(np.float64))):
        traces = as_recording(recording, 20_000).traces
        assert traces.shape == expected.shape and np.dtype(traces.dtype) == expected.dtype
        np.testing.assert_array_equal(traces[90:210], expected[90:210])
        assert not np.ma.isMaskedArray(traces[:50])


def test_data_frames_and_tensors_are_arrays_and_sparse_matrices_are_refused():
    values = np.random.default_rng(0).standard_normal((3000, 2))

    class Frame:
        """As pandas': its slices are frames, and two indices mean a label."""

        columns, shape = ["a", "b"], values.shape

        def to_numpy(self):
            return values

        def __getitem__(self, index):
            raise KeyError(index)

    class Tensor:
        """As PyTorch's: its dtype is none of NumPy's."""

        shape, dtype = values.shape, object()

        def __array__(self, dtype=None, copy=None):
            return values

        def __getitem__(self, index):
            raise AssertionError

    for recording in (Frame(), Tensor()):
        np.testing.assert_array_equal(as_recording(recording, 20_000).traces[5:9], values[5:9])
    with pytest.raises(ValueError, match=r"`recording` must be an array. Received: a sparse csr_array.*toarray\(\)"):
        as_recording(pytest.importorskip("scipy.sparse").csr_array(values), 20_000)


def test_segments_are_joined_and_spikes_in_the_gap_are_dropped():
    si = pytest.importorskip("spikeinterface.core", reason="the extra `spikes` is not installed")
    parts = [np.ones((30_000, 2), np.float32), np.ones((20_000, 2), np.float32)]
    recording = as_recording(si.NumpyRecording(parts, 20_000.0))
    assert recording.segments == [(0, 30_000), (30_400, 50_400)] and recording.traces.shape == (50_400, 2)
    assert segment_message(recording.segments)[0].startswith("2 segments were sorted together, with 20 ms")
    one = as_recording(parts[0], 20_000)
    assert one.segments == [(0, 30_000)] and segment_message(one.segments) == []
    spikes = Spikes(np.array([0, 29_999, 30_000, 30_399, 30_400, 50_399]), np.arange(6), np.ones(6, np.float32))
    assert inside_segments(spikes, recording.segments).unit_id.tolist() == [0, 1, 4, 5]
    assert inside_segments(spikes, one.segments) is spikes
