"""Compressed bodies of HTTP: read within a limit, written where the client accepts them (standard library)."""

from __future__ import annotations

import zlib

#: Encodings of requests that are read.
ENCODINGS = ("gzip", "deflate", "identity")
#: Shorter answers are not compressed.
LEAST_COMPRESSED = 1000
#: gzip allows several members, one behind the other; nobody needs more.
_MOST_MEMBERS = 16


class EncodingError(ValueError):
    """The encoding is unknown, or the body is not encoded in it."""


class BodyReader:
    """A body piece by piece, decompressed; never more than ``most`` bytes and one are held.

    Args:
        encoding: value of the header ``Content-Encoding``, or None.
        most: bytes of the decompressed body.

    Raises:
        EncodingError: an encoding that is not among ``ENCODINGS``.

    Example:
        >>> import gzip
        >>> from crsae_onnx.serving.content_encoding import BodyReader
        >>> reader = BodyReader("gzip", most=100)
        >>> reader.feed(gzip.compress(b"request"))
        True
        >>> reader.finish()
        b'request'
        >>> BodyReader("gzip", most=100).feed(gzip.compress(bytes(10**7)))
        False
    """

    def __init__(self, encoding: str | None, most: int) -> None:
        self.encoding, self.most = (encoding or "identity").strip().lower(), most
        if self.encoding not in ENCODINGS:
            raise EncodingError(f"Content-Encoding must be one of {', '.join(ENCODINGS)}. Received: {encoding!r:.50}")
        self._body, self._members = bytearray(), 1
        self._stream = None if self.encoding == "identity" else self._new_stream()

    def _new_stream(self) -> zlib._Decompress:
        return zlib.decompressobj(zlib.MAX_WBITS | 32)  # reads the header of gzip or of zlib

    def feed(self, piece: bytes) -> bool:
        """Take a piece; False once the body is larger than ``most``.

        Raises:
            EncodingError: the piece is not compressed as announced.
        """
        if self._stream is None:
            self._body += piece
            return len(self._body) <= self.most
        try:
            while piece and len(self._body) <= self.most:
                if self._stream.eof:
                    self._stream, self._members = self._new_stream(), self._members + 1
                    if self._members > _MOST_MEMBERS:
                        raise EncodingError(f"The request has more than {_MOST_MEMBERS} members of gzip. Send one.")
                self._body += self._stream.decompress(piece, self.most - len(self._body) + 1)
                piece = self._stream.unconsumed_tail or self._stream.unused_data
        except zlib.error as error:
            raise EncodingError(f"The request is not {self.encoding}, its Content-Encoding: {error}.") from error
        return len(self._body) <= self.most

    def finish(self) -> bytes:
        """The whole body.

        Raises:
            EncodingError: the compressed body is cut short.
        """
        if self._stream is not None and not self._stream.eof:
            raise EncodingError(f"The request ends before its {self.encoding} does.")
        return bytes(self._body)


def accepts_gzip(header: str | None) -> bool:
    """Whether a client takes answers in gzip, by its header ``Accept-Encoding``.

    Example:
        >>> from crsae_onnx.serving.content_encoding import accepts_gzip
        >>> accepts_gzip("deflate, gzip;q=0.5"), accepts_gzip("gzip;q=0, *"), accepts_gzip("br"), accepts_gzip(None)
        (True, False, False, False)
    """
    weights: dict[str, bool] = {}
    for entry in (header or "").lower().split(","):
        name, _, options = entry.partition(";")
        quality = options.strip().removeprefix("q=").strip()
        weights[name.strip()] = quality == options.strip() or quality.strip("0.") != ""
    return weights.get("gzip", weights.get("*", False))


def compress(body: bytes) -> bytes:
    """gzip of a body, at its fastest."""
    stream = zlib.compressobj(1, wbits=zlib.MAX_WBITS | 16)
    return stream.compress(body) + stream.flush()
