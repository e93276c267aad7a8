"""The server on loopback: concurrent clients with good and bad requests, limits, time-outs, flat memory."""

import gzip
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import venv
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from crsae_onnx import SparseEncoder
from crsae_onnx.cli import main
from crsae_onnx.convert import convert

import keras_crsae as kc

ROOT = Path(__file__).parents[3]
REQUESTS, CLIENTS = 1000, 4

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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = {"HOME": str(folder), "BENTOML_HOME": str(folder / "bentoml")}
    process = subprocess.Popen(
        [binaries / "crsae-onnx", "serve", *map(str, files), "--port", str(port), "--timeout", "3", "--threads", "1",
         "--largest-body", "200000", "--largest-signal", "20000", "--concurrency", "6"], cwd=folder,
        env={**os.environ, **home}, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(480):
            try:
                if ask(port, "GET", "/v2/health/ready")[0] == 200:
                    break
            except OSError:
                assert process.poll() is None, "the server ended"
            time.sleep(0.25)
        else:
            raise AssertionError("the server is not ready after two minutes")
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


def memory(process):
    """Resident bytes of all processes of the server."""
    return memory_of_group(os.getpgid(process.pid))


def processor_seconds(group):
    """Of all processes of a group."""
    return sum(int(n) for fields in stats(group) for n in fields[11:13]) / os.sysconf("SC_CLK_TCK")


def memory_of_group(group):
    return sum(int(fields[21]) for fields in stats(group)) * os.sysconf("SC_PAGE_SIZE")


def stats(group):
    """Fields of /proc/PID/stat, from the state on, of the processes of a group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            found.append(fields)
    return found


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


@pytest.mark.slow
def test_nvidia_s_client_is_answered(server, files):
    """With its defaults, which are bytes."""
    client = pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed.")
    connection = client.InferenceServerClient(f"127.0.0.1:{server[0]}")
    assert connection.is_server_ready() and connection.is_model_ready("plain") and connection.get_server_metadata()
    signal = np.float32(3 * np.random.default_rng(0).standard_normal((1, 900, 1)))
    given = client.InferInput("signal", signal.shape, "FP32")
    given.set_data_from_numpy(signal)
    expected = SparseEncoder(files[0], threads=1).encode(signal)
    for algorithm in (None, "gzip", "deflate"):
        answer = connection.infer("plain", [given], request_compression_algorithm=algorithm,
                                  response_compression_algorithm=algorithm)
        np.testing.assert_allclose(answer.as_numpy("code"), expected, atol=1e-5)


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
    before = processor_seconds(server[1].pid)
    time.sleep(2)
    assert processor_seconds(server[1].pid) - before < 1
    # The server is as good as before.
    assert ask(port, "POST", path, request(np.ones((1, 50, 1))))[0] == 200


@pytest.mark.slow
def test_concurrent_clients_get_right_answers_and_refusals_and_memory_stays(server, files):
    port, process = server
    encoder, rng = SparseEncoder(files[0], threads=1), np.random.default_rng(0)
    signals = [np.round(3 * rng.standard_normal((1, n, 1)), 3) for n in (20, 57, 130)]
    codes = [encoder.encode(s) for s in signals]
    whole = request(signals[0])
    bad = [b"", whole[:-9], whole.replace(b"FP32", b"FP99"), whole.replace(b"[1, 20, 1]", b"[1, 21, 1]"),
           whole.replace(b"signal", b"image"), request(np.ones((1, 3, 1))), request(np.ones((1, 20, 2))),
           request(signals[0]).replace(b"[", b"[NaN, ", 3), request(signals[0], outputs=[{"name": "x"}])]

    def client(number):
        chance, wrong = random.Random(number), []
        for i in range(REQUESTS // CLIENTS // 2):
            if chance.random() < 0.5:
                k = chance.randrange(len(signals))
                status, body = ask(port, "POST", "/v2/models/plain/infer", request(signals[k], id=str(i)))
                if status == 429:  # busy, and told so; counted below
                    busy.append(number)
                    continue
                made = {o["name"]: o for o in json.loads(body)["outputs"]} if status == 200 else {}
                fine = status == 200 and json.loads(body)["id"] == str(i) and np.allclose(
                    made["code"]["data"], codes[k].ravel(), atol=1e-5)
            else:
                status, body = ask(port, "POST", "/v2/models/plain/infer", chance.choice(bad))
                fine = status in (400, 429) and len(json.loads(body)["error"]) > 10 if status != 429 else True
            if not fine:
                wrong.append((status, body[:200]))
        return wrong

    sizes, busy = [], []
    for _ in range(2):  # the first half warms pools and caches up
        with ThreadPoolExecutor(CLIENTS) as pool:
            assert [w for part in pool.map(client, range(CLIENTS)) for w in part] == []
        sizes.append(memory(process))
    assert len(busy) < REQUESTS / 20  # fewer clients than requests at a time: next to all are answered
    assert sizes[1] < 1.05 * sizes[0], f"memory grew from {sizes[0]:,} to {sizes[1]:,} bytes"


def test_what_is_no_encoder_starts_no_server(tmp_path, capsys):
    (tmp_path / "bad.onnx").write_bytes(b"\x08 no model")
    assert main(["serve", str(tmp_path / "bad.onnx")]) == 2
    assert "bad.onnx" in capsys.readouterr().err


@pytest.mark.slow
def test_one_signal_ends_the_whole_server(server):
    """The command's process is the server itself: what ends it leaves no worker behind. The last to use the server."""
    port, process = server
    os.kill(process.pid, signal.SIGTERM)
    process.wait(timeout=60)
    deadline = time.monotonic() + 20
    while memory_of_group(process.pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not memory_of_group(process.pid)
    with pytest.raises(OSError):
        ask(port, "GET", "/v2/health/live")


def test_a_missing_framework_is_named_with_its_extra(files, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "bentoml", None)
    monkeypatch.delitem(sys.modules, "crsae_onnx.serving.server", raising=False)
    assert main(["serve", str(files[0])]) == 2
    assert "keras-crsae[serve]" in capsys.readouterr().err
