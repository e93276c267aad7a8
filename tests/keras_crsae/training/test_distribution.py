"""Training shared by several replicas gives what one device gives."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_crsae.training import distribution as replicas

ROOT = pathlib.Path(__file__).parents[3]
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
counts = {"signal": np.random.default_rng(2).poisson(np.exp(0.3 * signal - 1.0)).astype("float32"),
          "exposure": np.where(np.arange(21) % 3, 1.0, 2.0)}

def some(options, stop=None):
    return {k: v[:stop] for k, v in counts.items()} if "likelihood" in options else signal[:stop]

def train(strategy, options, weights, fitting):
    with strategy.scope():
        model = kc.CRsAE(3, 15, iterations=6, seed=0, **options)
        model.set_dictionary(start)
        model.compile(keras.optimizers.Adam(1e-2, clipnorm=0.1), keras.optimizers.Adam(0.02, clipnorm=0.5))
    history = model.fit(some(options), sample_weight=given[weights], epochs=4, verbose=0,
                        validation_data=(some(options, 7), None), **fitting).history
    history["evaluate"] = model.evaluate(some(options), verbose=0)
    state = [*model.weights, *model.optimizer.variables, *model.lambda_optimizer.variables]
    return model, [keras.ops.convert_to_numpy(v) for v in state], [v.path for v in state], history

for options, weights, fitting in json.loads(sys.argv[1]):
    one, a, names, first = train(tf.distribute.get_strategy(), options, weights, fitting)
    other, b, _, second = train(two, options, weights, fitting)
    assert int(one.optimizer.iterations) >= 20 and np.abs(one.dictionary.kernel.numpy() - start).max() > 1e-2
    for name, x, y in zip(names, a, b, strict=True):
        scale = np.abs(x).max() + 1e-30
        assert np.abs(x - y).max() <= 1e-5 * scale, (options, weights, name, np.abs(x - y).max() / scale)
    assert set(first) == set(second)
    for name in first:
        np.testing.assert_allclose(first[name], second[name], rtol=1e-5, err_msg=str((options, name)))
    np.testing.assert_allclose(other.encode(some(options, 2)), one.encode(some(options, 2)), atol=1e-4)
    np.testing.assert_allclose(other.predict(some(options, 4), verbose=0), one.predict(some(options, 4), verbose=0),
                               atol=1e-4)
    for variable in (other.dictionary.kernel, other.lambda_reg, other.sigma, other.step_size):
        here, there = (v.numpy() for v in two.experimental_local_results(variable.value))
        assert np.array_equal(here, there), variable.path
    print("equal")

if len(sys.argv) > 2:  # what a user can do wrong
    outside = kc.CRsAE(3, 15, iterations=2)
    outside.build((None, None, 1))
    with two.scope():
        try:
            outside.compile("adam")
            outside.fit(signal, verbose=0)
        except ValueError as error:
            assert "outside of the scope" in str(error), error
            print("refused")
"""


def run(cases, *more):
    made = subprocess.run([sys.executable, "-c", MIRRORED, json.dumps(cases), *more], cwd=ROOT, capture_output=True,
                          text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    assert made.returncode == 0, made.stderr[-3000:]
    return made.stdout.split()


def case(learning, gradient, weights=None, batch_size=4, **options):
    """Options of the model, name of the weights, options of `fit`."""
    return (dict(lambda_learning=learning, gradient=gradient, gradient_steps=3, sigma_rate=0.1,
                 **{"sigma_learning": True, **options}), weights, dict(shuffle=False, batch_size=batch_size))


@pytest.mark.slow
@pytest.mark.parametrize("cases", [
    [case("em_closed_form", "decoder", "mask", lambda_shared=True),
     case("backprop", "truncated", "weight", 5, sigma_learning=False, tied=False),  # replica 2: one signal less
     case("em", "truncated"),
     case("em", "decoder", likelihood="poisson", sigma_learning=False, refit_distance=5)],
    [case(learning, "unrolled") for learning in ("em_closed_form", "backprop", None)]],
    ids=["weighted", "unrolled"])
def test_two_replicas_give_the_weights_and_logs_of_one_after_20_steps(cases):
    """Every gradient with two ways to learn lambda at least, and each of those with two gradients."""
    assert run(cases, "refusals") == ["equal"] * len(cases) + ["refused"]


def test_outside_of_a_strategy_the_reductions_change_nothing():
    value = tf.constant([1.0, -2.0])
    for reduce in (replicas.total, replicas.highest, replicas.first):
        np.testing.assert_array_equal(reduce(value), value)
    assert not replicas.several() and replicas.as_log(tf.constant(1.0)).shape == ()


#: One of two machines, as a user would write it; `cut` kills worker 1 after so many batches.
WORKER = """
import json, os, signal as signals, sys
import numpy as np, tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy() if "TF_CONFIG" in os.environ else tf.distribute.get_strategy()
import keras
import keras_crsae as kc
from keras_crsae.callbacks import SaveProgress
from keras_crsae.data.simulate import perturb_filters, simulate_spikes, spike_templates
from keras_crsae.data.streams.recording_windows import window_batches

folder, kind, cut = sys.argv[1], sys.argv[2], int(sys.argv[3])
me = json.loads(os.environ.get("TF_CONFIG", '{"task": {"index": "alone"}}'))["task"]["index"]
filters = spike_templates(15, 3)
signal = simulate_spikes(filters, windows=21, samples=120, events_per_window=2, seed=4).signal

class Cut(keras.callbacks.Callback):
    left = cut

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0 and me == 1:
            os.kill(os.getpid(), signals.SIGKILL)

with strategy.scope():
    # Without a seed each machine draws its own filters and order; those of the first must count.
    keras.utils.set_random_seed(0 if me in (0, "alone") else 1)
    model = kc.CRsAE(3, 15, iterations=6, sigma_learning=True, sigma_rate=0.1, gradient="decoder",
                     lambda_learning="em_closed_form")
    model.adapt(signal, init="windows")
    model.compile(keras.optimizers.Adam(1e-2))
saver = SaveProgress(f"{folder}/progress.keras", every=1) if kind != "keras" else \\
    keras.callbacks.BackupAndRestore(f"{folder}/backup{me}", delete_checkpoint=False)
mask = (np.random.default_rng(0).random(signal.shape) < 0.9).astype("float32") if kind != "stream" else None
class Recording:  # notes what is read of it
    shape, read = (21 * 120, 1), []

    def __getitem__(self, index):
        self.read.append(index.start)
        return signal.reshape(-1, 1)[index]

data = window_batches(Recording(), 120, 4) if kind == "stream" else signal
history = model.fit(data, sample_weight=mask, epochs=4, batch_size=None if kind == "stream" else 4,
                    verbose=0, callbacks=[saver, Cut()]).history
json.dump(Recording.read, open(f"{folder}/read{me}.json", "w"))
assert all(np.isfinite(values).all() and np.ndim(values) == 1 for values in history.values()), history
state = [*model.weights, *model.optimizer.variables, *model.lambda_optimizer.variables]
np.savez(f"{folder}/{me}.npz", *[keras.ops.convert_to_numpy(v) for v in state])
json.dump(history, open(f"{folder}/{me}.json", "w"))
"""


def free_ports(count):
    """Below the range that the system gives to outgoing connections, one of which might take a port in between."""
    found, rng = [], np.random.default_rng()
    with contextlib.ExitStack() as stack:
        while len(found) < count:
            one, port = stack.enter_context(socket.socket()), int(rng.integers(20_000, 32_000))
            with contextlib.suppress(OSError):
                one.bind(("127.0.0.1", port))
                found.append(port)
    return found


def train_workers(folder, kind, cut=0):
    """Exit codes of two workers; the one that is left alone is ended."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    workers = [start(folder, kind, cut, json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}}))
               for i in (0, 1)]
    try:
        workers[1].wait(180)
        with contextlib.suppress(subprocess.TimeoutExpired):
            workers[0].wait(5 if cut else 60)
    finally:
        for worker in workers:
            worker.kill()
    said = [worker.communicate()[1] for worker in workers]
    return [worker.returncode for worker in workers], said


def start(folder, kind, cut, config=None):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("TF_CONFIG", None)
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", WORKER, str(folder), kind, str(cut)], cwd=ROOT,
                            text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                            env={**environment, **({} if config is None else {"TF_CONFIG": config})})


def loaded(path):
    with np.load(path) as file:
        return list(file.values())


def one_process(folder, kind):
    """Weights and history of the same training in one process."""
    folder.mkdir(exist_ok=True)
    worker = start(folder, kind, 0)
    _, said = worker.communicate()
    assert worker.returncode == 0, said[-2000:]
    return loaded(folder / "alone.npz"), json.loads((folder / "alone.json").read_text())


def check_equal(folder, alone):
    first, second = loaded(folder / "0.npz"), loaded(folder / "1.npz")
    for a, b, c in zip(first, second, alone[0], strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.abs(a - c).max() <= 1e-5 * (np.abs(c).max() + 1e-30)


@pytest.fixture(scope="module")
def masked_alone(tmp_path_factory):
    return one_process(tmp_path_factory.mktemp("alone"), "ours")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ours", "keras"])
def test_two_machines_of_which_one_was_killed_go_on_to_the_weights_and_logs_of_one(tmp_path, kind, masked_alone):
    """The two to the same bits, and as one process to rounding."""
    codes, _ = train_workers(tmp_path, kind, cut=14)  # 6 batches an epoch: in the third one
    assert codes[1] == -9 and not (tmp_path / "0.npz").exists()
    codes, said = train_workers(tmp_path, kind)
    assert codes == [0, 0], said[0][-1500:] + said[1][-1500:]
    check_equal(tmp_path, masked_alone)
    logs = json.loads((tmp_path / "0.json").read_text())
    assert len(logs["loss"]) == 2  # the epochs that were left
    for name, values in logs.items():
        np.testing.assert_allclose(values[-1], masked_alone[1][name][-1], rtol=1e-5, err_msg=name)


@pytest.mark.slow
def test_two_machines_read_a_recording_once_together_and_learn_what_one_learns(tmp_path):
    alone = one_process(tmp_path / "alone", "stream")
    codes, said = train_workers(tmp_path, "stream")
    assert codes == [0, 0], said[0][-1500:] + said[1][-1500:]
    check_equal(tmp_path, alone)
    for name, values in json.loads((tmp_path / "0.json").read_text()).items():
        np.testing.assert_allclose(values, alone[1][name], rtol=1e-5, err_msg=name)
    first, second = (json.loads((tmp_path / f"read{i}.json").read_text()) for i in (0, 1))
    assert sorted(first + second) == sorted([*range(0, 21 * 120, 120)] * 4)  # each window once an epoch
    assert len(first) == 4 * (5 * 2 + 1) and len(second) == 4 * 5 * 2  # of 21 windows in batches of 4
