"""Training killed at any moment and started again ends with the weights of training in one go; files stay whole."""

import ctypes
import os
import pathlib
import resource
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest

import keras_crsae as kc
from keras_crsae.data.simulate import perturb_filters, simulate_spikes, spike_templates
from keras_crsae.training.callbacks import RecentreFilters, SaveProgress

ROOT = pathlib.Path(__file__).parents[3]
TEMPLATES = spike_templates(15, 3)
#: Trains with a save after each batch. Kills itself so many seconds after so many batches of this process, or after
#: `fit` was called for 0 batches; never where no seconds are given.
KILLED = """
import os, signal, sys, threading
import keras, numpy as np
import keras_crsae as kc
from keras_crsae.callbacks import RecentreFilters, SaveProgress
from keras_crsae.data.simulate import perturb_filters, simulate_spikes, spike_templates

folder, seconds, batches = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
templates = spike_templates(15, 3)
data = simulate_spikes(templates, windows=22, samples=120, events_per_window=2, seed=4).signal
model = kc.CRsAE(3, 15, iterations=6, gradient="decoder", sigma_learning=True, seed=0)
model.set_dictionary(perturb_filters(templates, 0.45, seed=5))
model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-2, 36)))

class Kill(keras.callbacks.Callback):
    left = batches

    def on_train_batch_begin(self, batch, logs=None):
        self.left -= 1
        if self.left == 0 and seconds:
            threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()

if seconds and not batches:
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
model.fit(data, epochs=6, batch_size=4, verbose=0,
          callbacks=[Kill(), SaveProgress(folder + "/progress.keras", every=1), RecentreFilters(within=0.1)])
state = [*model.weights, *model.optimizer.variables, *model.lambda_optimizer.variables]
np.savez(folder + "/writing.npz", *[keras.ops.convert_to_numpy(v) for v in state])
os.replace(folder + "/writing.npz", folder + "/done.npz")
os._exit(0)
"""


def run(folder, seconds=0.0, batches=0):
    """Whether the process was killed; else it came to the end of training."""
    folder.mkdir(exist_ok=True)
    made = subprocess.run([sys.executable, "-W", "ignore", "-c", KILLED, str(folder), str(seconds), str(batches)],
                          cwd=ROOT, text=True, capture_output=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    assert made.returncode in (0, -9), made.stderr[-2000:]
    return made.returncode == -9


def final(folder):
    with np.load(folder / "done.npz") as file:
        return list(file.values())


@pytest.mark.slow
def test_kills_in_every_phase_of_training_change_no_bit_of_the_weights(tmp_path):
    assert not run(tmp_path / "whole")
    folder, rng, saved = tmp_path / "killed", np.random.default_rng(0), 0
    # Of 36 batches, 6 an epoch: at the start without a file, while the step is traced, after saves, at the start with a
    # file (while it is read), and across the end of an epoch; each within a batch, a save or between them, as chance
    # has it.
    for batches in (0, 1, 3, 0, 8):
        assert run(folder, float(rng.uniform(0.0, 0.2 if batches else 2.0)), batches)
        if (folder / "progress.keras").exists():  # whole, whatever was being written
            saved += 1
            with zipfile.ZipFile(folder / "progress.keras") as archive:
                assert archive.testzip() is None
    assert saved >= 3 and not run(folder)
    for a, b in zip(final(tmp_path / "whole"), final(folder), strict=True):
        np.testing.assert_array_equal(a, b)


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


@pytest.fixture(scope="module")
def signal():
    return simulate_spikes(TEMPLATES, windows=22, samples=120, events_per_window=2, seed=4).signal


def fresh(**options):
    model = kc.CRsAE(3, 15, **{"iterations": 4, "gradient": "decoder", "seed": 0, **options})
    model.set_dictionary(perturb_filters(TEMPLATES, 0.45, seed=5))
    model.compile(keras.optimizers.Adam(1e-2))
    return model


def state(model):
    return [keras.ops.convert_to_numpy(v) for v in
            [*model.weights, *model.optimizer.variables, *model.lambda_optimizer.variables]]


def saver(kind, folder):
    if kind == "keras":
        return keras.callbacks.BackupAndRestore(folder / "backup", save_freq=2)
    return SaveProgress(folder / "progress.keras", every=1)


@pytest.mark.parametrize("kind", ["ours", "keras"])
def test_training_cut_in_the_middle_of_epochs_goes_on_to_the_same_bits(signal, tmp_path, kind):
    fitting = dict(epochs=3, batch_size=4, verbose=0)
    whole = fresh()
    whole.fit(signal, callbacks=[RecentreFilters(within=0.1)], **fitting)
    for batches in (4, 5, 99):  # 6 an epoch
        model = fresh()
        try:
            model.fit(signal, callbacks=[saver(kind, tmp_path), RecentreFilters(within=0.1), CutAfter(batches)],
                      **fitting)
        except PowerCut:
            assert batches < 99
    for a, b in zip(state(whole), state(model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_full_disk_is_said_once_and_keeps_the_file_of_the_save_before(signal, tmp_path):
    class FullFrom(keras.callbacks.Callback):
        """No file of this process may grow beyond 2 KiB from this epoch on, as on a disk that is full."""

        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                resource.setrlimit(resource.RLIMIT_FSIZE, (2048, before[1]))

    before, model = resource.getrlimit(resource.RLIMIT_FSIZE), fresh()
    try:
        with pytest.warns(UserWarning, match="could not be saved .* whole, and training goes on") as said:
            history = model.fit(signal, epochs=3, batch_size=8, verbose=0,
                                callbacks=[SaveProgress(tmp_path / "m.keras"), FullFrom()])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [w.category for w in said].count(UserWarning) == 1 and len(history.epoch) == 3
    kept = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(kept.training_state.progress, [1, 0])
    assert [f.name for f in tmp_path.iterdir()] == ["m.keras"]


#: Prints the bytes that one of thirty saves keeps: those in use, as free ones inside the heap hide growth.
SAVED = """
import ctypes, gc, sys
import keras, numpy as np
import keras_crsae as kc
from keras_crsae.callbacks import SaveProgress

class Heap(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks",
                                                     "fsmblks", "uordblks", "fordblks", "keepcost")]

glibc = ctypes.CDLL(None)
glibc.mallinfo2.restype = Heap

def held():
    gc.collect()
    heap = glibc.mallinfo2()
    return heap.uordblks + heap.hblkhd

model, saver = kc.CRsAE(3, 15, iterations=4, seed=0), SaveProgress(sys.argv[1])
model.compile(keras.optimizers.Adam(1e-2))
model.fit(np.random.default_rng(0).standard_normal((8, 100, 1)), verbose=0, callbacks=[saver])
for _ in range(5):
    saver.save()
before = held()
for _ in range(30):
    saver.save()
print("kept", (held() - before) / 30)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="memory in use is asked of glibc 2.33 or later")
def test_saving_keeps_no_memory(tmp_path):
    """Keras makes an optimiser for each of the model's in every save, of which TensorFlow keeps 70 kB."""
    made = subprocess.run([sys.executable, "-W", "ignore", "-c", SAVED, str(tmp_path / "m.keras")], cwd=ROOT, text=True,
                          capture_output=True,
                          env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "MALLOC_ARENA_MAX": "1"})
    assert made.returncode == 0, made.stderr[-2000:]
    assert float(made.stdout.split("kept")[1]) < 20e3, made.stdout
