"""The Open Inference Protocol without a server: right answers, clear refusals, a thousand mutated requests."""

import json
import random
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from crsae_onnx import SparseEncoder
from crsae_onnx.convert import convert
from crsae_onnx.serving.batching import Stop, StoppedError
from crsae_onnx.serving.binary_tensors import TYPES
from crsae_onnx.serving.protocol import Models, RequestError

import keras_crsae as kc
from benchmarks.serving_clients import mutated
from keras_crsae.problem import Matrix


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    signals = kc.CRsAE(2, 7, iterations=6, lambda_init=0.7, seed=0)
    signals.build((None, None, 1))
    images = kc.CRsAE(4, 4, rank=2, strides=2, iterations=4, sigma=0.1, lambda_init=1.5, shrinkage="soft", seed=0)
    images.build((None, None, None, 1))
    files = [convert(signals, folder / "signals.onnx", inputs=("signal", "mask", "sigma")),
             convert(signals, folder / "spikes.onnx", outputs=("spikes",), spikes=1.0),
             convert(images, folder / "images.onnx", outputs=("denoised",), inputs=("signal", "sigma"),
                     about={"name": "clean", "pixel_range": [0, 1]})]
    return Models(files, threads=1, largest_body=20_000, largest_signal=1000), files


def tensor(name, array, kind="FP32", flat=True):
    array = np.asarray(array)
    return {"name": name, "shape": list(array.shape), "datatype": kind,
            "data": array.ravel().tolist() if flat else array.tolist()}


def ask(models, name, *inputs, **more):
    answer = json.loads(models.infer(name, json.dumps({"inputs": list(inputs), **more}).encode()).body)
    return answer, {o["name"]: np.array(o["data"]).reshape(o["shape"]) for o in answer["outputs"]}


def test_models_and_their_tensors_are_listed(served):
    models, _ = served
    assert models.names == ["clean", "signals", "spikes"]
    made = models.metadata("clean")
    assert made["inputs"] == [{"name": "signal", "datatype": "FP32", "shape": [-1, -1, -1, 1]},
                              {"name": "sigma", "datatype": "FP32", "shape": [-1]}]
    assert made["parameters"]["pixel_range"] == [0, 1]
    assert models.metadata("spikes")["outputs"] == [
        {"name": "spike_index", "datatype": "INT64", "shape": [-1, 2]},
        {"name": "spike_unit", "datatype": "INT64", "shape": [-1]},
        {"name": "spike_amplitude", "datatype": "FP32", "shape": [-1]}]


def test_right_requests_get_what_the_encoder_gives(served, rng):
    models, files = served
    signal, encoder = 3 * rng.standard_normal((2, 50, 1)), SparseEncoder(files[0])
    answer, made = ask(models, "signals", tensor("signal", signal), id="a1")
    assert answer["id"] == "a1" and answer["model_name"] == "signals" and list(made) == ["code", "reconstruction"]
    np.testing.assert_allclose(made["code"], encoder.encode(signal), atol=1e-6)
    mask = rng.random((2, 50, 1)) < 0.8
    _, made = ask(models, "signals", tensor("mask", mask, "BOOL"), tensor("signal", signal, "FP64", flat=False),
                  tensor("sigma", [[0.5], [2.0]]), outputs=[{"name": "code"}])
    np.testing.assert_allclose(made.pop("code"), encoder.encode(signal, mask=mask, sigma=[0.5, 2.0]), atol=1e-6)
    assert not made
    whole = np.rint(10 * signal).astype(int)
    np.testing.assert_allclose(ask(models, "signals", tensor("signal", whole, "INT16"))[1]["code"],
                               encoder.encode(whole), atol=1e-5)
    index, _, amplitude = SparseEncoder(files[1]).spikes(signal)
    _, made = ask(models, "spikes", tensor("signal", signal))
    assert len(index) and made["spike_index"].tolist() == index.tolist()
    np.testing.assert_allclose(made["spike_amplitude"], amplitude, rtol=1e-5)
    image = rng.random((1, 9, 11, 1))
    np.testing.assert_allclose(ask(models, "clean", tensor("signal", image), tensor("sigma", [0.1]))[1]["denoised"],
                               SparseEncoder(files[2]).denoise(image, 0.1), atol=1e-6)


GOOD = tensor("signal", np.ones((1, 20, 1)))


@pytest.mark.parametrize("name, body, status, words", [
    ("none", {"inputs": [GOOD]}, 404, "signals"), ("signals", b"", 400, "not JSON"), ("signals", b"{", 400, "not JSON"),
    ("signals", b"[1]", 400, "object"), ("signals", b"[" * 5000, 400, "not JSON"), ("signals", {}, 400, "inputs"),
    ("signals", {"inputs": GOOD}, 400, "inputs"), ("signals", {"inputs": ["signal"]}, 400, "inputs"),
    ("signals", {"inputs": [{**GOOD, "name": "image"}]}, 400, "image"),
    ("signals", {"inputs": [GOOD, GOOD]}, 400, "once"),
    ("signals", {"inputs": [tensor("signal", np.full((1, 20, 1), 3e38))]}, 400, "overflow"),
    ("signals", {"inputs": [{**GOOD, "shape": [1, 21, 1]}]}, 400, "21 numbers"),
    ("signals", {"inputs": [{**GOOD, "shape": [1, -20, 1]}]}, 400, "shape"),
    ("signals", {"inputs": [{**GOOD, "shape": "1"}]}, 400, "shape"),
    ("signals", {"inputs": [{**GOOD, "datatype": "BYTES"}]}, 400, "datatype"),
    ("signals", {"inputs": [{**GOOD, "data": ["a"] * 20}]}, 400, "numbers"),
    ("signals", {"inputs": [{**GOOD, "data": [[1.0], [1.0, 2.0]]}]}, 400, "numbers"),
    ("signals", {"inputs": [{**GOOD, "data": [float("nan")] * 20}]}, 400, "NaN"),
    ("signals", {"inputs": [{**GOOD, "data": [1e300] * 20}]}, 400, "infinite"),
    ("signals", {"inputs": [{**GOOD, "data": ["1.0"] * 20}]}, 400, "numbers"),
    ("signals", {"inputs": [tensor("signal", np.full((1, 20, 1), 300), "INT8")]}, 400, "no INT8"),
    ("signals", {"inputs": [tensor("signal", np.full((1, 20, 1), 0.5), "INT16")]}, 400, "no INT16"),
    ("signals", {"inputs": [tensor("signal", np.full((1, 20, 1), -1), "UINT8")]}, 400, "no UINT8"),
    ("signals", {"inputs": [{**GOOD, "data": [None] * 20}]}, 400, "NaN"),
    ("signals", {"inputs": [{n: v for n, v in GOOD.items() if n != "data"}]}, 400, "Inference-Header-Content-Length"),
    ("signals", {"inputs": [{**GOOD, "parameters": {"binary_data_size": 80}}]}, 400, "not both"),
    ("signals", {"inputs": [GOOD], "parameters": {"binary_data_output": 1}}, 400, "of type bool"),
    ("signals", {"inputs": [GOOD], "parameters": []}, 400, "an object"),
    ("signals", {"inputs": [{**GOOD, "shape": [10**3000, 10**3000]}]}, 400, "shape"),
    ("signals", {"inputs": [tensor("signal", np.ones((1, 3, 1)))]}, 400, "shorter"),
    ("signals", {"inputs": [tensor("signal", np.ones((1, 20, 2)))]}, 400, "1 channels"),
    ("signals", {"inputs": [tensor("sigma", [1.0])]}, 400, "'signal' is missing"),
    ("signals", {"inputs": [GOOD, tensor("sigma", [0.0])]}, 400, "sigma"),
    ("signals", {"inputs": [GOOD], "outputs": [{"name": "spikes"}]}, 400, "Outputs"),
    ("signals", {"inputs": [GOOD], "id": 3}, 400, "id"),
    ("spikes", {"inputs": [GOOD, tensor("sigma", [1.0])]}, 400, "sigma"),
    ("signals", {"inputs": [{**GOOD, "shape": [1, 10**12, 1]}]}, 413, "at most 1,000"),
    ("signals", b" " * 20_001, 413, "at most 20,000")])
def test_wrong_requests_are_refused_with_status_and_reason(served, name, body, status, words):
    with pytest.raises(RequestError, match=words) as caught:
        served[0].infer(name, body if isinstance(body, bytes) else json.dumps(body).encode())
    assert caught.value.status == status


def test_refusals_repeat_no_long_request(served):
    for change in ({"name": "x" * 9000}, {"shape": [-1] * 4000}, {"datatype": "F" * 9000}):
        with pytest.raises(RequestError) as caught:
            served[0].infer("signals", json.dumps({"inputs": [{**GOOD, **change}]}).encode())
        assert len(str(caught.value)) < 400


def test_a_code_too_large_to_send_is_not_computed(served):
    models = Models(served[1][:1], largest_code=30)
    with pytest.raises(RequestError, match="has 40 numbers; at most 30") as caught:
        ask(models, "signals", GOOD)
    assert caught.value.status == 413


def binary(name, array, kind="FP32", **parameters):
    """An input without data, and its bytes."""
    data = np.asarray(array).astype(TYPES[kind]).tobytes()
    return {"name": name, "shape": list(np.shape(array)), "datatype": kind,
            "parameters": {"binary_data_size": len(data), **parameters}}, data


def ask_binary(models, name, *inputs, header=0, **more):
    """(JSON of the answer, {output: array}) of a request with bytes behind its JSON."""
    text = json.dumps({"inputs": [i for i, _ in inputs], **more}).encode()
    answer = models.infer(name, b"".join([text, *(data for _, data in inputs)]),
                          json_length=None if header is None else str(len(text) + header))
    content = json.loads(answer.body[:answer.json_length])
    at, made = answer.json_length, {}
    for output in content["outputs"]:
        if "data" in output:
            values = np.array(output["data"])
        else:
            size = output["parameters"]["binary_data_size"]
            values, at = np.frombuffer(answer.body[at:at + size], TYPES[output["datatype"]]), at + size
        made[output["name"]] = values.reshape(output["shape"])
    assert at in (None, len(answer.body))
    return content, made


ALL_BINARY = {"parameters": {"binary_data_output": True}}


@pytest.mark.parametrize("kind", ["FP32", "FP64", "INT16", "FP16"])
def test_bytes_behind_the_json_are_tensors(served, rng, kind):
    models, files = served
    signal, encoder = np.rint(3 * rng.standard_normal((2, 50, 1))), SparseEncoder(files[0])
    content, made = ask_binary(models, "signals", binary("signal", signal, kind), id="b", **ALL_BINARY)
    assert content["id"] == "b" and all("data" not in output for output in content["outputs"])
    np.testing.assert_allclose(made["code"], encoder.encode(signal), atol=1e-6)
    np.testing.assert_allclose(made["reconstruction"], encoder.reconstruct(signal), atol=1e-6)


def test_json_and_bytes_may_be_mixed(served, rng):
    models, files = served
    signal, mask, encoder = rng.standard_normal((1, 50, 1)), rng.random((1, 50, 1)) < 0.8, SparseEncoder(files[0])
    outputs = [{"name": "code", "parameters": {"binary_data": False}}, {"name": "reconstruction"}]
    content, made = ask_binary(models, "signals", binary("mask", mask, "BOOL"), (tensor("sigma", [1.0]), b""),
                               binary("signal", signal), outputs=outputs, **ALL_BINARY)
    assert ["data" in output for output in content["outputs"]] == [True, False]
    np.testing.assert_allclose(made["code"], encoder.encode(signal, mask=mask, sigma=1.0), atol=1e-6)
    np.testing.assert_allclose(made["reconstruction"], encoder.reconstruct(signal, mask=mask, sigma=1.0), atol=1e-6)
    index, unit, _ = SparseEncoder(files[1]).spikes(3 * signal)
    _, made = ask_binary(models, "spikes", binary("signal", 3 * signal), **ALL_BINARY)
    assert made["spike_index"].tolist() == index.tolist() and made["spike_unit"].tolist() == unit.tolist()
    # Bytes in, JSON out, which is what is asked for where nothing is said.
    content, _ = ask_binary(models, "signals", binary("signal", signal))
    assert all("data" in output for output in content["outputs"])


@pytest.mark.parametrize("change, words", [
    ({"header": 5}, "not JSON"), ({"header": -5}, "not JSON"), ({"header": 10**6}, "Inference-Header-Content-Length"),
    ({"header": None}, "not JSON"), ({"size": 76}, "must be 80"), ({"size": -1}, "must be 80"),
    ({"size": "80"}, "of type int"), ({"size": True}, "of type int"), ({"cut": 4}, "80 bytes are announced and 76"),
    ({"more": 3}, "3 bytes behind the JSON"), ({"nan": True}, "NaN"), ({"shape": [1, 10**12, 1]}, "at most 1,000"),
    ({"bool": True}, "0 or 1")])
def test_wrong_bytes_are_refused(served, change, words):
    values = np.full((1, 20, 1), np.nan) if change.get("nan") else np.ones((1, 20, 1))
    entry, data = binary("signal", values)
    if "size" in change:
        entry["parameters"]["binary_data_size"] = change["size"]
    if "bool" in change:
        entry |= {"datatype": "BOOL", "parameters": {"binary_data_size": 20}}
        data = bytes([7] * 20)
    entry["shape"] = change.get("shape", entry["shape"])
    data = data[:len(data) - change.get("cut", 0)] + b"?" * change.get("more", 0)
    with pytest.raises(RequestError, match=words):
        ask_binary(served[0], "signals", (entry, data), header=change.get("header", 0))


def test_bytes_are_limited_as_json_is(served):
    with pytest.raises(RequestError, match="at most 20,000") as caught:
        ask_binary(served[0], "signals", binary("signal", np.ones((1, 5000, 1))))
    assert caught.value.status == 413


@pytest.mark.parametrize("form", ["text", "bytes"])
def test_a_thousand_mutated_bodies_are_answered_or_refused_in_time(served, form, rng):
    models, chance, length = served[0], random.Random(0), None
    inputs = [tensor("signal", np.round(rng.standard_normal((1, 20, 1)), 2)), tensor("sigma", [1.0])]
    whole = json.dumps({"id": "x", "inputs": inputs, "outputs": [{"name": "code"}]}).encode()
    if form == "bytes":
        entry, data = binary("signal", rng.standard_normal((1, 20, 1)))
        text = json.dumps({"inputs": [inputs[1], entry], **ALL_BINARY}).encode()
        whole, length = text + data, len(text)
    answered = refused = 0
    for _ in range(1000):
        body, start = mutated(whole, chance), time.process_time()
        try:
            assert models.infer("signals", body, json_length=length).body
            answered += 1
        except RequestError as error:
            assert 400 <= error.status < 500 and str(error)
            refused += 1
        assert time.process_time() - start < 1
    assert answered + refused == 1000 and answered >= 5 and refused > 300


def together(models, name, *bodies):
    """Answers to requests, as JSON, that wait for each other: none is run before all are there, or a batch is full."""
    with models._batcher.coming(), ThreadPoolExecutor(len(bodies)) as pool:
        return [json.loads(a.body) for a in pool.map(lambda body: models.infer(name, body), bodies)]


def test_requests_of_one_shape_are_run_together_and_answered_as_if_alone(served, rng):
    runs = []
    models = Models(served[1], threads=1, max_batch=4, delay=30.0, on_run=lambda name, n, _: runs.append((name, n)))
    alone = Models(served[1], threads=1, max_batch=1)
    bodies = [json.dumps({"id": str(k), "inputs": [
        tensor("signal", 3 * rng.standard_normal((2 if k == 1 else 1, 30, 1))),
        *([tensor("sigma", [0.5])] if k == 2 else [])]}).encode() for k in range(3)]  # what is not given has a default
    for body, answer in zip(bodies, together(models, "signals", *bodies), strict=True):
        expected = json.loads(alone.infer("signals", body).body)
        assert answer.keys() == expected.keys() and answer["id"] == expected["id"]
        for made, wanted in zip(answer["outputs"], expected["outputs"], strict=True):
            assert made.pop("data") == pytest.approx(wanted.pop("data"), abs=1e-6) and made == wanted
    assert runs == [("signals", 4)]


def test_one_of_those_that_wait_together_may_be_refused(served, rng):
    models = Models(served[1], threads=1, max_batch=2, delay=30.0)
    bodies = [json.dumps({"inputs": [tensor("signal", signal)]}).encode()
              for signal in (rng.standard_normal((1, 20, 1)), np.full((1, 20, 1), 3e38))]
    with models._batcher.coming(), ThreadPoolExecutor(2) as pool:
        fine, overflows = (pool.submit(models.infer, "signals", body) for body in bodies)
        assert json.loads(fine.result().body)["outputs"]
        with pytest.raises(RequestError, match="overflow"):
            overflows.result()


def test_what_depends_on_the_whole_batch_is_run_alone(served, tmp_path, rng):
    early = kc.CRsAE(2, 7, iterations=6, lambda_init=0.7, tolerance=1e-3, seed=0)
    early.build((None, None, 1))
    runs = []
    models = Models([convert(early, tmp_path / "early.onnx"), served[1][1]], threads=1, delay=30.0,
                    on_run=lambda name, n, _: runs.append((name, n)))
    body = json.dumps({"inputs": [tensor("signal", rng.standard_normal((1, 30, 1)))]}).encode()
    for name in models.names:
        together(models, name, body, body)
    assert runs == [("early", 1)] * 2 + [("spikes", 1)] * 2


def test_what_was_stopped_is_not_run(served):
    stop = Stop()
    stop()
    with pytest.raises(StoppedError):
        served[0].infer("signals", json.dumps({"inputs": [GOOD]}).encode(), stop)


def test_a_recording_that_is_not_whitened_is_warned_of_in_the_answer(sorted_spikes, tmp_path):
    recording, _, result = sorted_spikes
    files = [convert(result.model, tmp_path / "codes.onnx", outputs=("code",), spikes=result.reader),
             convert(result.model, tmp_path / "sorted.onnx", outputs=("code", "spikes"), spikes=result.reader)]
    models = Models(files, threads=1)
    with pytest.warns(UserWarning, match="takes whitened recordings"):  # once, in the server's log
        content, _ = ask_binary(models, "codes", binary("signal", recording[None, :3000]), **ALL_BINARY)
    for _ in range(2):
        assert "takes whitened recordings" in content["parameters"]["warning"]
        content, _ = ask_binary(models, "codes", binary("signal", recording[None, :3000]), **ALL_BINARY)
    content, made = ask_binary(models, "sorted", binary("signal", recording[None, :3000]), **ALL_BINARY)
    assert "parameters" not in content and len(made["spike_unit"]) > 3
    assert np.count_nonzero(made["code"]) < 0.02 * made["code"].size
    described = models.metadata("sorted")
    assert [o["name"] for o in described["outputs"]] == ["code", "spike_index", "spike_unit", "spike_amplitude"]
    assert described["parameters"]["whitening_inside"] and "as it is" in described["parameters"]["preprocessing"][0]


def test_files_of_one_name_and_none_are_refused(served):
    for files, words in (([], "No file"), ([served[1][0]] * 2, "Two files")):
        with pytest.raises(ValueError, match=words):
            Models(files)


def test_requests_name_the_matrix_that_measured_each_signal(tmp_path, rng):
    stack = rng.standard_normal((3, 12, 24)) / 12**0.5
    model = kc.CRsAE(2, 7, iterations=6, lambda_init=0.1, seed=0, measurement=Matrix(stack))
    model.build((None, 12, 1))
    file = convert(model, tmp_path / "measured.onnx")
    models, encoder, data = Models([file], threads=1), SparseEncoder(file), rng.standard_normal((2, 12, 1))
    assert models.metadata("measured")["inputs"] == [{"name": "signal", "datatype": "FP32", "shape": [-1, 12, 1]},
                                                     {"name": "operator", "datatype": "INT64", "shape": [-1]}]
    for numbers in ([2, 0], [1, 1]):
        expected = encoder.run(["code", "reconstruction"], data, operator=np.array(numbers))
        for kind in ("INT64", "INT32", "UINT8"):
            _, made = ask(models, "measured", tensor("signal", data), tensor("operator", numbers, kind))
            assert made["reconstruction"].shape == (2, 24, 1) and np.abs(made["code"]).max() > 0
            for name, array in expected.items():
                np.testing.assert_allclose(made[name], array, atol=1e-6)
    for given, words in (((), "`operator` must say which of 3"), (([0, 3], "INT64"), "0 to 2"),
                         (([-1, 0], "INT64"), "0 to 2"), (([0, 1, 2], "INT64"), "one a signal"),
                         (([0.0, 1.0], "FP32"), "whole number")):
        with pytest.raises(RequestError, match=words) as caught:
            ask(models, "measured", tensor("signal", data), *([tensor("operator", *given)] if given else []))
        assert caught.value.status == 400
