"""Codes of any length: windows, memmaps, sparse codes, options of the encoder."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

import keras_crsae as kc
from keras_crsae.models import encoding
from keras_crsae.models.call_inputs import CallOptions


def built(**options):
    model = kc.CRsAE(3, 9, **{"iterations": 15, "lambda_init": 1.0, "seed": 0, **options})
    model.build((None,) * (model.rank + 1) + (1,))
    return model


@pytest.fixture
def signal(rng):
    return rng.standard_normal((2, 700, 1)).astype("float32")


@pytest.mark.parametrize("strides", [1, 4])
def test_windows_equal_one_piece(signal, strides):
    model = built(strides=strides)
    expected = model.encode(signal)
    assert np.any(expected)
    np.testing.assert_allclose(model.encode(signal, window=130), expected, atol=1e-5)
    sparse = model.encode(signal, window=130, sparse=True, batch_size=2)
    assert len(sparse.value) == np.count_nonzero(expected)
    np.testing.assert_allclose(sparse.to_dense(), expected, atol=1e-5)


def test_a_recording_on_disk_is_encoded_onto_disk(tmp_path, rng):
    recording = np.lib.format.open_memmap(tmp_path / "y.npy", "w+", "int16", (1, 2000, 1))
    recording[:] = (rng.standard_normal(recording.shape) * 3).round()
    model = built()
    out = np.lib.format.open_memmap(tmp_path / "z.npy", "w+", "float32", (1, 1992, 3))
    steps = []
    assert model.encode(recording, out=out, window=400, progress=lambda done, total: steps.append((done, total))) is out
    assert steps[-1][0] == steps[-1][1] >= 5
    np.testing.assert_allclose(np.load(tmp_path / "z.npy"), model.encode(np.array(recording)), atol=1e-5)


def test_very_long_signals_are_windowed_by_themselves(rng):
    signal = np.zeros((1, 2**20 + 5000, 1), "float32")
    signal[0, -9000:, 0] = rng.standard_normal(9000)
    model = built(iterations=4)
    tail = model.encode(signal[:, -6000:])[:, 100:]  # the first positions know nothing of what came before
    np.testing.assert_allclose(model.encode(signal)[:, -tail.shape[1]:], tail, atol=1e-5)
    made = model.predict(signal, verbose=0)
    assert made.shape == signal.shape
    np.testing.assert_allclose(made[:, -5000:], model.predict(signal[:, -6000:], verbose=0)[:, -5000:], atol=1e-5)


@pytest.fixture
def sharing():
    """Encodings with two workers, for signals of any size; the parts that were computed are listed."""
    parts = []

    class Listed(encoding.Encoding):
        def run_graph(self, name, signal, *given, **named):
            parts.append(signal.shape)
            return super().run_graph(name, signal, *given, **named)

    return parts, lambda model: Listed(model, workers=2, min_values=1)


@pytest.mark.parametrize("strides", [1, 4])
def test_cores_share_one_signal(rng, sharing, strides):
    model = built(strides=strides, iterations=3)
    signal = rng.standard_normal((1, 4003, 1)).astype("float32")
    given = CallOptions(mask=signal > -1, sigma=0.7)
    parts, shared = sharing
    expected = encoding.Encoding(model, workers=1).encode(signal, given)
    np.testing.assert_allclose(shared(model).encode(signal, given), expected, atol=1e-6)
    assert len(parts) == 2 and all(2000 < shape[1] < 2100 for shape in parts)


@pytest.mark.parametrize("rank", [1, 2])
def test_cores_share_a_batch(rng, sharing, rank):
    model = built(rank=rank, iterations=3)
    signal = rng.standard_normal((5, *(24,) * rank, 1)).astype("float32")
    given = dict(mask=signal > -1, sigma=[0.5, 1.0, 1.5, 2.0, 2.5])
    parts, shared = sharing
    options = CallOptions(**given)
    code, made = shared(model).encode(signal, options), shared(model).reconstruct(signal, options)
    assert [shape[0] for shape in sorted(parts)] == [2, 2, 3, 3]
    np.testing.assert_allclose(code, model.encode(signal, batch_size=5, **given), atol=1e-6)
    np.testing.assert_allclose(made, model(signal, **given), atol=1e-5)


@pytest.mark.parametrize("options", [dict(tolerance=1e-3), dict(active=True)])
def test_what_stops_by_all_values_is_not_shared(rng, sharing, options):
    parts, shared = sharing
    shared(built(iterations=10, **options)).encode(rng.standard_normal((4, 500, 1)), CallOptions())
    assert parts == [(4, 500, 1)]


def test_batches_equal_one_call(signal):
    model = built()
    sigma = np.array([0.5, 1.5], "float32")
    mask = signal > -1
    np.testing.assert_allclose(model.encode(signal, mask=mask, sigma=sigma, batch_size=1),
                               model.encode(signal, mask=mask, sigma=sigma), atol=1e-6)


@pytest.mark.parametrize("options", [dict(block_size=1), dict(block_size=4), dict(unroll=True), dict(remat=True),
                                     dict(block_size=1, unroll=True)])
def test_how_the_encoder_runs_does_not_change_the_code(signal, options):
    expected = built().encode(signal)
    np.testing.assert_allclose(built(**options).encode(signal), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("options", [{}, dict(strides=4, block_size=1), dict(tolerance=1e-4), dict(rank=2),
                                     dict(rank=2, strides=3)], ids=str)
def test_compile_by_xla_gives_the_same_code_for_every_length(rng, options):
    plain, by_xla = built(**options), built(**options)
    by_xla.compile(jit_compile=True)
    for length in (31, 40):
        signal = rng.standard_normal((2, *(length,) * plain.rank, 1)).astype("float32")
        for given in ({}, dict(mask=signal > -1, sigma=[0.5, 1.0])):
            expected = plain.encode(signal, **given)
            assert np.any(expected)
            np.testing.assert_allclose(by_xla.encode(signal, **given), expected, atol=1e-5)
    np.testing.assert_allclose(by_xla.reconstruct(signal, **given), plain.reconstruct(signal, **given), atol=1e-5)


def test_xla_is_used_where_compile_asks_for_it(rng):
    """And not with ``active``, nor on a GPU, where Keras' "auto" is True."""
    signal, by_xla = rng.standard_normal((1, 60, 1)), dict(jit_compile=True)

    def graphs(model, *compiled, **options):
        coder = encoding.Encoding(model, **options)
        for compile_options in compiled:
            model.compile(**compile_options)
            coder.encode(signal, CallOptions())
        return [key[1] for key in coder.graphs]

    assert graphs(built(), {}, by_xla, dict(jit_compile=False)) == [False, True]
    assert graphs(built(active=True), by_xla) == [False]
    assert graphs(built(), by_xla, on_cpu=False) == [False]


def test_tolerance_stops_early_and_close_to_the_full_code(signal):
    full = built(iterations=2000)
    expected = full.encode(signal)
    loose, tight = (built(iterations=2000, tolerance=t).encode(signal) for t in (1e-2, 1e-5))
    errors = [np.linalg.norm(z - expected) / np.linalg.norm(expected) for z in (loose, tight)]
    assert 1e-3 < errors[0] < 0.5 and errors[1] < 1e-3
    # Never more than `iterations`, also where they are no multiple of ten.
    bounded = built(iterations=13, tolerance=1e-9).encode(signal)
    np.testing.assert_array_equal(bounded, built(iterations=13).encode(signal))


def test_an_option_changed_by_hand_is_obeyed(signal):
    model = built()
    before = model.encode(signal)
    model.encoder.iterations = 40
    np.testing.assert_allclose(model.encode(signal), built(iterations=40).encode(signal), atol=1e-6)
    assert not np.allclose(model.encode(signal), before, atol=1e-4)


def test_new_filters_reach_the_compiled_graph(signal, rng):
    model = built()
    model.encode(signal)
    filters = rng.standard_normal((9, 1, 3))
    model.set_dictionary(filters)
    other = built()
    other.set_dictionary(filters)
    np.testing.assert_array_equal(model.encode(signal), other.encode(signal))


@pytest.mark.parametrize("options, words", [
    (dict(tolerance=-1.0), "tolerance"), (dict(tolerance=1e-3, unroll=True), "tolerance"),
    (dict(block_size=0), "block_size"), (dict(remat=True, unroll=True), "remat")])
def test_options_that_do_not_fit_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        built(**options)


def test_images_take_no_windows(rng):
    with pytest.raises(ValueError, match="for signals"):
        built(rank=2).encode(rng.standard_normal((1, 20, 20, 1)), sparse=True)


def test_a_code_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="`code` must have shape"):
        built().decode(np.zeros((1, 50, 2)))


@pytest.mark.parametrize("options, words", [
    (dict(sigma=-1.0), "sigma"), (dict(sigma=[1.0, 2.0, 3.0]), "sigma"), (dict(mask=np.ones((2, 3, 1))), "mask"),
    (dict(mask=np.ones(2)), "mask"), (dict(batch_size=-1), "batch_size"), (dict(overlap=-1), "overlap"),
    (dict(window=0), "window"), (dict(sparse=True, sigma=0.0), "sigma")])
def test_unfit_arguments_are_refused(signal, options, words):
    with pytest.raises(ValueError, match=words):
        built().encode(signal, **options)


def test_long_signals_of_other_channels_are_refused():
    with pytest.raises(ValueError, match="1 channels"):
        built().encode(np.zeros((1, 1000, 4)), sparse=True)


@pytest.mark.parametrize("options", [{}, dict(strides=4), dict(rank=2), dict(rank=2, strides=3)], ids=str)
def test_threads_that_encode_at_a_time_do_not_meet(rng, options):
    """Convolutions that oneDNN sums in place crashed or mixed their values when two threads ran one graph."""
    model = built(**options)
    spec = tf.TensorSpec((None,) * (model.rank + 1) + (1,), "float32")
    outside = tf.function(model.encoder, input_signature=[spec])
    signals = [rng.standard_normal((1, *(length,) * model.rank, 1)).astype("float32") for length in (35, 48, 61)]
    expected = [model.encode(signal) for signal in signals]
    for encode in (model.encode, lambda signal: outside(signal).numpy()):
        with ThreadPoolExecutor(4) as threads:
            made = list(threads.map(encode, signals * 30))
        for code, alone in zip(made, expected * 30, strict=True):
            np.testing.assert_allclose(code, alone, atol=1e-5)
