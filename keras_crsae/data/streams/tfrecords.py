"""Training batches from TFRecord files, record by record in any order while training runs."""

import glob
import os
import struct
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from crsae_onnx.core.errors import FileError, one_line
from crsae_onnx.core.validation import as_positive_int

from keras_crsae.data.batch_order import Place, following
from keras_crsae.data.paths import existing_file

#: A record: length (uint64) and its checksum (uint32), the content, its checksum (uint32); all little-endian.
_HEADER, _FOOTER = struct.Struct("<QI"), 4


def record_batches(files, batch_size, parse=None, dtype="float32", shuffle=True, readers=2, waited=None):
    """Batches of the records of TFRecord files for ``fit``; nothing but a few batches is in memory.

    The order is a function of the model's seed, the epoch and the step, over all files together: records are found by
    their place in the file, so no shuffle buffer is needed, training goes on exactly after a stop, and each of several
    machines reads the records of its own part of a batch alone.

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
        ``tf.data.Dataset`` of float32 (batch_size, *shape of a record), with the attribute ``place`` that ``fit`` sets.

    Raises:
        FileError: no file, one that is compressed, cut off or no TFRecord file, or whose first record is not as told.

    Example:
        >>> with tf.io.TFRecordWriter("windows.tfrecord") as file:
        ...     for window in np.zeros((10, 100, 4), "float32"):
        ...         file.write(tf.io.serialize_tensor(window).numpy())
        >>> [tuple(batch.shape) for batch in record_batches("windows.tfrecord", 8)]
        [(8, 100, 4), (2, 100, 4)]
    """
    batch_size, place = as_positive_int(batch_size, "batch_size"), Place()
    paths = _found(files)
    places = [record_places(path) for path in paths]
    which = np.repeat(np.arange(len(paths)), [len(p) for p in places])
    offsets, sizes = np.concatenate(places).T
    if parse is None:
        def parse(record):
            return tf.io.parse_tensor(record, dtype)

    def read(indices):
        begun = time.perf_counter()
        out = np.empty(len(indices), object)
        for i in np.argsort(indices):  # in order of place
            at = indices[i]
            with open(paths[which[at]], "rb") as file:
                file.seek(offsets[at])
                out[i] = file.read(sizes[at])
        if waited is not None:
            waited.append(time.perf_counter() - begun)
        return out

    try:
        shape = parse(tf.constant(read(np.array([0]))[0])).shape
    except Exception as error:  # a parser of the user's may raise anything
        raise FileError(f"{paths[0]}: its first record cannot be parsed ({one_line(error)}). Expected a serialized "
                        f"tensor of {dtype}; for another type give `dtype`, for other content `parse`.") from error

    def load(indices):
        records = tf.numpy_function(place.reading(read), [indices], tf.string)
        return tf.map_fn(lambda r: tf.ensure_shape(tf.cast(parse(r), tf.float32), shape),
                         tf.ensure_shape(records, (None,)), fn_output_signature=tf.TensorSpec(shape, tf.float32))

    return following(place, len(offsets), batch_size, load, shuffle, prefetch=2,
                     num_parallel_calls=as_positive_int(readers, "readers"), deterministic=True)


def _found(files):
    if isinstance(files, str | os.PathLike):
        text = os.fspath(files)
        files = sorted(glob.glob(text)) if glob.has_magic(text) and not os.path.exists(text) else [text]
        if not files:
            raise FileError(f"No files like {text}. Expected TFRecord files.")
    if not files:
        raise FileError("No TFRecord files were given.")
    return [existing_file(path, "a TFRecord file") for path in sorted(map(Path, files))]


def record_places(path):
    """Where the records of a TFRecord file lie: int64 (records, 2), first byte and number of bytes of each content.

    Only the lengths are read, and checked by their checksums.

    Raises:
        FileError: a file that is compressed, cut off, or no TFRecord file.
    """
    places, at, end = [], 0, os.path.getsize(path)
    with open(path, "rb") as file:
        while at < end:
            file.seek(at)
            head = file.read(_HEADER.size)
            if head[:2] == b"\x1f\x8b" and at == 0:
                raise FileError(f"{path} is compressed. Expected an uncompressed TFRecord file, whose records can be "
                                "read in any order.")
            size, check = _HEADER.unpack(head) if len(head) == _HEADER.size else (0, None)
            if check != _masked_crc(head[:8]):
                raise FileError(f"{path} is no TFRecord file, or damaged at byte {at}, behind {len(places)} records.")
            if at + _HEADER.size + size + _FOOTER > end:
                raise FileError(f"{path} is cut off: its record {len(places)} of {size} bytes, counted from 0, ends "
                                "behind the file.")
            places.append((at + _HEADER.size, size))
            at += _HEADER.size + size + _FOOTER
    return np.array(places, np.int64).reshape(-1, 2)


def _table():
    """CRC-32C (Castagnoli) of each byte."""
    crc = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = np.where(crc & 1, (crc >> 1) ^ np.uint32(0x82F63B78), crc >> 1).astype(np.uint32)
    return crc.tolist()


_TABLE = _table()


def _masked_crc(data):
    """The checksum of the TFRecord format: CRC-32C, rotated and shifted."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
