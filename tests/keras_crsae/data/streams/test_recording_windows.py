"""Batches read from long recordings: every window once, in an order that a resumed training continues."""

import keras
import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.data.batch_order import BatchOrder
from keras_crsae.data.simulate import perturb_filters, simulate_spikes, spike_templates
from keras_crsae.data.streams.recording_windows import window_batches
from keras_crsae.training.callbacks import SaveProgress


@pytest.fixture
def recording(rng):
    return rng.integers(-100, 100, (1030, 3)).astype("int16")


def sources(recording, folder):
    """The same samples behind every interface that is installed."""
    recording.tofile(folder / "y.dat")
    yield "memmap", np.memmap(folder / "y.dat", "int16", "r", shape=recording.shape)
    h5py = pytest.importorskip("h5py")
    file = h5py.File(folder / "y.h5", "w")
    yield "hdf5", file.create_dataset("y", data=recording, chunks=(64, 3))
    try:
        import zarr
    except ModuleNotFoundError:
        pass
    else:
        made = zarr.open(str(folder / "y.zarr"), mode="w", shape=recording.shape, chunks=(64, 3), dtype="int16")
        made[:] = recording
        yield "zarr", made
    try:
        from spikeinterface.core import NumpyRecording
    except ModuleNotFoundError:
        pass
    else:
        yield "spikeinterface", NumpyRecording([recording], 10000.0)


def test_every_source_gives_every_window_once_in_the_same_order(recording, tmp_path):
    expected, kinds = None, []
    for kind, source in sources(recording, tmp_path):
        kinds.append(kind)
        data = window_batches(source, 100, 4, scale=0.5).dataset(BatchOrder(seed=7, epoch=2))
        batches = [b.numpy() for b in data]
        assert [len(b) for b in batches] == [4, 4, 3] and batches[0].dtype == np.float32
        expected = np.concatenate(batches) if expected is None else expected
        np.testing.assert_array_equal(np.concatenate(batches), expected)
    assert kinds[:2] == ["memmap", "hdf5"]
    starts = [*range(0, 1000, 100), 930]  # the last one ends with the recording
    windows = np.stack([recording[s:s + 100] for s in starts]) * np.float32(0.5)
    assert sorted(map(bytes, expected)) == sorted(map(bytes, windows))
    assert not np.array_equal(expected, windows)
    plain = np.concatenate([b.numpy() for b in window_batches(recording, 100, 4, shuffle=False, scale=0.5)])
    np.testing.assert_array_equal(plain, windows)


def test_overlapping_windows_and_the_time_of_reading(recording):
    waited = []
    data = window_batches(recording, 100, 8, step=50, shuffle=False, waited=waited)
    windows = np.concatenate([b.numpy() for b in data])
    assert len(windows) == 20 and len(waited) == 3 and min(waited) > 0
    np.testing.assert_array_equal(windows[1], recording[50:150])


@pytest.mark.parametrize("given, words", [
    ((np.zeros((50, 2)), 60, 4), "fewer than one window"), ((np.zeros(500), 60, 4), "shape"),
    ((np.zeros((500, 2)), 0, 4), "`window`"), ((np.zeros((500, 2)), 60, 2.5), "`batch_size`")])
def test_unfit_recordings_and_sizes_are_refused(given, words):
    with pytest.raises(ValueError, match=words):
        window_batches(*given)


def test_training_from_a_file_equals_training_from_its_windows_and_goes_on_after_a_stop(tmp_path):
    templates = spike_templates(15, 2)
    signal = simulate_spikes(templates, windows=22, samples=100, events_per_window=2, seed=4).signal.astype("float32")
    np.save(tmp_path / "y.npy", signal.reshape(-1, 1))
    fitting = dict(epochs=3, verbose=0)

    def fresh():
        model = kc.CRsAE(2, 15, iterations=4, gradient="decoder", seed=3)
        model.set_dictionary(perturb_filters(templates, 0.45, seed=5))
        model.compile(keras.optimizers.Adam(1e-2), run_eagerly=True)
        return model

    def streamed():
        return window_batches(np.load(tmp_path / "y.npy", mmap_mode="r"), 100, 4)

    class Cut(keras.callbacks.Callback):
        left = 8

        def on_train_batch_end(self, batch, logs=None):
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    whole, model = fresh(), fresh()
    whole.adapt(signal)
    model.adapt(signal)
    whole.fit(signal, batch_size=4, **fitting)
    saver = SaveProgress(tmp_path / "m.keras", every=1)
    with pytest.raises(KeyboardInterrupt):
        model.fit(streamed(), callbacks=[saver, Cut()], **fitting)
    model = fresh()
    model.adapt(signal)
    assert model.fit(streamed(), callbacks=[saver], **fitting).epoch == [1, 2]
    for a, b in zip([*whole.weights, *whole.optimizer.variables], [*model.weights, *model.optimizer.variables],
                    strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))


def test_masked_recordings_are_refused_since_windows_have_no_mask(recording):
    with pytest.raises(ValueError, match=r"`recording` is a masked array.*numpy\.ma\.filled"):
        window_batches(np.ma.masked_equal(recording, 0), window=100, batch_size=8)
