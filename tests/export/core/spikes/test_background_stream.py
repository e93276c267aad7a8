"""A stream in a thread gives what the stream gives, and what it fails with."""

import numpy as np
import pytest
from crsae_onnx.core.spikes.background_stream import BackgroundStream


@pytest.mark.parametrize("chunk", [100, 2500])
def test_the_same_spikes_come_in_the_same_order(reader, encode, recording, chunk):
    background = BackgroundStream(reader.stream(encode))
    for start in range(0, len(recording), chunk):
        background.push(recording[start:start + chunk])
    background.finish()
    answers = background.answers()
    whole = reader.find(encode, recording)
    np.testing.assert_array_equal(np.sort(np.concatenate([a.spikes.peak_sample for a in answers])), whole.peak_sample)
    assert [a.complete for a in answers] == sorted(a.complete for a in answers)
    assert answers[-1].complete >= len(recording) and background.answers() == [] and background.seconds > 0


def test_a_stop_does_not_wait_for_the_rest(reader, encode, recording):
    background = BackgroundStream(reader.stream(encode))
    background.push(recording)
    background.close()
    assert len(background.answers()) <= 1


def test_a_failure_is_raised_where_the_answers_are_read(reader):
    def broken(pieces):
        raise RuntimeError("no encoder")

    reader = type(reader).from_json(reader.to_json())
    reader.matcher.compiled = False
    background = BackgroundStream(reader.stream(broken))
    background.push(np.random.default_rng(0).normal(100, 2, (3000, 1)))
    background.finish()
    with pytest.raises(RuntimeError, match="no encoder"):
        background.answers()
