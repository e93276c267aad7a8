"""What ``fit`` accepts: arrays whole, streams without losing a batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_crsae.data.streams.batch_source import array_batches
from keras_crsae.training import inputs
from keras_crsae.training.inputs import SignalLayout

SIGNAL = np.random.default_rng(0).standard_normal((5, 30, 1)).astype("float32")
LAYOUT = SignalLayout(1, 1, (9,))


def test_the_signal_is_its_own_target_where_a_weight_needs_one():
    assert inputs.checked_arrays(SIGNAL, None, None, LAYOUT)[1] is None
    x, y, weight = inputs.checked_arrays(SIGNAL.astype("float64"), None, np.ones(5), LAYOUT)
    assert x is y and x.dtype == np.float32 and weight.shape == (5,)
    with pytest.raises(ValueError, match="target of `x` must have its shape"):
        inputs.checked_arrays(SIGNAL, SIGNAL[:, :20], None, LAYOUT)


def test_a_part_is_split_off_the_end():
    (x, y, weight), (held, _, held_weight) = inputs.split_off((SIGNAL, None, np.arange(5)), 0.4)
    assert len(x) == 3 and y is None and list(weight) == [0, 1, 2]
    np.testing.assert_array_equal(held, SIGNAL[3:])
    assert list(held_weight) == [3, 4]
    assert inputs.split_off((SIGNAL, None, None), 0.0)[1] is None
    with pytest.raises(ValueError, match="at least one of 5 signals on each side"):
        inputs.split_off((SIGNAL, None, None), 1.0)


def test_the_first_batch_of_a_stream_is_not_lost():
    generator = inputs.as_stream(iter([SIGNAL[:2], (SIGNAL[2:],)]))
    first, rest = inputs.first_batch(generator)
    np.testing.assert_array_equal(first[0], SIGNAL[:2])
    np.testing.assert_array_equal(np.concatenate([batch[0] for batch in rest]), SIGNAL)
    data = tf.data.Dataset.from_tensor_slices(SIGNAL).batch(2)
    assert inputs.first_batch(data)[1] is data
    with pytest.raises(ValueError, match="gave no batch"):
        inputs.first_batch(inputs.as_stream(iter(())))


def test_a_dataset_that_lost_its_order_is_refused_with_the_way_out():
    source = array_batches((SIGNAL, None, None), 2)
    for data in (source.dataset(), source.dataset().map(lambda x: 2 * x)):
        with pytest.raises(ValueError, match=r"same order.*source\.map"):
            inputs.check_order(data)
    inputs.check_order(source)
    inputs.check_order(tf.data.Dataset.range(3))


@pytest.mark.parametrize("batch, words", [
    (({"a": SIGNAL},), "one signal tensor"), (SIGNAL.astype("complex64"), "real"),
    (SIGNAL[0], "Expected batches of signals")])
def test_batches_of_other_content_are_refused(batch, words):
    with pytest.raises(ValueError, match=words):
        inputs.unpack(batch, 1, "float32")


def test_weights_of_the_batch_weigh_and_weights_of_samples_are_a_mask():
    weighted = inputs.unpack((SIGNAL, SIGNAL, np.arange(5.0)[:, None]), 1, "float32")
    assert weighted.observed is None and weighted.weight.shape == (5,) and int(weighted.count) == 5
    masked = inputs.unpack((SIGNAL, 2 * SIGNAL, np.ones((5, 30))), 1, "float32")
    assert masked.weight is None and masked.observed.shape == SIGNAL.shape
    np.testing.assert_array_equal(masked.target, 2 * SIGNAL)


def test_signals_with_bad_values_are_left_out_of_the_first_look():
    signal = SIGNAL.copy()
    signal[1, 3] = np.nan
    good, mask = inputs.finite_signals(tf.constant(signal), tf.ones_like(signal))
    np.testing.assert_array_equal(good, SIGNAL[[0, 2, 3, 4]])
    assert mask.shape == good.shape


def test_arrays_are_told_from_streams():
    assert inputs.is_array(SIGNAL) and inputs.is_array([[1.0]]) and inputs.is_array(tf.constant(1.0))
    for stream in (tf.data.Dataset.range(2), array_batches((SIGNAL, None, None), 2), iter([SIGNAL])):
        assert not inputs.is_array(stream)
    assert isinstance(inputs.checked_validation(array_batches((SIGNAL, None, None), 2), LAYOUT), tf.data.Dataset)
    assert keras.utils.unpack_x_y_sample_weight(inputs.checked_validation((SIGNAL, None), LAYOUT))[1] is None


MASKED = np.ma.masked_where(np.arange(150).reshape(5, 30, 1) % 7 == 0, SIGNAL)


def test_masked_samples_of_signal_or_target_are_missing():
    x, y, weight = inputs.checked_arrays(MASKED, None, None, LAYOUT)
    np.testing.assert_array_equal(weight, ~MASKED.mask)
    assert x is y and not x[MASKED.mask].any() and not np.ma.isMaskedArray(x)
    given = np.ones((5, 30))
    given[0, 1] = 0
    target = np.ma.masked_where(np.arange(150).reshape(5, 30, 1) == 2, SIGNAL)
    _, _, weight = inputs.checked_arrays(MASKED, target, given, LAYOUT)
    assert weight[0, :4, 0].tolist() == [0, 0, 0, 1] and weight.sum() == (~MASKED.mask).sum() - 2
    with pytest.raises(ValueError, match="marks every sample as missing"):
        inputs.checked_arrays(np.ma.masked_all((5, 30, 1)), None, None, LAYOUT)
    with pytest.raises(ValueError, match="takes the place of `sample_weight`"):
        inputs.checked_arrays(MASKED, None, np.ones(5), LAYOUT)
    assert len(inputs.checked_validation((MASKED, None), LAYOUT)) == 3


def test_masked_arrays_in_a_stream_are_refused_with_the_form_that_keeps_the_mask():
    for batch in (MASKED, (SIGNAL, MASKED)):
        with pytest.raises(ValueError, match=r"Give \(signal, signal, mask\)"):
            next(inputs.as_stream(iter([batch])))
        with pytest.raises(ValueError, match=r"Give \(signal, signal, mask\)"):
            inputs.unpack(batch, 1, "float32")
    with pytest.raises(ValueError, match=r"RaggedTensor.*x\.to_tensor\(\)"):
        inputs.as_stream(tf.ragged.constant([[1.0], [1.0, 2.0]]))


def test_a_batch_may_say_the_noise_level_of_each_signal():
    batch = inputs.replica_batch(({"signal": SIGNAL, "sigma": np.arange(5)}, SIGNAL + 1, np.ones(5)), 1, "float32")
    np.testing.assert_array_equal(batch.sigma, np.arange(5, dtype="float32"))
    np.testing.assert_array_equal(batch.signal, SIGNAL)
    assert inputs.unpack(SIGNAL, 1, "float32").sigma is None
    with pytest.raises(ValueError, match="'signal'.*'sigma'"):
        inputs.unpack({"signal": SIGNAL, "level": np.ones(5)}, 1, "float32")
