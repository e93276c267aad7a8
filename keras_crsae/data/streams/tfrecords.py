"""Training batches from TFRecord files, record by record in any order while training runs."""

from __future__ import annotations

import glob
import os
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from crsae_onnx.core.errors import FileError, one_line
from crsae_onnx.core.validation import as_positive_int

from keras_crsae.backend import tf
from keras_crsae.data.batch_order import BatchOrder
from keras_crsae.data.paths import existing_file
from keras_crsae.data.streams.batch_source import BatchSource

#: A record: length (uint64) and its checksum (uint32), the content, its checksum (uint32); all little-endian.
_HEADER, _FOOTER = struct.Struct("<QI"), 4


def record_batches(files: str | os.PathLike | Sequence[str | os.PathLike], batch_size: int,
                   parse: Callable[[tf.Tensor], tf.Tensor] | None = None, dtype: str = "float32", shuffle: bool = True,
                   readers: int = 2, waited: list[float] | None = None) -> BatchSource:
    """Batches of the records of TFRecord files for ``fit``; nothing but a few batches is in memory.

    The order is a function of the model's seed, the epoch and the step, over all files together: records are found by
    their position in the file, so no shuffle buffer is needed, training goes on exactly after a stop, and each of
    several machines reads the records of its own part of a batch alone.

    Args:
        files: path, pattern with ``*``, or list of paths; in order of name. Uncompressed.
        batch_size: records of a batch.
        parse: function from a record (a scalar string tensor) to a tensor, the same shape for all; None: records are
            tensors as ``tf.io.serialize_tensor`` writes them, of ``dtype``. For ``tf.train.Example``, give
            ``lambda r: tf.io.parse_single_example(r, {"y": tf.io.FixedLenFeature((2000, 4), tf.float32)})["y"]``.
        dtype: of serialized tensors.
        shuffle: False: in order.
        readers, waited: see ``window_batches``.

    Returns:
        ``BatchSource`` of float32 (batch_size, *shape of a record).

    Raises:
        FileError: no file, one that is compressed, cut off or no TFRecord file, or whose first record cannot be parsed.

    Example:
        >>> import numpy as np
        >>> import tensorflow as tf
        >>> from keras_crsae.data import record_batches
        >>> with tf.io.TFRecordWriter("windows.tfrecord") as file:
        ...     for window in np.zeros((10, 100, 4), "float32"):
        ...         file.write(tf.io.serialize_tensor(window).numpy())
        >>> [tuple(batch.shape) for batch in record_batches("windows.tfrecord", 8)]
        [(8, 100, 4), (2, 100, 4)]
    """
    batch_size, readers = as_positive_int(batch_size, "batch_size"), as_positive_int(readers, "readers")
    paths = _record_files(files)
    positions = [record_positions(path) for path in paths]
    which = np.repeat(np.arange(len(paths)), [len(p) for p in positions])
    offsets, sizes = np.concatenate(positions).T
    parse = parse or (lambda record: tf.io.parse_tensor(record, dtype))

    def read(indices: np.ndarray, order: BatchOrder) -> np.ndarray:
        begun = time.perf_counter()
        out = np.empty(len(indices), object)
        for i in np.argsort(indices):  # in order of position
            record = indices[i]
            with open(paths[which[record]], "rb") as file:
                file.seek(offsets[record])
                out[i] = file.read(sizes[record])
        if waited is not None:
            waited.append(time.perf_counter() - begun)
        return out

    try:
        shape = parse(tf.constant(read(np.array([0]), BatchOrder())[0])).shape
    except Exception as error:  # a parser of the user's may raise anything
        raise FileError(f"{paths[0]}: its first record cannot be parsed ({one_line(error)}). Expected a serialized "
                        f"tensor of {dtype}; for another type give `dtype`, for other content `parse`.") from error

    def decode(records: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(lambda r: tf.ensure_shape(tf.cast(parse(r), tf.float32), shape), records,
                         fn_output_signature=tf.TensorSpec(shape, tf.float32))

    return BatchSource.from_reader(len(offsets), batch_size, read, tf.TensorSpec((None,), tf.string), decode,
                                   shuffle=shuffle, prefetch=2, readers=readers)


def _record_files(files: str | os.PathLike | Sequence[str | os.PathLike]) -> list[Path]:
    if isinstance(files, str | os.PathLike):
        text = os.fspath(files)
        files = sorted(glob.glob(text)) if glob.has_magic(text) and not os.path.exists(text) else [text]
        if not files:
            raise FileError(f"No files like {text}. Expected TFRecord files.")
    if not files:
        raise FileError("No TFRecord files were given.")
    return [existing_file(path, "a TFRecord file") for path in sorted(map(Path, files))]


def record_positions(path: str | os.PathLike) -> np.ndarray:
    """Positions of the records in a TFRecord file: int64 (records, 2), first byte and number of bytes of each content.

    Only the lengths are read, and checked by their checksums.

    Raises:
        FileError: a file that is compressed, cut off, or no TFRecord file.
    """
    positions, at, end = [], 0, os.path.getsize(path)
    with open(path, "rb") as file:
        while at < end:
            file.seek(at)
            head = file.read(_HEADER.size)
            if head[:2] == b"\x1f\x8b" and at == 0:
                raise FileError(f"{path} is compressed. Expected an uncompressed TFRecord file, whose records can be "
                                "read in any order.")
            size, check = _HEADER.unpack(head) if len(head) == _HEADER.size else (0, None)
            if check != _masked_crc(head[:8]):
                raise FileError(f"{path} is no TFRecord file, or damaged at byte {at}, behind {len(positions)} "
                                "records.")
            if at + _HEADER.size + size + _FOOTER > end:
                raise FileError(f"{path} is cut off: its record {len(positions)} of {size} bytes, counted from 0, ends "
                                "behind the file.")
            positions.append((at + _HEADER.size, size))
            at += _HEADER.size + size + _FOOTER
    return np.array(positions, np.int64).reshape(-1, 2)


def _table() -> list[int]:
    """CRC-32C (Castagnoli) of each byte."""
    crc = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = np.where(crc & 1, (crc >> 1) ^ np.uint32(0x82F63B78), crc >> 1).astype(np.uint32)
    return crc.tolist()


_TABLE = _table()


def _masked_crc(data: bytes) -> int:
    """The checksum of the TFRecord format: CRC-32C, rotated and shifted."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
