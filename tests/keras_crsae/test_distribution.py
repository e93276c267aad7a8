"""Training shared by several replicas gives what one device gives."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_crsae import replicas

ROOT = pathlib.Path(__file__).parents[2]
#: 21 windows in batches of 4: the last batch of an epoch leaves the second replica without any.
MIRRORED = """
import json, sys, warnings
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
import keras_crsae as kc
from keras_crsae.data.simulate import perturb_filters, simulate_spikes, spike_templates

warnings.simplefilter("error", UserWarning)
warnings.filterwarnings("ignore", "lambda was held")  # the ceiling is one of the things compared
filters = spike_templates(15, 3)
signal = simulate_spikes(filters, windows=21, samples=120, events_per_window=2, seed=4).signal
start = perturb_filters(filters, 0.45, seed=5)
two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
mask = (np.random.default_rng(0).random(signal.shape) < 0.9).astype("float32")
weight = np.random.default_rng(1).random(len(signal)).astype("float32")
given = {None: None, "mask": mask, "weight": weight}

def train(strategy, options, weights, fitting):
    with strategy.scope():
        model = kc.CRsAE(3, 15, iterations=6, seed=0, **options)
        model.set_dictionary(start)
        model.compile(keras.optimizers.Adam(1e-2, clipnorm=0.1), keras.optimizers.Adam(0.02, clipnorm=0.5))
    history = model.fit(signal, sample_weight=given[weights], epochs=4, batch_size=4, verbose=0,
                        validation_data=(signal[:7], None), **fitting).history
    history["evaluate"] = model.evaluate(signal, verbose=0)
    state = [*model.weights, *model.optimizer.variables, *model.lambda_optimizer.variables]
    return model, [keras.ops.convert_to_numpy(v) for v in state], [v.path for v in state], history

for options, weights, fitting in json.loads(sys.argv[1]):
    one, a, names, first = train(tf.distribute.get_strategy(), options, weights, fitting)
    other, b, _, second = train(two, options, weights, fitting)
    assert int(one.optimizer.iterations) == 24 and np.abs(one.dictionary.kernel.numpy() - start).max() > 1e-2
    for name, x, y in zip(names, a, b, strict=True):
        scale = np.abs(x).max() + 1e-30
        assert np.abs(x - y).max() <= 1e-5 * scale, (options, weights, name, np.abs(x - y).max() / scale)
    assert set(first) == set(second)
    for name in first:
        np.testing.assert_allclose(first[name], second[name], rtol=1e-5, err_msg=str((options, name)))
    np.testing.assert_allclose(other.encode(signal[:2]), one.encode(signal[:2]), atol=1e-4)
    np.testing.assert_allclose(other.predict(signal[:4], verbose=0), one.predict(signal[:4], verbose=0), atol=1e-4)
    for variable in (other.dictionary.kernel, other.lambda_reg, other.sigma, other.step_size):
        here, there = (v.numpy() for v in two.experimental_local_results(variable.value))
        assert np.array_equal(here, there), variable.path
    print("equal")

if len(sys.argv) > 2:  # what a user can do wrong is said at the door
    outside = kc.CRsAE(3, 15, iterations=2)
    outside.build((None, None, 1))
    with two.scope():
        inside = kc.CRsAE(3, 15, iterations=2)
        for model, size, words in ((outside, 4, "outside of the scope"), (inside, 5, "replicas cannot share evenly")):
            try:
                model.compile("adam")
                model.fit(signal, batch_size=size, verbose=0)
            except ValueError as error:
                assert words in str(error), error
                print("refused")
"""


def run(cases, *more):
    made = subprocess.run([sys.executable, "-c", MIRRORED, json.dumps(cases), *more], cwd=ROOT, capture_output=True,
                          text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    assert made.returncode == 0, made.stderr[-3000:]
    return made.stdout.split()


def test_two_replicas_give_the_weights_and_logs_of_one_after_24_steps():
    cases = [(dict(lambda_learning="em_closed_form", gradient="decoder", sigma_learning=True, sigma_rate=0.1,
                   lambda_shared=True), "mask", dict(shuffle=False)),
             (dict(lambda_learning="backprop", gradient="truncated", gradient_steps=3, tied=False), "weight",
              dict(shuffle=False))]
    assert run(cases, "door") == ["equal"] * 2 + ["refused"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("gradient", ["unrolled", "truncated", "decoder"])
def test_every_mode_of_learning_is_independent_of_the_number_of_replicas(gradient):
    learning = ["em", "em_closed_form", None] + ["backprop"] * (gradient != "decoder")
    cases = [(dict(lambda_learning=mode, gradient=gradient, gradient_steps=3, sigma_learning=True, sigma_rate=0.1),
              None, dict(shuffle=False)) for mode in learning]
    assert run(cases) == ["equal"] * len(cases)


def test_outside_of_a_strategy_the_reductions_change_nothing():
    value = tf.constant([1.0, -2.0])
    for reduce in (replicas.total, replicas.highest, replicas.first):
        np.testing.assert_array_equal(reduce(value), value)
    assert not replicas.several() and replicas.as_log(tf.constant(1.0)).shape == ()
