"""Codes of a file at their optimum, without its graph: as Keras' active=True, in windows, streams and processes."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from crsae_onnx import SignalError, SparseEncoder
from crsae_onnx.convert import convert
from crsae_onnx.core.spikes.detector import SpikeReader
from crsae_onnx.runtime.active_runner import ActiveRunner, decode
from crsae_onnx.runtime.sessions import RunLimits

import keras_crsae as kc
from keras_crsae import zoo
from keras_crsae.data.simulate import simulate_spikes, spike_templates


@pytest.fixture(scope="module")
def recording():
    return simulate_spikes(spike_templates(21, 3), windows=3, samples=1500, events_per_window=4, seed=3)


@pytest.fixture(scope="module")
def made(recording, tmp_path_factory):
    """Model with active=True, and its file with all inputs."""
    folder, models = tmp_path_factory.mktemp("active"), {}
    for prior in ("nonnegative_soft", "soft"):
        model = kc.CRsAE(3, 21, iterations=200, lambda_init=4.5, active=True, tolerance=1e-4, shrinkage=prior)
        model.set_dictionary(recording.filters)
        models[prior] = model, convert(model, folder / f"{prior}.onnx", inputs=("signal", "mask", "sigma"))
    return models


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("prior", ["nonnegative_soft", "soft"])
def test_codes_are_those_of_keras_to_the_same_certificate(made, recording, prior, rng):
    model, path = made[prior]
    encoder, signal = SparseEncoder(path, active=True), recording.signal
    assert encoder.provider == "NumPy" and encoder.active
    code, expected = encoder.encode(signal), model.encode(signal)
    close(code, expected)
    ours, keras = (model.convergence(signal, c).remaining.max() for c in (code, expected))
    assert 0 < ours < max(2 * keras, 1e-5)
    mask, sigma = rng.random(signal.shape) > 0.1, np.array([0.8, 1.0, 1.3], "float32")
    close(encoder.encode(signal, mask=mask, sigma=sigma), model.encode(signal, mask=mask, sigma=sigma))
    close(encoder.reconstruct(signal, sigma=sigma), model.decode(model.encode(signal, sigma=sigma)))


def test_the_tolerance_is_the_models_or_the_callers(made, recording):
    model, path = made["nonnegative_soft"]
    gaps = [model.convergence(recording.signal, SparseEncoder(path, active=True, active_tolerance=t)
                              .encode(recording.signal)).remaining.max() for t in (None, 0.3)]
    assert gaps[0] < 1e-4 < gaps[1]


def test_windows_threads_and_sparse_codes_give_the_code_of_the_whole(made, recording):
    _, path = made["nonnegative_soft"]
    whole = SparseEncoder(path, active=True)
    signal = recording.signal.reshape(1, -1, 1)
    expected = whole.encode(signal)
    for options in (dict(window=700), dict(sparse=True), dict(window=300, sparse=True, overlap=210)):
        code = whole.encode(signal, **options)
        close(code.to_dense() if "sparse" in options else code, expected)
    parts = SparseEncoder(path, active=True, threads=3, limits=RunLimits(code_values=3000, signal_samples=1000))
    close(parts.encode(signal), expected)
    close(parts.encode(recording.signal), whole.encode(recording.signal))


def test_a_pickled_encoder_stays_active(made, recording):
    encoder = pickle.loads(pickle.dumps(SparseEncoder(made["soft"][1], active=True, active_tolerance=0.01)))
    assert encoder.active
    np.testing.assert_array_equal(encoder.encode(recording.signal), SparseEncoder(
        made["soft"][1], active=True, active_tolerance=0.01).encode(recording.signal))


def test_options_that_have_no_meaning_are_refused(made):
    path = made["soft"][1]
    SparseEncoder(path, active=True, providers=["CPUExecutionProvider"])
    for options, words in (({"providers": "CUDAExecutionProvider"}, "computed by NumPy"),
                           ({"active_tolerance": 2}, "between 0 and 1"), ({"threads": 0}, "threads")):
        with pytest.raises(ValueError, match=words):
            SparseEncoder(path, active=True, **options)
    with pytest.raises(ValueError, match="is for active=True"):
        SparseEncoder(path, active_tolerance=0.1)
    with pytest.raises(SignalError, match="NaN|finite"):
        SparseEncoder(path, active=True).encode(np.full((1, 100, 1), np.nan))


@pytest.mark.parametrize("options, reason", [
    (dict(rank=2), "images are active everywhere"), (dict(strides=2), "codes of every sample"),
    (dict(likelihood="poisson", baseline=0.0), "share one Gram matrix")], ids=str)
def test_files_without_a_search_say_why(options, reason, tmp_path):
    model = kc.CRsAE(2, 5, iterations=3, lambda_init=1.0, **options)
    model.build((None, *(None,) * options.get("rank", 1), 1))
    path = convert(model, tmp_path / "other.onnx")
    with pytest.raises(ValueError, match=f"other.onnx has none: .*{reason}"):
        SparseEncoder(path, active=True)


@pytest.fixture(scope="module")
def sorter(tmp_path_factory):
    """A sorter's file that whitens inside its graph."""
    source = SparseEncoder(zoo.path_of("spikes-single-channel", "encoder.onnx"))
    reader = SpikeReader.from_json(source.info["spikes"])
    path = tmp_path_factory.mktemp("sorter") / "sorter.onnx"
    return convert(zoo.load_model_from_zoo("spikes-single-channel"), path, outputs=("code", "spikes"), spikes=reader)


def test_a_sorter_finds_the_spikes_of_its_graph_and_of_its_search(sorter):
    data = kc.data.simulate_spikes(kc.data.spike_templates(45, 3), 1, 30_000, events_per_window=15,
                                   amplitude=(120.0, 12.0), sigma=10.0, seed=5)
    recorded = np.round(data.signal[0]).astype("int16")
    reader = SpikeReader.from_json(SparseEncoder(sorter).info["spikes"])
    graph, search = SparseEncoder(sorter), SparseEncoder(sorter, active=True)
    assert search.whitening_inside
    whitened = reader.whitening(recorded, 0, len(recorded))[None]
    code, model = search.encode(recorded[None]), zoo.load_model_from_zoo("spikes-single-channel")
    assert model.convergence(whitened, code).remaining < 1e-3
    index = [encoder.spikes(recorded[None])[0] for encoder in (search, graph)]  # the graph ends near the optimum
    np.testing.assert_allclose(index[0], index[1], rtol=0, atol=1)
    found = [reader.find(e.encode, recorded) for e in (graph, search)]
    assert len(found[0].unit_id) > 20
    np.testing.assert_allclose(found[0].peak_sample, found[1].peak_sample, rtol=0, atol=1)
    stream = reader.stream(search.encode)
    pieces = [stream.push(recorded[at:at + 5000]).peak_sample for at in range(0, 30_000, 5000)]
    np.testing.assert_array_equal(np.concatenate([*pieces, stream.finish().peak_sample]), found[1].peak_sample)


def test_onnxruntime_and_tensorflow_are_not_needed(made, recording, tmp_path):
    np.save(tmp_path / "y.npy", recording.signal)
    code = f"""
import sys
sys.modules.update(onnxruntime=None, tensorflow=None, keras=None)
import numpy as np
from crsae_onnx import SparseEncoder
np.save({str(tmp_path / "z.npy")!r}, SparseEncoder({str(made["soft"][1])!r}, active=True).encode(
    np.load({str(tmp_path / "y.npy")!r})))
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "z.npy"), SparseEncoder(made["soft"][1], active=True)
                                  .encode(recording.signal))


def test_decoding_is_the_sum_of_the_filters(rng):
    code = (rng.standard_normal((2, 50, 3)) * (rng.random((2, 50, 3)) < 0.2)).astype("float32")
    kernel = rng.standard_normal((7, 2, 3))
    expected = np.zeros((2, 56, 2))
    for k in range(7):
        expected[:, k:k + 50] += code @ kernel[k].T
    np.testing.assert_allclose(decode(code, kernel, 56), expected, atol=1e-5)


def test_other_outputs_are_refused(made):
    info = SparseEncoder(made["soft"][1]).info
    with pytest.raises(ValueError, match="use active=False"):
        ActiveRunner(info, "file.onnx")(["logits"], {"signal": np.zeros((1, 100, 1), "float32")})


def test_a_file_keeps_its_filters_once_where_the_decoder_has_the_same(made):
    facts = SparseEncoder(made["soft"][1]).info["active_search"]
    assert set(facts) == {"kernel", "tolerance"} and json.dumps(facts)
