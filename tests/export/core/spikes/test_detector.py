"""Spikes of whole recordings and of streams: equal, bounded in delay, restored from text."""

import numpy as np
import pytest
from crsae_onnx.core.errors import SignalError
from crsae_onnx.core.spikes.detector import SpikeReader, SpikeStream
from crsae_onnx.core.spikes.whitening import Whitening

SIZE, SAMPLES = 20, 12_000


@pytest.fixture(scope="module")
def kernel():
    time = np.arange(SIZE)
    narrow, wide = np.exp(-0.5 * ((time - 6) / 1.2) ** 2), np.exp(-0.5 * ((time - 7) / 3.0) ** 2)
    shapes = np.stack([narrow, wide * np.cos(time / 2)], 1)
    return (shapes / np.linalg.norm(shapes, axis=0))[:, None, :].astype(np.float32)


@pytest.fixture(scope="module")
def reader(kernel):
    whitening = Whitening(np.array([[0.5], [0.1], [0.0]]), np.eye(1), [100.0], lead=1)
    return SpikeReader(whitening, kernel, [12.0, 14.0], [0.1, 0.1], [7.0, 7.0], [6, 7], [-50.0, 40.0], 10_000,
                       refractory_s=0.002, frame_samples=700)


@pytest.fixture(scope="module")
def recording(reader, kernel):
    """Raw samples whose whitened form holds known spikes: the whitening is undone by a solve."""
    rng = np.random.default_rng(0)
    white = rng.normal(size=SAMPLES)
    for at in range(100, SAMPLES - 100, 150):
        unit = int(rng.integers(2))
        white[at:at + SIZE] += reader.mean_amplitude[unit] * kernel[:, 0, unit]
    spectrum = np.fft.rfft(np.pad(reader.whitening.taps[:, 0], (0, SAMPLES - 3))) * np.exp(
        2j * np.pi * np.fft.rfftfreq(SAMPLES))
    return (np.fft.irfft(np.fft.rfft(white) / spectrum, SAMPLES) + 100)[:, None]


def encode(kernel):
    """A stand-in encoder: thresholded correlations."""
    def run(pieces):
        from crsae_onnx.core.spikes.correlations import correlate

        return np.stack([np.maximum(correlate(p, kernel).T - 6, 0) for p in pieces])
    return run


def test_known_spikes_are_read(reader, kernel, recording):
    spikes = reader.find(encode(kernel), recording)
    expected = np.arange(100, SAMPLES - 100, 150)
    assert [v.dtype for v in spikes] == [np.int64, np.int64, np.float32]
    start = spikes.peak_sample - reader.peak_offset[spikes.unit_id]
    assert len(start) == len(expected) and np.abs(start - expected).max() <= 1
    np.testing.assert_allclose(spikes.peak_value, reader.peak_value[spikes.unit_id], rtol=0.35)


@pytest.mark.parametrize("chunk", [1, 333, 700, 5000, SAMPLES])
def test_a_stream_gives_the_spikes_of_the_whole(reader, kernel, recording, chunk):
    recording = recording[:2500] if chunk == 1 else recording
    whole, stream, parts = reader.find(encode(kernel), recording), reader.stream(encode(kernel)), []
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


def test_a_stream_forgets(reader, kernel, recording):
    stream = SpikeStream(reader, encode(kernel))
    kept = []
    for start in range(0, SAMPLES, 500):
        stream.push(recording[start:start + 500])
        kept.append(stream.buffered)
    assert max(kept) < 3 * reader.frame_samples


def test_frames_do_not_change_the_spikes(reader, kernel, recording):
    other = SpikeReader.from_json(reader.to_json())
    other.frame_samples = 3000
    a, b = reader.find(encode(kernel), recording), other.find(encode(kernel), recording)
    np.testing.assert_array_equal(a.peak_sample, b.peak_sample)
    np.testing.assert_array_equal(a.unit_id, b.unit_id)


def test_text_restores_the_reader(reader, kernel, recording):
    again = SpikeReader.from_json(reader.to_json())
    for a, b in zip(reader.find(encode(kernel), recording), again.find(encode(kernel), recording), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": 1, "whitening": {}}'])
def test_other_text_is_refused(text):
    with pytest.raises(ValueError, match="spike reader"):
        SpikeReader.from_json(text)


def test_unfit_recordings_are_refused(reader, kernel):
    for shape in ((100,), (100, 2), (5, 1)):
        with pytest.raises(SignalError):
            reader.find(encode(kernel), np.zeros(shape))
    with pytest.raises(SignalError):
        reader.stream(encode(kernel)).push(np.zeros((10, 2)))
    with pytest.raises(SignalError, match="`chunk` is a masked array"):
        reader.stream(encode(kernel)).push(np.ma.masked_equal(np.zeros((10, 1)), 0))
