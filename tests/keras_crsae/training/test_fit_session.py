"""One call of ``fit``: every epoch in its own order, exact after a stop, with Keras' data and our own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_crsae as kc
from keras_crsae.data.streams.batch_source import array_batches
from keras_crsae.data.streams.recording_windows import window_batches
from keras_crsae.training.callbacks import SaveProgress


class Witness(kc.CRsAE):
    """A CRsAE that writes down the first samples of its batches, and learns nothing: steps would take longest."""

    def train_step(self, data):
        self.seen.append(np.asarray(data)[:, 0, 0].tolist())
        return {"loss": 0.0, "sparsity": 1.0}


class PowerCut(Exception):
    """Stands for whatever ends training from outside."""


class CutAfter(keras.callbacks.Callback):
    def __init__(self, batches):
        super().__init__()
        self.left = batches

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise PowerCut


def fresh(**compiled):
    model = Witness(1, 3, iterations=1, gradient="decoder", lambda_learning=None, lambda_init=1e-3, seed=5)
    model.seen = []
    model.set_dictionary(np.ones((3, 1, 1)))
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True, **compiled)
    return model


def trained(data, **fitting):
    model = fresh()
    model.fit(data, verbose=0, **fitting)
    return model


@pytest.fixture
def numbered():
    """Signals that begin with 1, 2, ... 7."""
    return np.arange(1.0, 8.0)[:, None, None] * np.ones((7, 6, 1))


def test_fit_goes_through_all_signals_in_an_order_that_a_later_fit_continues(numbered):
    whole = trained(numbered, epochs=3, batch_size=3)
    assert len(whole.seen) == 9 and sorted(sum(whole.seen[:3], [])) == list(range(1, 8))
    assert whole.seen[:3] != whole.seen[3:6]
    later = trained(numbered, epochs=3, batch_size=3, initial_epoch=1)
    assert later.seen == whole.seen[3:]
    assert whole.training_state.position() == (3, 0) and float(whole.training_state.order_seed) == 5


def test_a_mapped_source_has_another_order_in_every_epoch():
    """Once a mapped dataset lost its order, and each epoch trained on the first one's."""
    recording = np.arange(1.0, 101.0)[:, None]
    plain = trained(window_batches(recording, 10, 2), epochs=3)
    mapped = trained(window_batches(recording, 10, 2).map(lambda batch: batch + 1000.0), epochs=3)
    orders = [sum(mapped.seen[5 * e:5 * e + 5], []) for e in range(3)]
    assert all(sorted(order) == sorted(orders[0]) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert [[x - 1000 for x in batch] for batch in mapped.seen] == plain.seen


def test_a_dataset_that_lost_its_order_is_refused(numbered):
    source = array_batches((numbered, None, None), 2)
    for data in (source.dataset(), source.dataset().map(lambda batch: -batch).prefetch(1)):
        with pytest.raises(ValueError, match=r"source\.map\(function\)"):
            fresh().fit(data, verbose=0)


@pytest.mark.parametrize("kind, saver, steps", [  # every pair of two of them
    ("array", "ours", 1), ("array", "keras", 2), ("source", "ours", 2), ("source", "keras", 1), ("mapped", "ours", 1),
    ("mapped", "keras", 2), ("dataset", "ours", 2), ("dataset", "keras", 1)])
def test_training_that_was_stopped_goes_on_with_the_next_batch(numbered, tmp_path, kind, saver, steps):
    """Batches done before are not read again; 4 an epoch and, in executions of two steps, 7 signals one by one."""
    size = 2 if steps == 1 else 1  # 4 batches, or 7, which 2 does not divide

    def data():
        if kind == "array":
            return numbered
        if kind == "dataset":
            return tf.data.Dataset.from_tensor_slices(numbered).batch(size)
        source = array_batches((numbered, None, None), size)
        return source.map(lambda batch: batch) if kind == "mapped" else source

    def backup():
        return SaveProgress(tmp_path / "p.keras", every=steps) if saver == "ours" else \
            keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=steps)

    fitting = dict(epochs=3, verbose=0, batch_size=size if kind == "array" else None)
    whole, seen = fresh(steps_per_execution=steps), []
    whole.fit(data(), **fitting)
    for executions in (3, 4, 99):
        model = fresh(steps_per_execution=steps)
        cut = CutAfter(executions)
        try:
            model.fit(data(), callbacks=[backup(), cut], **fitting)
        except PowerCut:
            assert executions < 99
        # A checkpoint that runs after the cut has not saved that batch.
        lost = steps if saver == "ours" and executions < 99 else 0
        seen += model.seen[:len(model.seen) - lost]
    assert seen == whole.seen
    assert model.training_state.position() == (3, 0)


def test_targets_and_weights_beside_a_source_are_refused(numbered):
    source = array_batches((numbered, None, None), 2)
    with pytest.raises(ValueError, match="omit `y` and `sample_weight`"):
        fresh().fit(source, numbered, verbose=0)
    with pytest.raises(ValueError, match="has 4 batches: omit `steps_per_epoch`"):
        fresh().fit(source, steps_per_epoch=3, verbose=0)


def test_a_validation_split_takes_the_last_signals(numbered):
    model = trained(numbered, batch_size=2, validation_split=0.3)
    assert sorted(sum(model.seen, [])) == [1, 2, 3, 4]
    assert "val_loss" in model.history.history
    with pytest.raises(ValueError, match="on each side"):
        trained(numbered, validation_split=1.0)


def test_a_source_validates_and_is_evaluated_and_predicted_in_its_own_order(numbered):
    source = array_batches((numbered, None, None), 2)
    model = trained(numbered, validation_data=source)
    assert model.history.history["val_loss"][-1] == pytest.approx(model.evaluate(numbered, verbose=0)[0], rel=1e-5)
    assert model.evaluate(source, verbose=0)[0] == pytest.approx(model.evaluate(numbered, verbose=0)[0], rel=1e-5)
    np.testing.assert_allclose(model.predict(source, verbose=0), model.predict(numbered, verbose=0), atol=1e-6)


def test_what_a_reader_raises_is_what_fit_raises():
    class Broken:
        shape = (100, 1)

        def __getitem__(self, index):
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        model = fresh()
        model.adapt(np.ones((1, 10, 1)))
        model.fit(window_batches(Broken(), 10, 2), verbose=0)


def test_what_fit_cannot_do_without_is_named(numbered):
    model = kc.CRsAE(1, 3)
    with pytest.raises(ValueError, match="Call `compile` before `fit`"):
        model.fit(numbered)
    model.compile("adam")
    with pytest.raises(ValueError, match="needs `x`"):
        model.fit()
    with pytest.raises(ValueError, match="no classes"):
        model.fit(numbered, class_weight={0: 1.0})
