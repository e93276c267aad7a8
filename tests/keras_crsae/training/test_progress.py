"""Where training stands is kept batch by batch; an epoch of which some was done ends early and no later one does."""

import types

import numpy as np

from keras_crsae.data.batch_order import BatchOrder
from keras_crsae.training.progress import EndEpoch, TrackProgress
from keras_crsae.training.state import TrainingState


def following(stored, steps=6, skips=True, counted=True):
    state = TrainingState(1)
    state.build((None,))
    state.order_seed.assign(5.0)
    state.progress.assign(stored)
    model = types.SimpleNamespace(training_state=state, stop_training=False, train_function="train", metrics=[])
    owner = types.SimpleNamespace(order=BatchOrder())
    first = TrackProgress(owner, steps, skips)
    last = EndEpoch(first, counted)
    first.set_model(model)
    last.set_model(model)
    return model, owner, first, last


def run_epoch(model, first, last, epoch, most=99):
    """Batches of an epoch as Keras counts them, from 0, until one of the callbacks ends it."""
    first.on_epoch_begin(epoch)
    done = 0
    while done < most and not model.stop_training:
        first.on_train_batch_end(done)
        last.on_train_batch_end(done)
        done += 1
    first.on_epoch_end(epoch)
    return done


def test_an_epoch_goes_on_behind_the_batches_that_were_done_and_the_next_is_whole():
    model, owner, first, last = following([2, 4])
    first.on_epoch_begin(2)
    assert owner.order == BatchOrder(seed=5, epoch=2, skip=4)
    assert run_epoch(model, first, last, 2) == 2
    assert not model.stop_training and model.training_state.position() == (3, 0)
    assert run_epoch(model, first, last, 3, most=6) == 6  # Keras ends it
    assert owner.order == BatchOrder(seed=5, epoch=3)


def test_another_epoch_than_the_stored_one_and_data_that_cannot_skip_begin_at_their_first_batch():
    for stored, skips in (([1, 4], True), ([2, 4], False)):
        model, owner, first, _ = following(stored, skips=skips)
        first.on_epoch_begin(2)
        assert owner.order.skip == 0 and model.training_state.position() == (2, 0)


def test_an_epoch_that_keras_cannot_count_is_ended():
    model, _, first, last = following([0, 0], counted=False)
    assert run_epoch(model, first, last, 0) == 6 and not model.stop_training


def test_a_stop_of_the_users_stays():
    model, _, first, last = following([2, 4])
    first.on_epoch_begin(2)
    first.on_train_batch_end(0)
    model.stop_training = True  # another callback, in the last batch
    last.on_train_batch_end(1)
    first.on_epoch_end(2)
    assert model.stop_training


def test_an_epoch_saved_behind_its_last_batch_trains_on_no_batch():
    model, _, first, last = following([2, 6])
    first.on_epoch_begin(2)
    assert model.train_function(iter(())) == {}
    last.on_train_batch_end(0)
    first.on_epoch_end(2)
    assert model.train_function == "train" and not model.stop_training
    first.on_epoch_begin(3)
    assert model.train_function == "train"


def test_progress_counts_what_was_done_before():
    model, _, first, _ = following([2, 4])
    first.on_epoch_begin(2)
    first.on_train_batch_end(0)
    np.testing.assert_array_equal(model.training_state.progress, [2, 5])
