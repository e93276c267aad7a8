"""``fit`` restores checkpoints before it begins, and runs them after all other callbacks."""

import keras
import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.training.checkpoint import Checkpoint, save_in_fresh_thread


def fresh():
    model = kc.CRsAE(2, 9, iterations=2, sigma=0.5, lambda_init=2.0, gradient="decoder", seed=0)
    model.adapt(SIGNAL)
    model.compile("adam", run_eagerly=True)
    return model


SIGNAL = np.random.default_rng(0).standard_normal((4, 40, 1)).astype("float32")


def test_a_checkpoint_sets_the_first_epoch_and_acts_last():
    seen = []

    class Noted(Checkpoint):
        def restore(self, model):
            seen.append("restore")
            return 2

        def on_epoch_end(self, epoch, logs=None):
            seen.append("checkpoint")

    class Other(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append("other")

    history = fresh().fit(SIGNAL, epochs=3, verbose=0, callbacks=[Noted(), Other()])
    assert history.epoch == [2] and seen == ["restore", "other", "checkpoint"]


def test_a_callback_list_of_the_users_is_taken_with_its_parameters():
    other = keras.callbacks.History()
    given = keras.callbacks.CallbackList([other], epochs=2, steps=1, verbose=0)
    model = fresh()
    model.fit(SIGNAL, epochs=2, verbose=0, callbacks=given)
    assert other.epoch == [0, 1] and model.history is other and other.params["epochs"] == 2
    assert given.callbacks == [other]  # it is left as it was


def test_a_save_in_a_thread_of_its_own_raises_what_failed(tmp_path):
    with pytest.raises((OSError, ValueError)):
        save_in_fresh_thread(fresh(), tmp_path / "none" / "m.keras")
