"""The same seed gives the same weights to the bit, in another process too."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

#: Every gradient in one dimension, and one through convolutions of images.
CASES = [("unrolled", 1), ("truncated", 1), ("decoder", 1), ("truncated", 2)]
#: One line a case: the hash of all that training changes.
TRAIN = """
import hashlib, json, sys
import keras
import keras_crsae as kc
from keras_crsae.data.simulate import simulate_spikes, spike_templates

for gradient, rank in json.loads(sys.argv[2]):
    signal = simulate_spikes(spike_templates(15, 3), windows=16, samples=144, events_per_window=2, seed=4).signal
    signal = signal if rank == 1 else signal.reshape(16, 12, 12, 1)
    keras.utils.set_random_seed(int(sys.argv[1]))
    model = kc.CRsAE(3, 15 if rank == 1 else 5, rank=rank, iterations=12, gradient=gradient, sigma="estimate",
                     sigma_learning=True)
    model.adapt(signal, init="windows")
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(signal, epochs=3, batch_size=4, verbose=0)
    state = [*model.weights, *model.optimizer.variables, *model.lambda_optimizer.variables]
    print(hashlib.sha256(b"".join(keras.ops.convert_to_numpy(v).tobytes() for v in state)).hexdigest())
"""


def digests(*runs):
    """Hashes of each (seed, cases), which run side by side in processes: a busy machine is part of the test."""
    root = pathlib.Path(__file__).parents[3]
    processes = [subprocess.Popen([sys.executable, "-W", "ignore", "-c", TRAIN, str(seed), json.dumps(cases)], cwd=root,
                                  text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}) for seed, cases in runs]
    done = [(process, *process.communicate()) for process in processes]
    for process, _, errors in done:
        assert process.returncode == 0, errors[-2000:]
    return [out.split() for _, out, _ in done]


@pytest.mark.slow
def test_two_processes_give_the_same_bits_for_every_gradient_and_another_seed_gives_others():
    first, second, other = digests((3, CASES), (3, CASES), (4, CASES[:1]))
    assert dict(zip(CASES, first, strict=True)) == dict(zip(CASES, second, strict=True))
    assert {len(digest) for digest in first} == {64} and other[0] != first[0]
