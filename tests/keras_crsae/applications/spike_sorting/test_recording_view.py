"""SpikeInterface recordings read as arrays."""

import numpy as np
import pytest

from keras_crsae.applications.spike_sorting.recording_view import (
    SEGMENT_GAP_MS,
    ArrayView,
    JoinedSegments,
    channel_locations,
    is_recording,
)

si = pytest.importorskip("spikeinterface.core", reason="the extra `spikes` is not installed")

RATE = 20_000


def test_a_view_reads_like_the_array(probe_recording):
    raw = probe_recording.get_traces()
    view = ArrayView(probe_recording, scaled=False)
    assert view.shape == raw.shape and view.dtype == np.int16 and view.ndim == 2 and len(view) == len(raw)
    for index in (slice(10, 20), slice(None, None, 1000), slice(-5, None), slice(20, 10), 7, -1, np.int64(3),
                  (slice(5, 9), 2), (slice(5, 9), slice(1, 3)), (slice(5, 9), [3, 0]), (4, slice(None)), (4, 1),
                  (slice(9, 9), 1)):
        np.testing.assert_array_equal(view[index], raw[index], err_msg=str(index))
    np.testing.assert_array_equal(np.asarray(view), raw)


def test_a_view_gives_microvolts_where_gains_are_known(probe_recording):
    view = ArrayView(probe_recording)
    assert view.scaled and view.dtype == np.float32
    stored = probe_recording.get_traces()[:100]
    np.testing.assert_allclose(view[:100], stored * [0.5, 1, 2, 4] + [0, 10, 0, 0], rtol=1e-6)
    bare = si.NumpyRecording([np.zeros((100, 2), np.float64)], RATE)
    assert not ArrayView(bare).scaled and ArrayView(bare).dtype == np.float64
    with pytest.raises(ValueError, match="set_channel_gains"):
        ArrayView(bare, scaled=True)


def test_a_view_refuses_what_it_cannot_read(probe_recording):
    two = si.append_recordings([probe_recording, probe_recording])
    with pytest.raises(ValueError, match="2 segments.*0 to 1.*select_segments.*--segment.*concatenate_recordings"):
        ArrayView(two)
    with pytest.raises(ValueError, match="2 segments, their numbers are 0 to 1. Received: segment=2"):
        ArrayView(two, segment=2)
    assert ArrayView(si.concatenate_recordings([two])).shape == (2 * len(ArrayView(probe_recording)), 4)
    with pytest.raises(ValueError, match="Received: ndarray"):
        ArrayView(np.zeros((5, 2)))
    view = ArrayView(probe_recording)
    for index in (slice(None, None, -1), [1, 2], (1, 2, 3)):
        with pytest.raises(IndexError, match="slice of time"):
            view[index]
    with pytest.raises(IndexError):
        view[len(view)]


def test_a_view_reads_the_segment_that_is_chosen():
    parts = [np.arange(40).reshape(20, 2), np.arange(100, 130).reshape(15, 2)]
    recording = si.NumpyRecording(parts, RATE)
    for segment in (0, 1):
        view = ArrayView(recording, segment=segment)
        assert view.shape == parts[segment].shape and view.segment == segment
        np.testing.assert_array_equal(view[3:7], parts[segment][3:7])


def test_a_view_reads_only_what_is_asked(probe_recording, monkeypatch):
    read = []
    original = type(probe_recording).get_traces
    monkeypatch.setattr(type(probe_recording), "get_traces",
                        lambda self, **k: read.append((k["start_frame"], k["end_frame"])) or original(self, **k))
    ArrayView(probe_recording)[1000:1010]
    assert read == [(1000, 1010)]


def test_locations_are_those_of_the_probe_or_none(probe_recording):
    np.testing.assert_array_equal(channel_locations(probe_recording), [[0, 0], [20, 0], [0, 20], [20, 20]])
    assert channel_locations(si.NumpyRecording([np.zeros((100, 2))], RATE)) is None


def test_arrays_and_sortings_are_no_recordings(probe_recording):
    assert is_recording(probe_recording)
    sorting = si.NumpySorting.from_samples_and_labels([np.array([5])], [np.array([0])], RATE)
    assert not is_recording(np.zeros((5, 2))) and not is_recording(sorting) and not is_recording(None)


def test_segments_are_joined_with_gaps_of_nan():
    parts = [np.arange(4000).reshape(2000, 2).astype(np.int16), np.arange(100, 3100).reshape(1500, 2).astype(np.int16)]
    view = JoinedSegments(si.NumpyRecording(parts, RATE))
    gap = round(SEGMENT_GAP_MS / 1000 * RATE)
    whole = np.concatenate([parts[0], np.full((gap, 2), np.nan), parts[1]]).astype(np.float32)
    assert view.shape == whole.shape and view.dtype == np.float32 and len(view) == len(whole)
    assert view.segments == [(0, 2000), (2000 + gap, 3500 + gap)]
    for index in (slice(None), slice(1990, 2010), slice(2010, 2020), slice(None, None, 7), (slice(2300, 2500), 1), -1):
        np.testing.assert_array_equal(view[index], whole[index], err_msg=str(index))
