"""Encoders in other processes."""

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from crsae_onnx import SparseEncoder
from crsae_onnx.convert import convert
from crsae_onnx.runtime import pickling
from crsae_onnx.runtime.sessions import RunLimits

import keras_crsae as kc

CPU = "CPUExecutionProvider"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    model = kc.CRsAE(2, 7, iterations=12, lambda_init=0.7, seed=0)
    model.build((None, None, 1))
    return convert(model, tmp_path_factory.mktemp("pickle") / "plain.onnx")


@pytest.fixture(scope="module")
def signals():
    return np.random.default_rng(0).standard_normal((4, 1, 60, 1)).astype("float32")


@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
@pytest.mark.parametrize("options", [{}, {"providers": [(CPU, {})], "threads": 1, "arena": False,
                                          "limits": RunLimits(signal_samples=99)}])
def test_a_pickled_encoder_computes_the_same_with_the_same_options(file, signals, options, protocol):
    encoder = SparseEncoder(file, **options)
    again = pickle.loads(pickle.dumps(encoder, protocol))
    np.testing.assert_array_equal(again.encode(signals[0]), encoder.encode(signals[0]))
    assert again.info == encoder.info and again.path == encoder.path and again.limits == encoder.limits
    assert repr(again) == repr(encoder)
    method = pickle.loads(pickle.dumps(encoder.reconstruct, protocol))
    np.testing.assert_array_equal(method(signals[0]), encoder.reconstruct(signals[0]))
    np.testing.assert_array_equal(copy.deepcopy(encoder).encode(signals[1]), encoder.encode(signals[1]))


def test_the_file_may_be_gone(file, signals, tmp_path):
    content = file.read_bytes()
    (tmp_path / "moved.onnx").write_bytes(content)
    sent = pickle.dumps(SparseEncoder(tmp_path / "moved.onnx"))
    (tmp_path / "moved.onnx").unlink()
    again = pickle.loads(sent)
    np.testing.assert_array_equal(again.encode(signals[0]), SparseEncoder(content).encode(signals[0]))
    assert again.path.name == "moved.onnx"


def test_a_process_keeps_one_session(file):
    sent = pickle.dumps(SparseEncoder(file, threads=1))
    assert pickle.loads(sent) is pickle.loads(sent)


def test_a_forked_process_never_ends_the_sessions_of_its_parent(monkeypatch):
    # Their threads exist in the parent alone: the child would wait for them for ever.
    monkeypatch.setattr(pickling, "_KEPT", {})
    def made(number):
        return pickling.restore(lambda content: SimpleNamespace(level=SimpleNamespace()), bytes([number]), "x", {})

    inherited = [made(number) for number in range(4)]
    monkeypatch.setattr(pickling.os, "getpid", lambda: -1)
    own = [made(number) for number in range(6)]
    kept = list(pickling._KEPT.values())
    assert kept == inherited + own[2:]


@pytest.mark.parametrize("start", sorted({"spawn", "fork"} & set(multiprocessing.get_all_start_methods())))
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_pools_of_processes_encode(file, signals, start):
    encoder = SparseEncoder(file, threads=1)
    pickle.loads(pickle.dumps(encoder))  # this process has a session, which a forked one must not use
    with ProcessPoolExecutor(1, multiprocessing.get_context(start)) as pool:
        codes = list(pool.map(encoder.encode, signals, timeout=120))
    for code, signal in zip(codes, signals, strict=True):
        np.testing.assert_allclose(code, encoder.encode(signal), atol=1e-6)


def test_joblib_encodes(file, signals):
    joblib = pytest.importorskip("joblib", reason="joblib is not installed.")
    encoder = SparseEncoder(file, threads=1)
    codes = joblib.Parallel(n_jobs=2)(joblib.delayed(encoder.encode)(signal) for signal in signals)
    np.testing.assert_allclose(codes, [encoder.encode(signal) for signal in signals], atol=1e-6)


def test_dask_encodes(file, signals):
    dask = pytest.importorskip("dask", reason="the extra `cluster` is not installed.")
    encoder = SparseEncoder(file, threads=1)
    (code,) = dask.compute(dask.delayed(encoder.encode)(signals[0]), scheduler="processes", num_workers=1)
    np.testing.assert_allclose(code, encoder.encode(signals[0]), atol=1e-6)


def test_readers_models_and_results_can_be_pickled_too(sorted_spikes, file):
    recording, _, result = sorted_spikes
    reader = pickle.loads(pickle.dumps(result.reader))
    assert reader.to_json() == result.reader.to_json()
    model = pickle.loads(pickle.dumps(result.model))
    np.testing.assert_array_equal(model.encode(recording[None, :500]), result.model.encode(recording[None, :500]))
    again = pickle.loads(pickle.dumps(result))
    np.testing.assert_array_equal(again.spike_samples, result.spike_samples)
