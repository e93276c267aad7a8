"""Batches from TFRecord files: every record once, in an order that a resumed training continues."""

import random

import numpy as np
import pytest
import tensorflow as tf
from crsae_onnx.core.errors import FileError

from keras_crsae.data.batch_order import BatchOrder
from keras_crsae.data.streams.tfrecords import record_batches, record_positions


def written(path, tensors, **options):
    with tf.io.TFRecordWriter(str(path), **options) as file:
        for tensor in tensors:
            file.write(tf.io.serialize_tensor(tensor).numpy())
    return path


@pytest.fixture
def windows(rng):
    return rng.standard_normal((11, 30, 2)).astype("float32")


@pytest.fixture
def files(windows, tmp_path):
    written(tmp_path / "a.tfrecord", windows[:7])
    written(tmp_path / "b.tfrecord", windows[7:])
    return tmp_path


def test_tensorflow_reads_the_same_records_at_the_same_places(files, windows):
    for name in ("a.tfrecord", "b.tfrecord"):
        content = (files / name).read_bytes()
        expected = [record.numpy() for record in tf.data.TFRecordDataset(str(files / name))]
        assert [content[at:at + size] for at, size in record_positions(files / name)] == expected


@pytest.mark.parametrize("name", ["*.tfrecord", ["b.tfrecord", "a.tfrecord"]])
def test_every_record_comes_once_in_the_order_of_seed_and_epoch(files, windows, name):
    name = [files / n for n in name] if isinstance(name, list) else str(files / name)
    plain = [b.numpy() for b in record_batches(name, 4, shuffle=False)]
    assert [len(b) for b in plain] == [4, 4, 3]
    np.testing.assert_array_equal(np.concatenate(plain), windows)
    waited = []
    data = record_batches(name, 4, waited=waited)
    seen = []
    for epoch in (0, 1, 0):
        seen.append(np.concatenate([b.numpy() for b in data.dataset(BatchOrder(epoch=epoch))]))
        assert sorted(map(bytes, seen[-1])) == sorted(map(bytes, windows))
    np.testing.assert_array_equal(seen[0], seen[2])
    assert not np.array_equal(seen[0], seen[1]) and not np.array_equal(seen[0], windows)
    assert len(waited) >= 9 and min(waited) > 0
    shares = [np.concatenate([b.numpy() for b in data.shard(i, 2)]) for i in (0, 1)]
    assert [len(s) for s in shares] == [6, 5] and len(data) == 3
    assert sorted(map(bytes, np.concatenate(shares))) == sorted(map(bytes, windows))


def test_other_types_and_examples_are_parsed(tmp_path, windows):
    whole = (100 * windows).astype("int16")
    written(tmp_path / "i.tfrecord", whole)
    np.testing.assert_array_equal(next(iter(record_batches(tmp_path / "i.tfrecord", 11, dtype="int16",
                                                           shuffle=False))), whole.astype("float32"))
    with tf.io.TFRecordWriter(str(tmp_path / "e.tfrecord")) as file:
        for window in windows:
            feature = tf.train.Feature(float_list=tf.train.FloatList(value=window.ravel()))
            file.write(tf.train.Example(features=tf.train.Features(feature={"y": feature})).SerializeToString())

    def parse(record):
        return tf.io.parse_single_example(record, {"y": tf.io.FixedLenFeature((30, 2), tf.float32)})["y"]

    found = next(iter(record_batches(tmp_path / "e.tfrecord", 11, parse, shuffle=False)))
    np.testing.assert_array_equal(found, windows)


def cut(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    return path


@pytest.mark.parametrize("make, words", [
    (lambda f, y: f / "none.tfrecord", "No file at"), (lambda f, y: str(f / "x*.tfrecord"), "No files like"),
    (lambda f, y: [], "No TFRecord files"),
    (lambda f, y: written(f / "z.tfrecord", y, options="GZIP"), "is compressed"),
    (lambda f, y: cut(f / "a.tfrecord", 500), "cut off: its record 1"),
    (lambda f, y: cut(f / "a.tfrecord", 5), "no TFRecord file, or damaged at byte 0"),
    (lambda f, y: written(f / "d.tfrecord", y.astype("float64")), "cannot be parsed.*dtype")])
def test_unfit_files_are_refused_by_name(files, windows, make, words):
    with pytest.raises(FileError, match=words):
        record_batches(make(files, windows), 4)


def test_mutated_files_are_indexed_or_refused_by_name(files):
    good, rng, refused = (files / "a.tfrecord").read_bytes(), random.Random(0), 0
    for _ in range(300):
        content = bytearray(good)
        at = rng.randrange(len(content))
        if rng.random() < 0.3:
            del content[at:at + rng.randrange(1, 40)]
        else:
            content[at:at + 4] = rng.randbytes(4)
        (files / "a.tfrecord").write_bytes(content)
        try:
            record_positions(files / "a.tfrecord")
        except FileError as error:
            assert "a.tfrecord" in str(error)
            refused += 1
    assert refused > 50
