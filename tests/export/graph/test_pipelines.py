"""Whole pipelines in one file: whitening and spikes, images and all their shifts."""

import numpy as np
import onnx
import pytest
from crsae_onnx import SignalError, SparseEncoder, SpikeReader
from crsae_onnx.cli.spikes import reader_of
from crsae_onnx.convert import convert
from crsae_onnx.core.spikes.whitening import Whitening
from crsae_onnx.file_format.description import describe
from crsae_onnx.validate import ValueMismatch, validate

import keras_crsae as kc
from keras_crsae.applications.denoising import denoise
from keras_crsae.data.simulate import spike_templates
from keras_crsae.models.denoiser import Denoiser

IMAGES = ("signal", "sigma")


@pytest.fixture(scope="module")
def sorter():
    model = kc.CRsAE(3, 21, iterations=60, sigma=1.0, lambda_init=3.0)
    model.set_dictionary(spike_templates(21, 3))
    return model


@pytest.fixture(scope="module", params=[0.0, 0.3])
def denoiser(request, tmp_path_factory):
    model = Denoiser(12, 5, strides=(3, 2), iterations=6, sigma=1.0, lambda_init=1.5, tied=False, seed=0,
                     sigma_power=request.param)
    model.build((None, None, None, 1))
    return model, convert(model, tmp_path_factory.mktemp("images") / "e.onnx", outputs=("denoised",), inputs=IMAGES)


def test_spikes_in_the_graph_are_those_of_the_rule(sorter, tmp_path):
    for outputs in (("spikes",), ("code", "spikes")):
        path = convert(sorter, tmp_path / f"{len(outputs)}.onnx", outputs=outputs, spikes=[6.0, 7.0, 8.0])
        report = validate(sorter, path, shapes=[(1, 900, 1), (3, 401, 1), (1, 21, 1)])
        assert [row["output"] for row in report].count("spikes") == 3 and report.difference <= 1e-5
        assert report[0]["nonzero"] > 0.002
    names = [(o.name, [d.dim_param or d.dim_value for d in o.type.tensor_type.shape.dim])
             for o in onnx.load(tmp_path / "1.onnx").graph.output]
    assert names == [("spike_index", ["spikes", 2]), ("spike_unit", ["spikes"]), ("spike_amplitude", ["spikes"])]


def test_a_silent_signal_has_no_spikes(sorter, tmp_path):
    encoder = SparseEncoder(convert(sorter, tmp_path / "e.onnx", outputs=("spikes",), spikes=6.0))
    index, unit, amplitude = encoder.spikes(np.zeros((2, 300, 1)))
    assert index.shape == (0, 2) and unit.shape == amplitude.shape == (0,)
    assert index.dtype == unit.dtype == np.int64 and amplitude.dtype == np.float32


def test_a_file_of_another_model_gives_other_spikes(sorter, tmp_path):
    path = convert(sorter, tmp_path / "e.onnx", outputs=("spikes",), spikes=6.0)
    other = kc.CRsAE.from_config(sorter.get_config())
    other.build((None, None, 1))
    other.set_weights(sorter.get_weights())
    other.dictionary.kernel.assign(np.asarray(other.dictionary.kernel)[::-1])
    with pytest.raises(ValueMismatch, match="spikes of a signal"):
        validate(other, path, shapes=[(1, 900, 1)])


def test_a_recording_goes_in_and_the_search_s_spikes_come_out(sorted_spikes, tmp_path):
    """On units that are well apart the graph's rule finds what the search finds, from the raw recording."""
    recording, _, result = sorted_spikes
    path = convert(result.model, tmp_path / "e.onnx", outputs=("spikes",), spikes=result.reader)
    encoder = SparseEncoder(path)
    index, unit, amplitude = encoder.spikes(recording[None])
    plain = SparseEncoder(convert(result.model, tmp_path / "plain.onnx", outputs=("code",), spikes=result.reader))
    found = result.reader.find(plain.encode, recording)
    assert len(found.peak_sample) > 100 and abs(len(unit) - len(found.peak_sample)) <= 2
    nearest = np.abs(index[:, 1][:, None] - found.peak_sample).argmin(1)
    away = index[:, 1] - found.peak_sample[nearest]
    same = (np.abs(away) <= 1) & (unit == found.unit_id[nearest])
    assert same.mean() > 0.98 and abs(away[same].mean()) < 0.2  # in time, not before
    ratio = amplitude[same] / found.peak_value[nearest[same]]
    assert 0.5 < np.median(ratio) < 1.1  # shrunk, as code is
    assert validate(result.model, path, shapes=[(1, 3000, 1)]).difference < 1e-4
    # A window reads what its whitening needs, too.
    facts, text = describe(path)
    assert facts["sampling_frequency"] == 10000 and "whitening is inside the graph" in text
    with pytest.raises(ValueError, match="'code' among outputs"):
        reader_of(encoder)


def test_windows_read_what_the_whitening_in_a_graph_needs(tmp_path, rng):
    """One iteration reaches 4 samples, the whitening 60: a window without those is wrong at its edges."""
    model = kc.CRsAE(2, 5, iterations=1, sigma=1.0, lambda_init=0.5, seed=0)
    model.build((None, None, 1))
    whitening = Whitening(rng.standard_normal((101, 1)) / 10, np.eye(1), np.zeros(1), lead=40)
    kernel = np.asarray(model.dictionary.unit_kernel())
    two = np.ones(2)
    reader = SpikeReader(whitening, kernel, 5 * two, 0.1 * two, 5 * two, [2, 2], 50 * two, 1000.0)
    path = convert(model, tmp_path / "e.onnx", outputs=("code", "spikes"), spikes=reader)
    encoder, signal = SparseEncoder(path), rng.standard_normal((1, 400, 1)).astype("float32")
    assert encoder.info["whitening_context"] == [60, 40]
    code = encoder.encode(signal)
    np.testing.assert_allclose(encoder.encode(signal, window=50), code, rtol=0, atol=1e-5 * code.max())
    assert np.abs(encoder.encode(signal, window=50, overlap=4) - code).max() > 0.1 * code.max()
    blocks = pytest.importorskip("crsae_onnx.runtime.cluster").encode_blocks(path, signal, chunk=70)
    np.testing.assert_allclose(blocks.compute(scheduler="synchronous"), code, rtol=0, atol=1e-5 * code.max())


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("common_reference", [False, True])
def test_whitening_in_a_graph_equals_whitening_in_numpy(channels, common_reference, tmp_path, rng):
    import onnxruntime as ort
    from crsae_onnx.graph.nodes import Nodes
    from crsae_onnx.graph.pipelines import whiten
    from onnx import helper

    whitening = Whitening(rng.standard_normal((9, channels)), rng.standard_normal((channels, channels)),
                          100 * rng.standard_normal(channels), lead=3, common_reference=common_reference)
    nodes, shape = Nodes(), ["batch", "time", channels]
    made = whiten(nodes, "signal", whitening)
    graph = helper.make_graph(nodes.nodes, "g", [helper.make_tensor_value_info("signal", 1, shape)],
                              [helper.make_tensor_value_info(made, 1, shape)], nodes.used_constants())
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    recording = (100 * rng.standard_normal((1, 80, channels))).astype("float32")
    recording[0, [5, 40], 0] = np.nan, np.inf
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = whitening(recording[0], 0, 80)
    np.testing.assert_allclose(session.run(None, {"signal": recording})[0][0], expected, rtol=0,
                               atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("loop", [True, False])
def test_images_are_denoised_as_by_denoise(denoiser, loop, rng, tmp_path):
    model, path = denoiser
    if not loop:
        path = convert(model, tmp_path / "e.onnx", outputs=("denoised",), inputs=IMAGES, loop=False)
    assert ("Loop" in {node.op_type for node in onnx.load(path).graph.node}) is loop
    report = validate(model, path, shapes=[(1, 40, 57, 1), (2, 13, 20, 1), (1, 3, 9, 1), (1, 1, 30, 1)])
    assert report.difference <= 1e-5
    image = rng.random((30, 31), dtype=np.float32)
    made = SparseEncoder(path).denoise(image[None, ..., None], sigma=0.2)[0, ..., 0]
    np.testing.assert_allclose(made, denoise(image, model, sigma=0.2), atol=1e-5)
    assert 0 <= made.min() < made.max() <= 1


def test_a_zoo_denoiser_fits_into_one_file(tmp_path):
    model = kc.load_model_from_zoo("denoise-gray")
    path = convert(model, tmp_path / "e.onnx", outputs=("denoised",), inputs=IMAGES)
    assert validate(model, path, shapes=[(1, 61, 50, 1)]).difference <= 1e-5 and path.stat().st_size < 400_000


def test_plain_models_of_colour_images_take_their_blur_along(tmp_path):
    model = kc.CRsAE(4, 5, rank=2, strides=2, iterations=8, sigma=0.1, lambda_init=2.0, shrinkage="soft", seed=0)
    model.build((None, None, None, 3))
    path = convert(model, tmp_path / "e.onnx", outputs=("code", "denoised"), inputs=IMAGES, loop=False)
    assert validate(model, path, shapes=[(1, 21, 34, 3), (2, 9, 12, 3)]).difference <= 1e-5


def test_unfit_wishes_are_refused(sorter, denoiser, tmp_path):
    two_sided = kc.CRsAE(3, 21, iterations=5, shrinkage="soft")
    two_sided.build((None, None, 1))
    for model, options, words in (
            (sorter, dict(outputs=("spikes",)), "needs spikes="),
            (sorter, dict(outputs=("spikes",), spikes=-1.0), "the smallest peak of a spike"),
            (sorter, dict(outputs=("spikes",), spikes=[1.0, 2.0]), "number or 3 of"),
            (sorter, dict(outputs=("spikes",), spikes="all"), "the smallest peak of a spike"),
            (sorter, dict(outputs=("code",), spikes=5.0), "SpikeReader"),
            (two_sided, dict(outputs=("spikes",), spikes=5.0), "non-negative"),
            (denoiser[0], dict(outputs=("spikes",), spikes=5.0), "rank 1"),
            (sorter, dict(outputs=("denoised",), inputs=IMAGES), "images"),
            (denoiser[0], dict(outputs=("denoised",)), "sigma"),
            (denoiser[0], dict(outputs=("denoised",), inputs=("signal", "mask", "sigma")), "sigma")):
        with pytest.raises(ValueError, match=words):
            convert(model, tmp_path / "e.onnx", **options)
    assert not list(tmp_path.iterdir())


def test_requests_are_checked_at_the_door(sorter, denoiser, tmp_path):
    spiking = SparseEncoder(convert(sorter, tmp_path / "e.onnx", outputs=("spikes",), spikes=6.0))
    cleaning = SparseEncoder(denoiser[1])
    for call, words in ((lambda: spiking.spikes(np.zeros((1, 20, 1))), "shorter"),
                        (lambda: spiking.spikes(np.full((1, 30, 1), np.nan)), "NaN"),
                        (lambda: cleaning.denoise(np.zeros((4, 4, 1)), 0.1), "shape"),
                        (lambda: cleaning.denoise(np.zeros((1, 4, 4, 2)), 0.1), "1 channels"),
                        (lambda: cleaning.denoise(np.zeros((1, 4, 4, 1)), 0.0), "sigma")):
        with pytest.raises(SignalError, match=words):
            call()
    with pytest.raises(ValueError, match="without 'code'"):
        spiking.encode(np.zeros((1, 30, 1)))
    with pytest.raises(ValueError, match="without 'denoised'"):
        spiking.denoise(np.zeros((1, 4, 4, 1)), 0.1)
    with pytest.raises(ValueError, match="without 'spikes'"):
        cleaning.spikes(np.zeros((1, 30, 1)))
