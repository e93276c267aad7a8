"""Batches from a folder of images: each image once an epoch, crops that a resumed training takes again."""

import keras
import numpy as np
import pytest
from crsae_onnx.core.errors import FileError

import keras_crsae as kc
from keras_crsae.data.batch_order import BatchOrder
from keras_crsae.data.images import image_size, write_image
from keras_crsae.data.streams.folder_crops import image_batches
from keras_crsae.training.callbacks import SaveProgress


@pytest.fixture
def folder(rng, tmp_path):
    """Seven images whose level tells which one they are, in three formats."""
    for i in range(7):
        image = np.full((20 + i, 30), 30 * i + 20, "uint8")
        image[::2] += 5
        write_image(tmp_path / f"{i}.{('png', 'tif', 'png')[i % 3]}", image)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_sizes_come_from_the_header(folder):
    assert [image_size(f) for f in sorted(folder.glob("[0-9]*"))] == [(20 + i, 30) for i in range(7)]


def test_every_image_is_cropped_once_an_epoch(folder, monkeypatch):
    monkeypatch.setattr("keras_crsae.data.streams.folder_crops.tf.reduce_mean", lambda x, **_: 0.0)  # keep the levels
    waited = []
    data = image_batches(folder, 8, 6, crops=2, waited=waited)
    seen = {}
    for epoch in (0, 1):
        batches = [b.numpy() for b in data.dataset(BatchOrder(epoch=epoch))]
        assert [b.shape for b in batches] == [(6, 8, 8, 1), (6, 8, 8, 1), (2, 8, 8, 1)]
        which = np.rint((255 * np.concatenate(batches).min(axis=(1, 2, 3)) - 20) / 30).astype(int)
        assert sorted(which) == sorted([*range(7)] * 2) and (which[::2] == which[1::2]).all()
        seen[epoch] = which
    assert not np.array_equal(seen[0], seen[1]) and len(waited) >= 6
    plain = image_batches(folder, 8, 7, shuffle=False)
    batch = next(iter(plain)).numpy()
    assert np.rint((255 * batch.min(axis=(1, 2, 3)) - 20) / 30).tolist() == list(range(7))
    assert next(iter(image_batches(folder, 8, 2, channels=3))).shape == (2, 8, 8, 3)


def test_crops_depend_on_seed_epoch_and_image_alone(rng, tmp_path):
    for i in range(6):
        write_image(tmp_path / f"{i}.png", rng.integers(0, 255, (40, 40)).astype("uint8"))
    data = image_batches(tmp_path, 12, 4, low_pass=2.0)
    order = BatchOrder(seed=3, epoch=1)
    first = np.concatenate([b.numpy() for b in data.dataset(order)])
    np.testing.assert_array_equal(np.concatenate([b.numpy() for b in data.dataset(order)]), first)
    parts = [[b.numpy() for b in data.shard(i, 2).dataset(order)] for i in (0, 1)]
    np.testing.assert_allclose(np.concatenate([p for pair in zip(*parts, strict=True) for p in pair]), first, atol=1e-6)
    later = np.concatenate([b.numpy() for b in data.dataset(BatchOrder(seed=3, epoch=2))])
    assert not np.array_equal(later, first)
    assert np.abs(first.mean()) < 0.02 and first.std() > 0.1  # the slow part is gone


@pytest.mark.parametrize("options, error, words", [
    (dict(size=25), FileError, "0.png has 20 x 30 pixels"), (dict(size=0), ValueError, "`size`"),
    (dict(batch_size=5, crops=2), ValueError, "multiple of `crops`"), (dict(channels=2), ValueError, "`channels`"),
    (dict(low_pass=3.0), ValueError, "four times `low_pass`"), (dict(folder=[]), FileError, "No image files"),
    (dict(folder="none.png"), FileError, "No file at")])
def test_unfit_folders_and_sizes_are_refused(folder, options, error, words):
    with pytest.raises(error, match=words):
        image_batches(**{"folder": folder, "size": 8, "batch_size": 4, **options})


def test_training_on_a_folder_goes_on_exactly_after_a_stop(rng, tmp_path):
    for i in range(6):
        write_image(tmp_path / f"{i}.png", rng.integers(0, 255, (24, 24)).astype("uint8"))

    class Cut(keras.callbacks.Callback):
        left = 5

        def on_train_batch_end(self, batch, logs=None):
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    def trained(*callbacks):
        model = kc.CRsAE(3, 5, rank=2, iterations=3, gradient="decoder", sigma=0.3, lambda_init=3.0, seed=1,
                         lambda_learning=None)
        model.adapt(np.concatenate([b.numpy() for b in image_batches(tmp_path, 12, 6)]), init="windows")
        model.compile(keras.optimizers.Adam(1e-2), run_eagerly=True)
        model.fit(image_batches(tmp_path, 12, 4, crops=2), epochs=3, verbose=0, callbacks=list(callbacks))
        return model

    whole, saver = trained(), SaveProgress(tmp_path / "p.keras", every=1)
    with pytest.raises(KeyboardInterrupt):
        trained(saver, Cut())
    for a, b in zip(whole.weights, trained(saver).weights, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))


def test_a_file_that_is_damaged_while_training_runs_is_named(rng, tmp_path):
    for i in range(4):
        write_image(tmp_path / f"{i}.png", rng.integers(0, 255, (24, 24)).astype("uint8"))
    model = kc.CRsAE(3, 5, rank=2, iterations=3, gradient="decoder", sigma=0.3, lambda_init=3.0, seed=1)
    batches = image_batches(tmp_path, 12, 2)
    model.adapt(next(iter(batches)).numpy(), init="windows")
    model.compile("adam", run_eagerly=True)
    content = (tmp_path / "2.png").read_bytes()
    (tmp_path / "2.png").write_bytes(content[:len(content) // 2])
    with pytest.raises(FileError, match="2.png cannot be read as an image"):
        model.fit(batches, verbose=0)
    (tmp_path / "2.png").write_bytes(content)
    assert model.fit(batches, epochs=2, verbose=0).epoch == [0, 1]
