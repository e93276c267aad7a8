"""Long recordings over Dask: the one-machine result from chunks, processes, and processes that die."""

import os
import pickle
import signal as signals
import threading
import time

import numpy as np
import pytest
from crsae_onnx import SignalError, SparseEncoder
from crsae_onnx.cli import main
from crsae_onnx.convert import convert

import keras_crsae as kc

pytest.importorskip("dask", reason="the extra `cluster` is not installed")
distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")

import dask.array as da  # noqa: E402
import h5py  # noqa: E402
import zarr  # noqa: E402
from crsae_onnx.runtime.cluster import encode_blocks, open_array, run_cluster, worker_session  # noqa: E402


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("onnx"), {}
    for name, options, channels in (("plain", {}, 1), ("strided", dict(strides=3, shrinkage="soft"), 2)):
        model = kc.CRsAE(2, 8, iterations=6, lambda_init=0.7, seed=0, **options)
        model.build((None, None, channels))
        made[name] = convert(model, folder / f"{name}.onnx")
    images = kc.CRsAE(2, 4, rank=2, iterations=3)
    images.build((None, None, None, 1))
    made["images"] = convert(images, folder / "images.onnx")
    return made


def close(made, expected):
    assert made.shape == expected.shape and made.dtype == np.float32
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name, channels", [("plain", 1), ("strided", 2)])
@pytest.mark.parametrize("length", [8, 59, 400, 1001])
def test_chunks_give_the_code_and_reconstruction_of_the_whole(exported, name, channels, length, rng):
    recording = 3 * rng.standard_normal((2, length, channels))
    encoder = SparseEncoder(exported[name])
    for given in (recording, da.from_array(recording, chunks=(1, 77, 1))):
        code = encode_blocks(exported[name], given, chunk=70)
        assert code.numblocks[1] == max(1, length // 72 if name == "strided" else length // 70)
        close(code.compute(scheduler="synchronous"), encoder.encode(recording))
    close(encode_blocks(exported[name], recording, "reconstruction", chunk=90).compute(scheduler="threads"),
          encoder.reconstruct(recording))


def test_chunks_are_never_shorter_than_what_codes_depend_on(exported, rng):
    recording = rng.standard_normal((1, 500, 1))
    assert min(encode_blocks(exported["plain"], recording, chunk=1).chunks[1][:-1]) >= 6 * 7


def test_a_worker_keeps_one_session(exported, rng):
    worker_session.cache_clear()
    encode_blocks(exported["plain"], rng.standard_normal((1, 900, 1)), chunk=80).compute(scheduler="threads")
    assert worker_session.cache_info().misses == 1 and worker_session.cache_info().hits >= 9


def test_files_are_opened_where_they_are_read(tmp_path, rng, monkeypatch):
    array = rng.standard_normal((50, 2)).astype("float32")
    np.save(tmp_path / "a.npy", array)
    zarr.open_array(str(tmp_path / "a.zarr"), mode="w", shape=array.shape, dtype="f4", chunks=(20, 2))[:] = array
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["group/data"] = array
    for name in ("a.npy", "a.zarr", "a.h5:group/data"):
        monkeypatch.chdir(tmp_path)
        opened = pickle.dumps(open_array(name))
        monkeypatch.chdir("/")  # where a worker may stand
        opened = pickle.loads(opened)
        assert opened.shape == (50, 2) and opened.dtype == np.float32
        np.testing.assert_array_equal(opened[10:20], array[10:20])
        assert len(pickle.dumps(opened)) < 300
    (tmp_path / "text.npy").write_text("no array")
    for name, error in (("none.zarr", FileNotFoundError), ("text.npy", ValueError), ("a.h5:other", ValueError)):
        with pytest.raises(error, match=name.split(":")[0]):
            open_array(tmp_path / name)


def test_unfit_work_is_refused_before_it_starts(exported, tmp_path, capsys):
    with pytest.raises(ValueError, match="rank 1"):
        encode_blocks(exported["images"], np.zeros((1, 9, 9, 1)))
    with pytest.raises(SignalError, match="1 channels"):
        encode_blocks(exported["plain"], np.zeros((1, 90, 2)))
    with pytest.raises(ValueError, match="chunk"):
        encode_blocks(exported["plain"], np.zeros((1, 90, 1)), chunk=0)
    with pytest.raises(SignalError, match="NaN"):
        encode_blocks(exported["plain"], np.full((1, 90, 1), np.nan)).compute(scheduler="synchronous")
    np.save(tmp_path / "y.npy", np.zeros((90, 1)))
    (tmp_path / "z.zarr").mkdir()
    zarr.open_array(str(tmp_path / "own.zarr"), mode="w", shape=(90, 1), dtype="f4")[:] = 1
    assert main(["run", str(exported["plain"]), str(tmp_path / "own.zarr"), str(tmp_path / "own.zarr"), "--scheduler",
                 "local", "--overwrite"]) == 2 and "is the input" in capsys.readouterr().err
    assert zarr.open_array(str(tmp_path / "own.zarr"), mode="r")[:].all()
    for arguments, words in ((["z.zarr"], "exists"), (["y.npy", "--scheduler", "local"], ".zarr"),
                             (["q.zarr", "--sparse"], "--sparse")):
        output = [str(tmp_path / arguments[0]), *arguments[1:]]
        assert main(["run", str(exported["plain"]), str(tmp_path / "y.npy"), *output]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Dask's own, when a worker dies
def test_a_cluster_finishes_although_a_worker_is_killed(exported, tmp_path, rng):
    """Two processes, one killed midway: the file is whole and holds the one-machine result."""
    recording = (100 * rng.standard_normal((200_000, 1))).astype("int16")
    zarr.open_array(str(tmp_path / "y.zarr"), mode="w", shape=recording.shape, dtype="i2", chunks=(5000, 1))[:] = \
        recording
    killed = []

    def kill(client):
        """Once some chunks are written: end one worker, as a machine that goes down would."""
        written, deadline = 0, time.monotonic() + 120
        while written < 3 and time.monotonic() < deadline:
            written = len([f for part in tmp_path.glob("*.part-*") for f in part.rglob("*")
                           if f.is_file() and not f.name.startswith((".", "zarr"))])
            time.sleep(0.002)
        pid = next(iter(pids.values()))
        os.kill(pid, signals.SIGKILL)
        killed.extend([pid, written])

    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        with distributed.Client(cluster) as client:
            pids = client.run(os.getpid)
            assert len(set(pids.values())) == 2
            killer = threading.Thread(target=kill, args=(client,))
            killer.start()
            shape = run_cluster(exported["plain"], tmp_path / "y.zarr", tmp_path / "z.zarr", cluster.scheduler_address,
                                chunk=1000)
            killer.join(timeout=60)
            assert killed[0] not in client.run(os.getpid).values() and killed[1] < 150  # of 200 chunks
    assert shape == (1, 199_993, 2)
    close(zarr.open_array(str(tmp_path / "z.zarr"), mode="r")[:], SparseEncoder(exported["plain"]).encode(
        recording[None]))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["y.zarr", "z.zarr"]


@pytest.mark.slow
def test_the_command_line_runs_on_processes_of_its_own(exported, tmp_path, rng, capsys):
    recording = rng.standard_normal((1, 3000, 1)).astype("float32")
    np.save(tmp_path / "y.npy", recording)
    command = ["run", str(exported["plain"]), str(tmp_path / "y.npy"), str(tmp_path / "z.zarr"), "--scheduler", "local",
               "--window", "500", "--reconstruct"]
    assert main(command) == 0 and "(1, 3000, 1)" in capsys.readouterr().out
    close(zarr.open_array(str(tmp_path / "z.zarr"), mode="r")[:], SparseEncoder(exported["plain"]).reconstruct(
        recording))
    assert main([*command, "--overwrite"]) == 0
