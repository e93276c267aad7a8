"""Compressed bodies, within limits."""

import gzip
import tracemalloc
import zlib

import pytest
from crsae_onnx.serving.content_encoding import BodyReader, EncodingError, accepts_gzip, compress

BODY = bytes(range(256)) * 40


def read(encoding, body, most=20_000, step=97):
    reader = BodyReader(encoding, most)
    for at in range(0, len(body), step):
        if not reader.feed(body[at:at + step]):
            return None
    return reader.finish()


@pytest.mark.parametrize("encoding, body", [
    (None, BODY), ("identity", BODY), ("gzip", gzip.compress(BODY)), ("GZIP", compress(BODY)),
    ("deflate", zlib.compress(BODY)), ("gzip", gzip.compress(BODY[:999]) + gzip.compress(BODY[999:]))])
@pytest.mark.parametrize("step", [1, 97, 10**6])
def test_bodies_are_read_in_pieces_of_any_length(encoding, body, step):
    assert read(encoding, body, step=step) == BODY


@pytest.mark.parametrize("encoding, packed", [("gzip", gzip.compress), ("deflate", zlib.compress), (None, bytes)])
def test_no_more_than_the_limit_is_held(encoding, packed):
    assert read(encoding, packed(BODY), most=len(BODY)) == BODY
    assert read(encoding, packed(BODY), most=len(BODY) - 1) is None


def test_a_bomb_is_stopped_early():
    bomb = gzip.compress(bytes(2**28))
    reader = BodyReader("gzip", 1000)
    tracemalloc.start()
    assert not reader.feed(bomb)
    assert tracemalloc.get_traced_memory()[1] < 2**20  # and not 2**28
    tracemalloc.stop()
    with pytest.raises(EncodingError, match="members"):
        read("gzip", gzip.compress(b"") * 10_000, step=2**16)


@pytest.mark.parametrize("encoding, body, words", [
    ("br", BODY, "gzip, deflate, identity"), ("gzip", BODY, "is not gzip"), ("gzip", gzip.compress(BODY)[:-9], "ends"),
    ("gzip", b"", "ends before"), ("deflate", gzip.compress(BODY) + b"and more", "is not deflate")])
def test_what_is_not_as_announced_is_refused(encoding, body, words):
    with pytest.raises(EncodingError, match=words):
        read(encoding, body)


@pytest.mark.parametrize("header, accepted", [
    ("gzip", True), ("gzip, deflate, br", True), ("gzip;q=0", False), ("gzip; q=0.0", False), ("*", True),
    ("identity, gzip;q=0.001", True), ("identity", False), ("", False), (None, False)])
def test_answers_are_compressed_for_those_who_take_it(header, accepted):
    assert accepts_gzip(header) == accepted
