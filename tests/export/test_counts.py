"""Models of counts and their files: parity, inputs, what is refused, what the file says."""

import json

import numpy as np
import pytest
from crsae_onnx import SignalError, SparseEncoder
from crsae_onnx.convert import convert
from crsae_onnx.file_format.description import describe
from crsae_onnx.serving.protocol import Models, RequestError
from crsae_onnx.validate import ValueMismatch, validate

import keras_crsae as kc

OUTPUTS = ("code", "eta", "mean")
SIZES = {"poisson": "exposure", "binomial": "trials"}
CONFIGS = {
    "poisson": (dict(kernel_size=9), 2),
    "strided": (dict(kernel_size=9, strides=4, shrinkage="soft"), 1),
    "images": (dict(kernel_size=(5, 4), rank=2, strides=(2, 1)), 1),
    "early": (dict(kernel_size=9, iterations=200, tolerance=1e-2), 1),
    "binomial": (dict(kernel_size=9, likelihood="binomial", lambda_init=0.5), 2),
    "trials": (dict(kernel_size=9, likelihood="binomial", trials=25, strides=2), 1),
}


def built(options, channels=1, **more):
    values = dict(filters=3, iterations=40, likelihood="poisson", baseline=-0.5, lambda_init=2.0, seed=0)
    model = kc.CRsAE(**{**values, **options, **more})
    model.build((None,) * (model.rank + 1) + (channels,))
    return model


@pytest.mark.parametrize("name", CONFIGS)
def test_onnxruntime_equals_keras(name, tmp_path):
    options, channels = CONFIGS[name]
    model = built(options, channels)
    size = SIZES[options.get("likelihood", "poisson")]
    path = convert(model, tmp_path / "e.onnx", outputs=OUTPUTS, inputs=("signal", "mask", size))
    report = validate(model, path, shapes=[(3, *(k + 31 + a for a, k in enumerate(model.kernel_size)), channels),
                                           (2, *(k + 52 - a for a, k in enumerate(model.kernel_size)), channels)])
    assert len(report) == 12 and report.difference <= 1e-4
    assert report[0]["given"] == [] and report[-1]["given"] == sorted([size, "mask"])


@pytest.mark.parametrize("iterations", [60, 200, 400, 1000])
def test_loud_signals_have_the_keras_codes_after_any_number_of_iterations(iterations, tmp_path, rng):
    """No step is so long that what is rounding grows until a refusal ends it, at another iteration in each run time."""
    model = built(dict(kernel_size=9, iterations=iterations))
    events = (rng.random((100, 40, 3)) < 0.05) * rng.uniform(1, 2, (100, 40, 3)) * rng.choice([1, 2, 4], (100, 1, 1))
    counts = rng.poisson(np.exp(np.minimum(model.decode(events) - 0.5, 8.0)))
    assert counts.max() > 1000
    expected = model.encode(counts)
    made = SparseEncoder(convert(model, tmp_path / "e.onnx")).encode(counts)
    scale = np.abs(expected).max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(made / scale, expected / scale, rtol=0, atol=1e-4)


def test_few_iterations_are_written_out(tmp_path):
    model = built(dict(kernel_size=9, iterations=12))
    path = convert(model, tmp_path / "e.onnx")
    assert SparseEncoder(path).info["loop"] is False and SparseEncoder(path).info["outputs"] == ["code", "mean"]
    assert validate(model, path, shapes=[(2, 61, 1)]).difference <= 1e-4


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """A model, its file with every input, and counts."""
    model = built(dict(kernel_size=9), channels=2)
    path = convert(model, tmp_path_factory.mktemp("counts") / "e.onnx", outputs=OUTPUTS,
                   inputs=("signal", "mask", "exposure", "baseline"), about={"name": "counts"})
    return model, path, np.random.default_rng(0).poisson(2.0, (2, 70, 2))


def close(made, expected):
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_the_run_time_has_the_model_s_methods_and_arguments(counted):
    model, path, counts = counted
    encoder = SparseEncoder(path)
    mean = encoder.reconstruct(counts)
    close(mean, model.mean(counts))
    np.testing.assert_array_equal(encoder.mean(counts), mean)
    close(encoder.linear(counts), model.linear(counts))
    for exposure in ([1.0, 2.0], np.linspace(1, 2, 70)[:, None]):
        close(encoder.encode(counts, exposure=exposure), model.encode(counts, exposure=exposure))
    mask = np.arange(70)[:, None] % 5 > 0
    close(encoder.encode(np.where(mask, counts, 0), np.broadcast_to(mask, counts.shape)),
          model.encode(counts, mask=np.broadcast_to(mask, counts.shape)))
    other = built(dict(kernel_size=9), channels=2, baseline=[0.3, -1.0])
    close(encoder.encode(counts, baseline=[0.3, -1.0]), other.encode(counts))


def test_windows_of_counts_meet_the_whole_signal_s_code(counted):
    model, path, _ = counted
    encoder = SparseEncoder(path)
    counts = np.random.default_rng(1).poisson(0.8, (2, 3000, 2)).astype("uint8")
    whole = encoder.encode(counts, exposure=[1.0, 2.0])
    # Each window finds its own steps: what they have in common is the optimum.
    windows = encoder.encode(counts, exposure=[1.0, 2.0], window=1000)
    assert windows.shape == whole.shape and np.abs(windows - whole).max() < 0.05 * whole.max()
    assert encoder.encode(counts, sparse=True, window=1000).shape == whole.shape
    with pytest.raises(ValueError, match="one `exposure` a signal"):
        encoder.encode(counts, exposure=np.ones(counts.shape), window=1000)
    with pytest.raises(ValueError, match="must hold counts"):
        encoder.encode(counts - 0.5, window=1000)


def test_what_are_no_counts_is_refused_at_the_door(counted):
    encoder, counts = SparseEncoder(counted[1]), counted[2]
    for call, words in (
            (lambda: encoder.encode(counts - 3), "whole numbers from 0"),
            (lambda: encoder.mean(counts + 0.5), "not rates"),
            (lambda: encoder.encode(counts, exposure=[1.0, 2.0, 3.0]), "`exposure` must be"),
            (lambda: encoder.encode(counts, exposure=-1.0), "`exposure` must hold"),
            (lambda: encoder.encode(counts, trials=5), "divided by `exposure`"),
            (lambda: encoder.encode(counts, sigma=1.0), "divided by `exposure`"),
            (lambda: encoder.encode(counts, baseline=[1.0, 2.0, 3.0]), "`baseline` must be")):
        with pytest.raises(ValueError, match=words):
            call()


def test_the_file_says_what_it_takes(counted):
    facts, text = describe(counted[1])
    assert (facts["size_name"], facts["size"], facts["unit"]) == ("exposure", 1.0, "counts")
    assert facts["baseline"] == [-0.5] * 2 and "sigma" not in text
    assert "found for each signal" in text and "divided by the exposure inside" in text


def test_the_server_takes_counts_and_refuses_others(counted):
    model, path, counts = counted
    models = Models([path])
    assert models.metadata("counts")["parameters"]["size_name"] == "exposure"

    def ask(values, **more):
        tensors = [{"name": name, "shape": list(np.shape(v)), "datatype": "FP32", "data": np.ravel(v).tolist()}
                   for name, v in {"signal": values, **more}.items()]
        outputs = json.loads(models.infer("counts", json.dumps({"inputs": tensors}).encode()).body)["outputs"]
        return {o["name"]: np.reshape(o["data"], o["shape"]) for o in outputs}

    made = ask(counts, exposure=np.full((2, 1, 1), 2.0), baseline=np.full((2, 2), -0.5))
    close(made["mean"], model.mean(counts, exposure=2.0))
    with pytest.raises(RequestError, match="must hold counts"):
        ask(counts + 0.5)


def test_a_file_of_another_model_is_found_out(counted):
    model, path, _ = counted
    other = built(dict(kernel_size=9), channels=2, lambda_init=2.5)
    with pytest.raises(ValueMismatch):
        validate(other, path)


@pytest.mark.parametrize("options, arguments, words", [
    ({}, dict(outputs=("code", "reconstruction")), "outputs"), ({}, dict(inputs=("signal", "sigma")), "their noise"),
    ({}, dict(inputs=("signal", "trials")), "exposure"), ({}, dict(precision="float16"), "float32"),
    (dict(likelihood="gaussian", baseline="estimate"), dict(inputs=("signal", "exposure")), "no counts"),
    (dict(likelihood="gaussian", baseline="estimate"), dict(outputs=("mean",)), "outputs"),
    (dict(baseline="estimate", baseline_scope="signal"), {}, "baseline of its own"), ({}, dict(spikes=3.0), "Omit it"),
    (dict(likelihood="gaussian", baseline="estimate", solver="backtracking"), {}, "no form in an exported graph")])
def test_what_no_file_can_do_is_refused(options, arguments, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        convert(built({**dict(kernel_size=9), **options}), tmp_path / "e.onnx", **arguments)
    assert not list(tmp_path.iterdir())


def test_missing_and_odd_arguments_name_the_way_out(tmp_path):
    plain = SparseEncoder(convert(built(dict(kernel_size=9)), tmp_path / "e.onnx"))
    with pytest.raises(ValueError, match="takes no 'exposure'.*among inputs="):
        plain.encode(np.ones((1, 30, 1)), exposure=2.0)
    with pytest.raises(ValueError, match="without 'eta'"):
        plain.linear(np.ones((1, 30, 1)))
    with pytest.raises(SignalError, match="NaN"):
        plain.encode(np.full((1, 30, 1), np.nan))
