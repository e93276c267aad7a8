"""The same seed gives the same weights to the bit, in another process too."""

import os
import pathlib
import subprocess
import sys

import pytest

TRAIN = """
import hashlib, sys
import keras
import keras_crsae as kc
from keras_crsae.data.simulate import simulate_spikes, spike_templates

seed, gradient, rank = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
signal = simulate_spikes(spike_templates(15, 3), windows=16, samples=144, events_per_window=2, seed=4).signal
signal = signal if rank == 1 else signal.reshape(16, 12, 12, 1)
keras.utils.set_random_seed(seed)
model = kc.CRsAE(3, 15 if rank == 1 else 5, rank=rank, iterations=12, gradient=gradient, sigma="estimate",
                 sigma_learning=True)
model.adapt(signal, init="windows")
model.compile(keras.optimizers.Adam(1e-2))
model.fit(signal, epochs=3, batch_size=4, verbose=0)
state = [*model.weights, *model.optimizer.variables, *model.lambda_optimizer.variables]
print(hashlib.sha256(b"".join(keras.ops.convert_to_numpy(v).tobytes() for v in state)).hexdigest())
"""


def digests(*runs):
    """The processes run side by side: a busy machine is part of the test."""
    root = pathlib.Path(__file__).parents[3]
    made = [subprocess.Popen([sys.executable, "-W", "ignore", "-c", TRAIN, *map(str, run)], cwd=root, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}) for run in runs]
    done = [(process, *process.communicate()) for process in made]
    for process, _, errors in done:
        assert process.returncode == 0, errors[-2000:]
    return [out.strip() for _, out, _ in done]


@pytest.mark.slow
def test_two_processes_give_the_same_bits_and_another_seed_gives_others():
    first, second, other = digests((3, "unrolled", 1), (3, "unrolled", 1), (4, "unrolled", 1))
    assert len(first) == 64 and first == second != other


@pytest.mark.slow
@pytest.mark.parametrize("gradient", ["truncated", "decoder"])
@pytest.mark.parametrize("rank", [1, 2])
def test_every_gradient_and_rank_gives_the_same_bits(gradient, rank):
    first, second = digests((3, gradient, rank), (3, gradient, rank))
    assert first == second
