"""The server on loopback: concurrent clients with good and bad requests, limits, time-outs, flat memory."""

import asyncio
import gzip
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import venv
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from crsae_onnx import SparseEncoder
from crsae_onnx.cli import main
from crsae_onnx.convert import convert

import keras_crsae as kc
from benchmarks.serving import metrics, processes, soak, started
from benchmarks.serving_clients import cases

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="BentoML's server runs on Unix.")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    model = kc.CRsAE(2, 7, iterations=12, lambda_init=0.7, seed=0)
    model.build((None, None, 1))
    heavy = kc.CRsAE(8, 99, iterations=20_000, lambda_init=0.7, seed=0)
    heavy.build((None, None, 1))
    return [convert(model, folder / "plain.onnx", inputs=("signal", "sigma")),
            convert(heavy, folder / "heavy.onnx", outputs=("code",))]


@pytest.fixture(scope="module")
def server(files, tmp_path_factory):
    """Port and process of a running server, installed as a user would."""
    folder = tmp_path_factory.mktemp("server")
    venv.create(folder / "env", with_pip=True)
    binaries = folder / "env" / "bin"
    subprocess.run([binaries / "python", "-m", "pip", "install", "-q", "--no-compile", "--disable-pip-version-check",
                    f"{ROOT}[serve]"], check=True, timeout=500)
    port, process = started(folder, [binaries / "crsae-onnx", "serve", *files, "--timeout", "3", "--threads", "1",
                                     "--largest-body", "200000", "--largest-signal", "20000"])
    try:
        yield port, process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)


def ask(port, method, path, body=None, timeout=30, headers=(), received=None):
    """(status, body); the answer's headers go into the dict ``received``."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        (received if received is not None else {}).update({n.lower(): v for n, v in answer.getheaders()})
        return answer.status, answer.read()
    finally:
        connection.close()


def request(array, **more):
    array = np.asarray(array)
    inputs = [{"name": "signal", "shape": list(array.shape), "datatype": "FP32", "data": array.ravel().tolist()}]
    return json.dumps({"inputs": inputs, **more}).encode()


def processor_seconds(process):
    """Of a process and all that it started."""
    return sum(int(n) for fields in processes(process.pid).values() for n in fields[11:13]) / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
def test_health_metadata_and_metrics(server):
    port, _ = server
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/plain/ready", "/livez", "/readyz"):
        assert ask(port, "GET", path)[0] == 200, path
    status, body = ask(port, "GET", "/v2/models/plain")
    assert status == 200 and json.loads(body)["inputs"][0] == {"name": "signal", "datatype": "FP32",
                                                               "shape": [-1, -1, 1]}
    for path in ("/v2", "/v2/"):
        status, body = ask(port, "GET", path)
        assert status == 200 and sorted(json.loads(body)["models"]) == ["heavy", "plain"]
        assert json.loads(body)["extensions"] == ["binary_tensor_data"]
    assert b"bentoml_service_request_total" in ask(port, "GET", "/metrics")[1]


@pytest.mark.slow
def test_bytes_and_gzip_both_ways(server, files):
    port, _ = server
    signal = np.float32(3 * np.random.default_rng(0).standard_normal((1, 900, 1)))
    tensor = {"name": "signal", "shape": [1, 900, 1], "datatype": "FP32", "parameters": {"binary_data_size": 3600}}
    text = json.dumps({"inputs": [tensor], "outputs": [{"name": "code", "parameters": {"binary_data": True}}]}).encode()
    path, length = "/v2/models/plain/infer", {"Inference-Header-Content-Length": len(text)}
    body, expected = text + signal.tobytes(), SparseEncoder(files[0], threads=1).encode(signal)
    for pack, unpack, headers in ((bytes, bytes, {}),
                                  (gzip.compress, gzip.decompress, {"Content-Encoding": "gzip",
                                                                    "Accept-Encoding": "gzip"}),
                                  (zlib.compress, bytes, {"Content-Encoding": "deflate"})):
        received = {}
        status, answer = ask(port, "POST", path, pack(body), headers={**length, **headers}, received=received)
        assert status == 200, answer
        answer, size = unpack(answer), int(received["inference-header-content-length"])
        assert json.loads(answer[:size])["outputs"][0]["parameters"] == {"binary_data_size": expected.nbytes}
        np.testing.assert_allclose(np.frombuffer(answer[size:], "<f4"), expected.ravel(), atol=1e-5)
    for sent, headers, status, words in (
            (gzip.compress(bytes(10**7)), {"Content-Encoding": "gzip"}, 413, b"200,000 bytes"),
            (body, {"Content-Encoding": "br"}, 415, b"gzip, deflate"),
            (body, {"Content-Encoding": "gzip"}, 400, b"is not gzip"),
            (body, {}, 400, b"not JSON"),
            (body, {"Inference-Header-Content-Length": "many"}, 400, b"Inference-Header-Content-Length")):
        assert ask(port, "POST", path, sent, headers=headers)[0] == status
        assert words in ask(port, "POST", path, sent, headers=headers)[1]


def signals_and_codes(files):
    """Signals of three lengths, and their codes by onnxruntime in this process."""
    encoder, rng = SparseEncoder(files[0], threads=1), np.random.default_rng(0)
    signals = [np.float32(3 * rng.standard_normal((1, n, 1))) for n in (57, 300, 900)]
    return [(signal, encoder.encode(signal)) for signal in signals]


def wrong_of_many(connect, files):
    """1,000 requests from 8 threads, each with a client of its own; ``connect()`` opens it and gives its ``encode``."""
    known = signals_and_codes(files)

    def client(number):
        with connect() as encode:
            return [k for k in range(number, 1000, 8)
                    if not np.allclose(encode(known[k % 3][0]), known[k % 3][1], atol=1e-5)]

    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(client, range(8)), [])


@pytest.mark.slow
def test_nvidia_s_client_is_answered(server, files):
    """With its defaults, which are bytes."""
    client = pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed.")
    signal, code = signals_and_codes(files)[2]

    @contextmanager
    def connect():
        with client.InferenceServerClient(f"127.0.0.1:{server[0]}") as connection:
            assert connection.is_server_ready() and connection.is_model_ready("plain")

            def encode(signal, algorithm=None):
                given = client.InferInput("signal", signal.shape, "FP32")
                given.set_data_from_numpy(signal)
                return connection.infer("plain", [given], request_compression_algorithm=algorithm,
                                        response_compression_algorithm=algorithm).as_numpy("code")

            yield encode

    with connect() as encode:
        for algorithm in ("gzip", "deflate"):
            np.testing.assert_allclose(encode(signal, algorithm), code, atol=1e-5)
        with pytest.raises(Exception, match="shorter"):  # its own class of errors
            encode(signal[:, :3])
    assert wrong_of_many(connect, files) == []


@pytest.mark.slow
def test_kserve_s_client_is_answered(server, files):
    """With its defaults for version 2 of the protocol."""
    kserve = pytest.importorskip("kserve", reason="kserve is not installed.")

    @contextmanager
    def connect():
        with asyncio.Runner() as runner:
            client = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2"))

            def encode(signal):
                given = kserve.InferInput("signal", list(signal.shape), "FP32")
                given.set_data_from_numpy(signal)
                answer = runner.run(client.infer(f"http://127.0.0.1:{server[0]}",
                                                 kserve.InferRequest("plain", [given]), model_name="plain"))
                return next(output.as_numpy() for output in answer.outputs if output.name == "code")

            yield encode
            runner.run(client.close())

    assert wrong_of_many(connect, files) == []


@pytest.mark.slow
def test_limits_and_time_outs(server):
    port, _ = server
    path = "/v2/models/plain/infer"
    assert ask(port, "GET", path)[0] == 405 and ask(port, "GET", "/v2/nothing")[0] == 404
    status, body = ask(port, "POST", path, b" " * 200_001)
    assert status == 413 and b"200,000 bytes" in body
    status, body = ask(port, "POST", path, iter([b"[" * 50_000] * 8))  # chunked: no length is told beforehand
    assert status == 413
    status, body = ask(port, "POST", path, request(np.zeros((1, 20_001, 1))))
    assert status == 413 and b"20,001 numbers" in body
    start = time.perf_counter()
    status, body = ask(port, "POST", "/v2/models/heavy/infer", request(np.ones((1, 20_000, 1))))
    assert status == 504 and time.perf_counter() - start < 10
    # The run was ended too: it would go on for minutes.
    time.sleep(2)
    before = processor_seconds(server[1])
    time.sleep(2)
    assert processor_seconds(server[1]) - before < 1
    # The server is as good as before.
    assert ask(port, "POST", path, request(np.ones((1, 50, 1))))[0] == 200


@pytest.mark.slow
def test_good_and_bad_clients_are_answered_and_memory_stays(server, files):
    port, process = server
    report = soak(port, process, cases(files[:1], lengths=((20, 57, 130), ())), seconds=15.0, clients=4)
    assert report.wrong == [] and report.good > 200 and report.bad > 100 and not report.statuses["429"]
    assert report.growth() < 0.05, f"memory grew: {report.summary()}"


@pytest.mark.slow
def test_requests_runs_and_refusals_are_counted(server):
    port, _ = server

    def counted():
        lines = (line.rpartition(" ") for line in metrics(port))
        return {name: float(value) for name, _, value in lines}

    before = counted()
    for name, body in (("plain", request(np.ones((2, 50, 1)))), ("plain", b"{"), ("nobody", b"{}")):
        ask(port, "POST", f"/v2/models/{name}/infer", body)
    changed = {name: value - before.get(name, 0) for name, value in counted().items() if value != before.get(name, 0)}
    seconds = {name: changed.pop(name) for name in list(changed) if "seconds_sum" in name}
    assert {value > 0 for value in seconds.values()} == {True} and len(seconds) == 3
    assert changed == {
        'crsae_requests_total{model="plain",status="200"}': 1, 'crsae_requests_total{model="plain",status="400"}': 1,
        'crsae_requests_total{model="none",status="404"}': 1, 'crsae_request_seconds_count{model="plain"}': 2,
        'crsae_request_seconds_count{model="none"}': 1, 'crsae_run_seconds_count{model="plain"}': 1,
        'crsae_run_signals_count{model="plain"}': 1, 'crsae_run_signals_sum{model="plain"}': 2}


def test_what_is_no_encoder_starts_no_server(tmp_path, capsys):
    (tmp_path / "bad.onnx").write_bytes(b"\x08 no model")
    assert main(["serve", str(tmp_path / "bad.onnx")]) == 2
    assert "bad.onnx" in capsys.readouterr().err


@pytest.mark.slow
def test_one_signal_ends_the_whole_server(server):
    """The command's process is the server itself: what ends it leaves no worker behind. The last to use the server."""
    port, process = server
    family = set(processes(process.pid))
    assert len(family) > 1
    os.kill(process.pid, signal.SIGTERM)
    process.wait(timeout=60)
    deadline = time.monotonic() + 20
    while any(processes(number) for number in family) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(processes(number) for number in family)
    with pytest.raises(OSError):
        ask(port, "GET", "/v2/health/live")


def test_a_missing_framework_is_named_with_its_extra(files, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "bentoml", None)
    monkeypatch.delitem(sys.modules, "crsae_onnx.serving.server", raising=False)
    assert main(["serve", str(files[0])]) == 2
    assert "keras-crsae[serve]" in capsys.readouterr().err
