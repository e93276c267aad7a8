"""Early reports of spikes: bounded in delay, the same in chunks of any length, corrected to those of the whole."""

import numpy as np
import pytest
from crsae_onnx.core.errors import SignalError
from crsae_onnx.core.spikes import live_stream
from crsae_onnx.core.spikes.background_stream import Answer
from crsae_onnx.core.spikes.detector import Spikes
from crsae_onnx.core.spikes.live_stream import EventKind, LiveStream


def run(stream, recording, chunk):
    """(events, samples received at each) of a whole recording."""
    told = []
    with stream:
        for start in range(0, len(recording), chunk):
            told += [(event, stream.samples) for event in stream.push(recording[start:start + chunk])]
        told += [(event, stream.samples) for event in stream.finish()]
    return [event for event, _ in told], [samples for _, samples in told]


def table(events):
    """{number: (sample, unit, value)} after all events."""
    known = {}
    for kind, spike, *what in events:
        assert (spike in known) == (kind in (EventKind.CORRECTED, EventKind.WITHDRAWN))
        known[spike] = tuple(what)
        if kind == EventKind.WITHDRAWN:
            del known[spike]
    return known


def by_time(known):
    return sorted((sample, unit) for sample, unit, _ in known.values())


@pytest.mark.parametrize(("frame", "chunk", "delay"), [(64, 64, "least"), (32, 7, 0.009), (100, 12_000, None)])
def test_events_end_at_the_spikes_of_the_whole_recording(reader, encode, recording, frame, chunk, delay):
    whole = reader.find(encode, recording)
    events, _ = run(LiveStream(reader, encode, frame_samples=frame, delay=delay), recording, chunk)
    known = table(events)
    assert by_time(known) == list(zip(whole.peak_sample.tolist(), whole.unit_id.tolist(), strict=True))
    values = [value for *_, value in sorted(known.values())]
    np.testing.assert_allclose(values, whole.peak_value, rtol=0.06)
    reported = sum(event.kind == EventKind.REPORTED for event in events)
    assert reported > 0.9 * len(whole.peak_sample), "most are told early"


@pytest.mark.parametrize(("frame", "chunk", "delay"), [(64, 64, None), (64, 64, "least"), (16, 1, 0.008)])
def test_reports_keep_their_delay(reader, encode, recording, frame, chunk, delay):
    stream = LiveStream(reader, encode, frame_samples=frame, delay=delay, corrections=False)
    # 13 samples of the longest template after its extremum, 1 that whitening needs, and a frame.
    least = (13 + 1 + frame) / 10_000
    assert stream.delay_s == pytest.approx({None: least + 0.001, "least": least}.get(delay, delay))
    events, samples = run(stream, recording[:3000], chunk)
    late = np.array(samples) - [event.peak_sample for event in events]
    assert len(events) >= 18 and late.max() <= stream.delay_s * 10_000 + 1e-6
    assert {event.kind for event in events} == {EventKind.REPORTED}


def test_reports_depend_on_the_samples_alone(reader, encode, recording):
    first, *others = [run(LiveStream(reader, encode, frame_samples=48, corrections=False), recording[:4000], chunk)[0]
                      for chunk in (48, 5, 1000, 4000)]
    assert len(first) > 20 and all(other == first for other in others)


def test_whole_numbers_and_blanks_are_taken(reader, encode, recording):
    counts = np.round(recording[:3000] * 50).astype(np.int16)[:, :1] // 50
    counts[1000:1400] = counts[1000]
    events, _ = run(LiveStream(reader, encode, frame_samples=64), counts, 64)
    whole = reader.find(encode, counts)
    assert by_time(table(events)) == list(zip(whole.peak_sample.tolist(), whole.unit_id.tolist(), strict=True))


def test_memory_does_not_grow(reader, encode, recording):
    stream = LiveStream(reader, encode, frame_samples=64, corrections=False)
    kept = []
    for start in range(0, len(recording), 64):
        stream.push(recording[start:start + 64])
        kept.append(stream.buffered)
    assert max(kept) < 400 and stream.complete > len(recording) - 200 and stream.real_time_factor > 0


def test_corrections_say_what_changed(reader, encode, monkeypatch):
    """Moved, of another unit, of another value, none at all, one more; near the border it is left open."""
    answers = []

    class Prepared:
        seconds = 0.0

        def __init__(self, stream):
            pass

        def push(self, chunk):
            pass

        def answers(self):
            return [answers.pop(0)] if answers else []

        finish = close = lambda self: None

    def answer(spikes, complete):
        sample, unit, value = zip(*spikes, strict=True)
        return Answer(Spikes(np.array(sample), np.array(unit), np.array(value, np.float32)), complete)

    monkeypatch.setattr(live_stream, "BackgroundStream", Prepared)
    stream = LiveStream(reader, encode)
    told = [(100, 0, -50.0), (200, 0, -50.0), (300, 0, -50.0), (400, 1, 40.0), (500, 1, 40.0), (604, 0, -50.0)]
    found = Spikes(*(np.array(v) for v in zip(*told, strict=True)))
    monkeypatch.setattr(reader, "join", lambda *_: found, raising=False)
    assert [event[2:] for event in stream.push(np.random.default_rng(0).normal(100, 2, (64, 1)))] == told
    answers.append(answer([(100, 0, -51.0), (203, 0, -50.0), (301, 1, 40.0), (400, 1, 50.0), (700, 1, 39.0)], 600))
    assert [tuple(event) for event in stream.push(np.zeros((0, 1)))] == [
        ("corrected", 3, 400, 1, 50.0), ("corrected", 1, 203, 0, -50.0), ("corrected", 2, 301, 1, 40.0),
        ("added", 6, 700, 1, 39.0), ("withdrawn", 4, 500, 1, 40.0)]
    assert stream.settled == 600
    answers.append(answer([(605, 0, -50.0)], 1400))
    assert [tuple(event) for event in stream.push(np.zeros((0, 1)))] == [("corrected", 5, 605, 0, -50.0)]


def test_what_an_encoder_raises_reaches_the_user(reader, recording):
    def broken(pieces):
        raise RuntimeError("no encoder")

    reader = type(reader).from_json(reader.to_json())
    reader.matcher.compiled = False
    stream = LiveStream(reader, broken)
    with pytest.raises(RuntimeError, match="no encoder"):  # at whichever comes after the thread has failed
        _ = stream.push(recording[:2000]), stream.finish()
    stream.close()


def test_unfit_options_and_chunks_are_refused(reader, encode):
    with pytest.raises(ValueError, match=r"`delay` must be at least 0\.0078 s.*Received: 0\.005"):
        LiveStream(reader, encode, delay=0.005)
    for options in ({"delay": -1}, {"delay": "soon"}, {"frame_samples": 0}, {"frame_samples": 2.5}):
        with pytest.raises(ValueError, match=next(iter(options))):
            LiveStream(reader, encode, **options)
    with LiveStream(reader, encode) as stream:
        for chunk in (np.zeros((10, 2)), np.zeros(10), np.ma.masked_equal(np.zeros((10, 1)), 0)):
            with pytest.raises(SignalError):
                stream.push(chunk)
        assert stream.push(np.zeros((0, 1))) == [] == stream.finish()
        with pytest.raises(ValueError, match="was finished"):
            stream.push(np.zeros((10, 1)))
