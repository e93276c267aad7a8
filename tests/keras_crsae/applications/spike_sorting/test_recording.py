"""Recordings are checked and get one interface."""

import numpy as np
import pytest

from keras_crsae.applications.spike_sorting.parameters import SortingParameters
from keras_crsae.applications.spike_sorting.recording import as_recording, check_options


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
