"""``keras-crsae train --workers``: several processes on this machine in the place of several machines."""

import os
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from keras_crsae.cli import main
from keras_crsae.data.simulate import simulate_spikes, spike_templates
from tests.keras_crsae.training.test_distribution import ROOT, free_ports

OPTIONS = ("--filters 2 --kernel-size 15 --window 300 --batch-size 5 --iterations 10 --epochs 12 "
           "--checkpoint").split()


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("recording") / "y.npy"
    np.save(path, simulate_spikes(spike_templates(15, 2), windows=1, samples=9000, events_per_window=80,
                                  seed=1).signal[0])
    return path


def start(recording, folder, *more):
    command = [sys.executable, "-m", "keras_crsae.cli", "train", str(recording), "--output", str(folder / "m.keras"),
               *OPTIONS, str(folder / "p.keras"), *more]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})


def start_two(recording, folder):
    addresses = ",".join(f"127.0.0.1:{port}" for port in free_ports(2))
    return [start(recording, folder, "--workers", addresses, "--worker-index", str(i)) for i in (0, 1)]


def ended(processes):
    """Exit codes, and what was said, of processes that end within three minutes."""
    try:
        said = [process.communicate(timeout=180) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], said


@pytest.mark.slow
def test_two_workers_learn_what_one_learns_also_after_one_was_killed(recording, tmp_path):
    (tmp_path / "one").mkdir()
    codes, said = ended([start(recording, tmp_path / "one")])
    assert codes == [0], said

    workers, deadline = start_two(recording, tmp_path), time.monotonic() + 120
    while not (tmp_path / "p.keras").exists() and time.monotonic() < deadline and workers[0].poll() is None:
        time.sleep(0.01)
    workers[1].kill()
    codes, said = ended(workers)
    assert codes == [1, -9] and not (tmp_path / "m.keras").exists(), said
    assert "another worker was lost" in said[0][1] and "Traceback" not in said[0][1], said

    codes, said = ended(start_two(recording, tmp_path))
    assert codes == [0, 0], said
    assert "worker 0 writes the model" in said[1][0] and "Epoch 1/12" not in said[0][0]  # it went on
    one, two = (keras.saving.load_model(f / "m.keras") for f in (tmp_path / "one", tmp_path))
    for a, b in zip(one.weights, two.weights, strict=True):
        a, b = (keras.ops.convert_to_numpy(v) for v in (a, b))
        assert np.abs(a - b).max() <= 1e-5 * (np.abs(a).max() + 1e-30), np.abs(a - b).max()


@pytest.mark.parametrize("more, words", [
    (["--workers", "a:1,b:2"], "belong together"), (["--worker-index", "0"], "belong together"),
    (["--workers", "a:1,b:2", "--worker-index", "2"], "counted from 0"),
    (["--workers", "a:1", "--worker-index", "0"], "at least two"), (["--workers", "a:1,b"], "HOST:PORT"),
    (["--workers", "a:1,b:99999"], "HOST:PORT"), (["--workers", "a:1,a:1"], "different machines"),
    (["--workers", "a:1,b:2", "--worker-index", "-1"], "whole number|expected one argument")])
def test_unfit_workers_are_refused_before_work(recording, tmp_path, capsys, more, words):
    arguments = ["train", str(recording), "--output", str(tmp_path / "m.keras"), *OPTIONS, str(tmp_path / "p.keras")]
    try:
        code = main([*arguments, *more])
    except SystemExit as error:
        code = error.code
    said = capsys.readouterr().err
    assert code == 2 and any(word in said for word in words.split("|")), said
