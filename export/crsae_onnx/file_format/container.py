"""The exported file as bytes: a graph, what it says about itself, and a checksum of both (standard library alone).

An ONNX file is a protobuf message, and messages may be written one behind the other. So a file of this package is

    the graph  |  one metadata entry, our JSON  |  one metadata entry, the SHA-256 of all bytes before it

which every ONNX reader reads as one model. The checksum stands at a place that is known without parsing: a damaged
file is refused before any parser sees it. That matters, since onnxruntime's parser was made for files that are whole.
A checksum detects damage; it is no signature.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from crsae_onnx.core.atomic_files import atomic_write
from crsae_onnx.core.spec import CHECKSUM_KEY, FORMAT_VERSION, METADATA_KEY
from crsae_onnx.file_format.facts import Facts

#: No encoder is larger; a larger file is refused before it is read.
LARGEST_FILE = 2**28
#: No ONNX file has more fields at its top; what has more is refused, or a foreign file could keep the parser busy.
_MOST_FIELDS = 10_000
_METADATA = 14  # field of an ONNX model that holds key and value entries
_HEX = 64  # characters of a SHA-256
#: Facts of every file (``file_format.facts.encoder_facts``).
REQUIRED = ("rank", "channels", "filters", "kernel_size", "strides", "iterations", "tolerance", "code_prior",
            "likelihood", "active", "block", "inputs", "outputs", "sigma", "step_size", "unit", "precision",
            "weights_sha256", "preprocessing", "lambda_reg", "penalty_weight", "threshold", "config", "versions")


class ModelFileError(ValueError):
    """The file is missing, damaged, or no encoder of this package."""


def pack(graph: bytes, facts: Facts) -> bytes:
    """The bytes of a file.

    Args:
        graph: serialised ONNX model without metadata of this package.
        facts: dict of plain JSON, what the file says about itself.

    Example:
        >>> from crsae_onnx.file_format.container import pack, unpack
        >>> unpack(pack(b"", {"filters": 3}))[1]
        {'filters': 3}
    """
    body = graph + _entry(METADATA_KEY, json.dumps(facts))
    return body + _entry(CHECKSUM_KEY, hashlib.sha256(body).hexdigest())


def unpack(content: bytes, path: str | Path = "The file") -> tuple[bytes, Facts]:
    """(graph, facts) of the bytes of a file whose checksum is right.

    Args:
        content: bytes of a whole file.
        path: named in errors.

    Raises:
        ModelFileError: the content is damaged, foreign, or was changed since it was written.
    """
    stored = content[-_HEX:]
    ending = _entry(CHECKSUM_KEY, stored.decode("latin-1"))
    if not content.endswith(ending):
        raise _no_checksum(content, path)
    body = content[:-len(ending)]
    if hashlib.sha256(body).hexdigest().encode() != stored:
        raise ModelFileError(f"{path} is damaged, or was changed since it was written: its checksum does not fit its "
                             "content. Copy or convert it again.")
    try:
        entries, start = _entries(body)
        return body[:start], json.loads(entries[METADATA_KEY])
    except (ValueError, KeyError, RecursionError) as error:
        raise ModelFileError(f"{path}: the metadata {METADATA_KEY!r} is damaged ({error}). Convert the model "
                             "again.") from error


def read(path: str | os.PathLike[str] | bytes) -> tuple[bytes, Facts]:
    """(bytes, facts) of an exported file, checked: whole, of this package, of a format that this release reads.

    Args:
        path: of the file, or its content as bytes.

    Raises:
        ModelFileError: the file is missing, unreadable, damaged, foreign or of a newer format.

    Example:
        >>> import keras_crsae as kc
        >>> from crsae_onnx.convert import convert
        >>> from crsae_onnx.file_format.container import read
        >>> model = kc.CRsAE(filters=3, kernel_size=45, iterations=20, sigma=1.0, lambda_init=4.0)
        >>> model.set_dictionary(kc.data.spike_templates(45, 3))
        >>> content, facts = read(convert(model, "encoder.onnx"))
        >>> facts["filters"]
        3
    """
    if isinstance(path, bytes):
        return path, _check_facts(unpack(path)[1], "The file")
    path = Path(path)
    content = _content(path)
    return content, _check_facts(unpack(content, path)[1], path)


def rewrite(path: str | os.PathLike[str], facts: Facts) -> None:
    """Replace what a file says about itself; its graph stays as it is, and a killed process leaves no half file.

    Example:
        >>> import keras_crsae as kc
        >>> from crsae_onnx.convert import convert
        >>> from crsae_onnx.file_format.container import read, rewrite
        >>> model = kc.CRsAE(filters=3, kernel_size=45, iterations=20, sigma=1.0, lambda_init=4.0)
        >>> model.set_dictionary(kc.data.spike_templates(45, 3))
        >>> path = convert(model, "described.onnx")
        >>> rewrite(path, {**read(path)[1], "unit": "uV"})
        >>> read(path)[1]["unit"]
        'uV'
    """
    path = Path(path)
    write(path, pack(unpack(_content(path), path)[0], facts))


def write(path: str | os.PathLike[str], content: bytes) -> None:
    """Write bytes; a killed process leaves no half file."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def _content(path: Path) -> bytes:
    """The bytes, if a look at the file's size and first byte does not already rule it out."""
    if not path.is_file():
        raise ModelFileError(f"No file at {path}. Expected an .onnx file written by crsae_onnx.convert.")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > LARGEST_FILE:
                raise ModelFileError(f"{path} has {size:,} bytes; no encoder of this package is larger than "
                                     f"{LARGEST_FILE:,}. Expected an .onnx file written by crsae_onnx.convert.")
            first = file.read(1)
            content = first + file.read(LARGEST_FILE) if first == b"\x08" else b""
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from error
    if not content:  # an ONNX file starts with its IR version, protobuf field 1
        raise ModelFileError(f"{path} is not an ONNX file. Expected one written by crsae_onnx.convert.")
    return content


def _no_checksum(content: bytes, path: str | Path) -> ModelFileError:
    """The error for a file that does not end in a checksum: the reason, as far as its metadata shows."""
    try:
        entries, _ = _entries(content)
    except ValueError as error:
        return ModelFileError(f"{path} is damaged, or not an ONNX file: {error}. Copy or convert it again.")
    if METADATA_KEY not in entries:
        return ModelFileError(f"{path} is an ONNX file, but not an encoder of this package: its metadata has no "
                              f"{METADATA_KEY!r}. Convert a CRsAE with crsae_onnx.convert.")
    try:
        _check_facts(json.loads(entries[METADATA_KEY]), path)  # a newer format may keep its checksum elsewhere
    except ModelFileError as error:
        return error
    except (ValueError, RecursionError) as error:
        return ModelFileError(f"{path}: the metadata {METADATA_KEY!r} is damaged ({error}). Convert the model again.")
    return ModelFileError(f"{path} does not end in its checksum: it is damaged, or another tool wrote it anew. Convert "
                          "the model again (onnxruntime itself runs such a file without this package's checks).")


def _check_facts(facts: Facts, path: str | Path) -> Facts:
    try:
        version = int(facts["format_version"])
    except (ValueError, TypeError, KeyError) as error:
        raise ModelFileError(f"{path}: the metadata {METADATA_KEY!r} is damaged ({error!r}). Convert the model "
                             "again.") from error
    if version > FORMAT_VERSION:
        raise ModelFileError(f"{path} has format version {version}; this release reads up to {FORMAT_VERSION}. "
                             "Update keras-crsae.")
    missing = [name for name in REQUIRED if name not in facts]
    if missing:
        raise ModelFileError(f"{path}: the metadata lacks {missing}. Convert the model again.")
    return facts


# Protobuf, as far as a list of top-level fields needs it.


def _entry(key: str, value: str) -> bytes:
    """One metadata entry as protobuf: a message of the strings 1 (key) and 2 (value)."""
    inner = b"".join(bytes([number << 3 | 2]) + _varint(len(text)) + text
                     for number, text in ((1, key.encode()), (2, value.encode("latin-1", "replace"))))
    return bytes([_METADATA << 3 | 2]) + _varint(len(inner)) + inner


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])


def _entries(content: bytes) -> tuple[dict[str, str], int]:
    """({key: value} of the metadata entries, where the last of our JSON begins); ValueError where it is no protobuf."""
    entries: dict[str, str] = {}
    ours = len(content)
    for count, (number, start, value) in enumerate(_fields(memoryview(content))):
        if count == _MOST_FIELDS:
            raise ValueError(f"it has more than {_MOST_FIELDS:,} fields")
        if number == _METADATA and value is not None:
            strings = {n: bytes(v).decode("utf-8", "replace") for n, _, v in _fields(value) if v is not None}
            key = strings.get(1, "")
            entries[key] = strings.get(2, "")
            ours = start if key == METADATA_KEY else ours
    return entries, ours


def _fields(content: memoryview) -> Iterator[tuple[int, int, memoryview | None]]:
    """Yield (number, start, value) of the fields of a message; value: a view where the field holds bytes, else None."""
    at, size = 0, len(content)
    while at < size:
        start = at
        tag, at = _read_varint(content, at)
        number, kind = tag >> 3, tag & 7
        value = None
        if kind == 0:
            _, at = _read_varint(content, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        elif kind == 2:
            length, at = _read_varint(content, at)
            value, at = content[at:at + length], at + length
        else:
            raise ValueError(f"no protobuf field at byte {start}")
        if at > size or number == 0:
            raise ValueError(f"the field at byte {start} reaches past the end")
        yield number, start, value


def _read_varint(content: memoryview, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(content) and shift < 64:
        byte = content[at]
        number, at, shift = number | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return number, at
    raise ValueError(f"no number ends at byte {at}")
