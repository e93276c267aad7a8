"""Training on hidden bins."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_crsae.applications.neural_events.parameters import EventParameters
from keras_crsae.applications.neural_events.training import HiddenBinsTraining, Signals, hidden_loss, roughness
from keras_crsae.models import CRsAE
from keras_crsae.problem import Binomial


@pytest.fixture
def training():
    rng = np.random.default_rng(0)
    model = CRsAE(1, 9, iterations=10, likelihood=Binomial(5), lambda_init=0.5, lambda_learning=None)
    model.set_dictionary(np.hanning(11)[1:-1].reshape(9, 1, 1))
    means = (rng.binomial(5, 0.1, (6, 40, 1)) / 5).astype("float32")
    signals = Signals(means, np.zeros((6, 40, 1), np.float32), np.zeros((6, 1), int), None)
    made = HiddenBinsTraining(model.encoder, 1, EventParameters(batch_size=4))
    made.begin(keras.ops.convert_to_numpy(model.dictionary.kernel), 0.5, np.array([-2.0]), seed=0)
    return made, signals


def test_the_loss_is_that_of_hidden_bins_alone(training):
    training, signals = training
    means = tf.constant(signals.means[:2])
    seen = tf.cast(np.arange(40)[None, :, None] % 4 > 0, tf.float32) * tf.ones_like(means)
    baseline = tf.fill(tf.shape(means), -2.0)
    loss = hidden_loss(training.encoder, means, baseline, seen, None)
    code = training.encoder(means, mask=seen, baseline=baseline)
    eta = keras.ops.convert_to_numpy(training.encoder.cell.dictionary(code)) - 2
    value = np.logaddexp(0, eta) - means.numpy() * eta
    assert float(loss) == pytest.approx(value[seen.numpy() == 0].mean(), rel=1e-5)


def test_steps_move_kernels_lambda_and_baseline_and_kernels_can_be_kept(training):
    training, signals = training
    kernel = keras.ops.convert_to_numpy(training.kernel).copy()
    lambda_reg = keras.ops.convert_to_numpy(training.encoder.cell.lambda_reg).copy()
    training.run(signals, 3, kernels=False)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(training.kernel), kernel)
    assert training.baseline[0] != -2 and (keras.ops.convert_to_numpy(training.encoder.cell.lambda_reg) != lambda_reg)
    training.run(signals, 3)
    assert np.abs(keras.ops.convert_to_numpy(training.kernel) - kernel).max() > 1e-4
    assert len(training.history) == 6 and np.isfinite(training.history).all()


def test_roughness_is_of_neighbours():
    assert float(roughness(tf.constant(np.array([[[0.0]], [[1.0]], [[3.0]]])))) == 5
