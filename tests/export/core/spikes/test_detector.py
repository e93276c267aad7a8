"""Spikes of whole recordings and of streams: equal, bounded in delay, restored from text."""

import numpy as np
import pytest
from crsae_onnx.core.errors import SignalError
from crsae_onnx.core.spikes.detector import SpikeReader, SpikeStream

SAMPLES = 12_000


def test_known_spikes_are_read(reader, encode, recording):
    spikes = reader.find(encode, recording)
    expected = np.arange(100, SAMPLES - 100, 150)
    assert [v.dtype for v in spikes] == [np.int64, np.int64, np.float32]
    start = spikes.peak_sample - reader.peak_offset[spikes.unit_id]
    assert len(start) == len(expected) and np.abs(start - expected).max() <= 1
    np.testing.assert_allclose(spikes.peak_value, reader.peak_value[spikes.unit_id], rtol=0.35)


@pytest.mark.parametrize("chunk", [1, 333, 700, 5000, SAMPLES])
def test_a_stream_gives_the_spikes_of_the_whole(reader, encode, recording, chunk):
    recording = recording[:2500] if chunk == 1 else recording
    whole, stream, parts = reader.find(encode, recording), reader.stream(encode), []
    for start in range(0, len(recording), chunk):
        spikes = stream.push(recording[start:start + chunk])
        parts.append(spikes)
        late = stream.samples - stream.complete
        assert late <= reader.delay_s * reader.sampling_frequency, "a frame and its margin at most"
    parts.append(stream.finish())
    sample, unit, amplitude = (np.concatenate(p) for p in zip(*parts, strict=True))
    order = np.lexsort((unit, sample))
    np.testing.assert_array_equal(sample[order], whole.peak_sample)
    np.testing.assert_array_equal(unit[order], whole.unit_id)
    np.testing.assert_allclose(amplitude[order], whole.peak_value, rtol=1e-4)
    assert stream.real_time_factor > 0


def test_a_stream_forgets(reader, encode, recording):
    stream = SpikeStream(reader, encode)
    kept = []
    for start in range(0, SAMPLES, 500):
        stream.push(recording[start:start + 500])
        kept.append(stream.buffered)
    assert max(kept) < 3 * reader.frame_samples


def test_frames_and_workers_do_not_change_the_spikes(reader, encode, recording):
    other = SpikeReader.from_json(reader.to_json())
    other.frame_samples = 3000
    a = reader.find(encode, recording)
    for b in (other.find(encode, recording), reader.find(encode, recording, workers=3)):
        np.testing.assert_array_equal(a.peak_sample, b.peak_sample)
        np.testing.assert_array_equal(a.unit_id, b.unit_id)


def test_text_restores_the_reader(reader, encode, recording):
    again = SpikeReader.from_json(reader.to_json())
    for a, b in zip(reader.find(encode, recording), again.find(encode, recording), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": 1, "whitening": {}}'])
def test_other_text_is_refused(text):
    with pytest.raises(ValueError, match="spike reader"):
        SpikeReader.from_json(text)


def test_unfit_recordings_are_refused(reader, encode):
    for shape in ((100,), (100, 2), (5, 1)):
        with pytest.raises(SignalError):
            reader.find(encode, np.zeros(shape))
    with pytest.raises(SignalError):
        reader.stream(encode).push(np.zeros((10, 2)))
    with pytest.raises(SignalError, match="`chunk` is a masked array"):
        reader.stream(encode).push(np.ma.masked_equal(np.zeros((10, 1)), 0))
