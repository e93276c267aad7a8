"""Properties that hold for sizes that nobody chose: hypothesis draws them."""

import keras
import numpy as np
import pytest
from crsae_onnx import SparseEncoder
from crsae_onnx.convert import convert
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import keras_crsae as kc
from keras_crsae.data.batch_order import BatchOrder, split_indices
from keras_crsae.data.streams.recording_windows import window_batches
from keras_crsae.data.streams.windows import cut_windows

QUIET = dict(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
DTYPES = ("float32", "float64", "int16", "uint8", "float16")


@st.composite
def models(draw):
    """(options, channels, signal): a model and a signal that may be as short as the kernel."""
    rank = draw(st.sampled_from((1, 2)))
    size = tuple(draw(st.integers(1, 7)) for _ in range(rank))
    options = dict(
        filters=draw(st.integers(1, 3)), kernel_size=size, rank=rank, iterations=draw(st.integers(1, 12)),
        strides=tuple(draw(st.integers(1, n)) for n in size), tied=draw(st.booleans()),
        shrinkage=draw(st.sampled_from(("soft", "nonnegative_soft"))), lambda_shared=draw(st.booleans()),
        block_size=draw(st.sampled_from(("auto", 1, 2))), unroll=draw(st.booleans()),
        lambda_init=draw(st.floats(0.01, 1.0)), seed=draw(st.integers(0, 99)))
    channels = draw(st.integers(1, 2))
    shape = (draw(st.integers(1, 2)), *(n + draw(st.integers(0, 9)) for n in size), channels)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return options, channels, (20 * rng.random(shape)).astype(draw(st.sampled_from(DTYPES)))


def built(options, channels):
    model = kc.CRsAE(**options)
    model.build((None,) * (options["rank"] + 1) + (channels,))
    return model


def check_shapes_and_dtypes(case):
    options, channels, signal = case
    model = built(options, channels)
    code = model.encode(signal)
    positions = tuple(-(-(n - k) // s) + 1 for n, k, s in
                      zip(signal.shape[1:-1], options["kernel_size"], options["strides"], strict=True))
    assert code.shape == (len(signal), *positions, options["filters"]) and code.dtype == np.float32
    assert np.isfinite(code).all() and (options["shrinkage"] == "soft" or (code >= 0).all())
    decoded = model.decode(code)
    assert decoded.shape == (len(signal), *((m - 1) * s + k for m, k, s in zip(
        positions, options["kernel_size"], options["strides"], strict=True)), channels)
    whole = np.asarray(model(signal.astype("float32")))
    assert whole.shape == signal.shape
    np.testing.assert_allclose(whole, decoded[tuple(slice(0, n) for n in signal.shape)],
                               atol=1e-4 * (np.abs(decoded).max() + 1e-6))


@settings(max_examples=6, **QUIET)
@given(models())
def test_codes_and_reconstructions_have_the_shapes_and_dtypes_that_are_promised(case):
    check_shapes_and_dtypes(case)


@pytest.mark.slow
@settings(max_examples=40, **QUIET)
@given(models())
def test_the_same_for_many_more(case):
    check_shapes_and_dtypes(case)


def check_export(folder, case):
    options, channels, signal = case
    model = built(options, channels)
    convert(model, folder / "e.onnx")
    encoder = SparseEncoder(folder / "e.onnx")
    signal = signal.astype("float32")
    code, made = model.encode(signal), np.asarray(model(signal))
    np.testing.assert_allclose(encoder.encode(signal), code, atol=1e-4 * (np.abs(code).max() + 1e-6))
    np.testing.assert_allclose(encoder.reconstruct(signal), made, atol=1e-4 * (np.abs(made).max() + 1e-6))


@settings(max_examples=4, **QUIET)
@given(models())
def test_an_exported_model_computes_what_keras_computes(tmp_path_factory, case):
    check_export(tmp_path_factory.mktemp("e"), case)


@pytest.mark.slow
@settings(max_examples=20, **QUIET)
@given(models())
def test_many_more_exported_models_do_so(tmp_path_factory, case):
    check_export(tmp_path_factory.mktemp("e"), case)


@settings(max_examples=4, **QUIET)
@given(models())
def test_a_saved_model_comes_back_whole(tmp_path_factory, case):
    options, channels, signal = case
    model = built(options, channels)
    model.compile("adam")
    path = tmp_path_factory.mktemp("m") / "m.keras"
    model.save(path)
    loaded = keras.saving.load_model(path)
    assert loaded.get_config() == model.get_config()
    for a, b in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))
    np.testing.assert_array_equal(loaded.encode(signal), model.encode(signal))


@settings(max_examples=60, **QUIET)
@given(samples=st.integers(1, 300), window=st.integers(1, 300), channels=st.integers(1, 3))
def test_windows_cover_every_sample(samples, window, channels):
    recording = np.arange(samples * channels, dtype="float32").reshape(1, samples, channels)
    if window > samples:
        with pytest.raises(ValueError, match="fewer than one window"):
            cut_windows(recording, window)
        return
    windows = cut_windows(recording, window)
    assert windows.shape == (-(-samples // window), window, channels)
    assert set(windows.ravel()) == set(recording.ravel())


@settings(max_examples=12, **QUIET)
@given(samples=st.integers(20, 90), window=st.integers(1, 20), step=st.integers(1, 30), batch=st.integers(1, 9))
def test_streamed_windows_are_each_read_once(samples, window, step, batch):
    recording = np.arange(samples, dtype="float32")[:, None]
    data = window_batches(recording, window, batch, step=step)
    starts = np.concatenate([b.numpy()[:, 0, 0] for b in data])
    expected = list(range(0, samples - window + 1, step))
    expected += [samples - window] if expected[-1] + window < samples else []
    assert sorted(starts) == expected and len(data) == -(-len(expected) // batch)


@settings(max_examples=60, **QUIET)
@given(count=st.integers(1, 50), seed=st.integers(0, 2**24 - 1), epoch=st.integers(0, 9999))
def test_every_order_is_a_permutation(count, seed, epoch):
    assert sorted(BatchOrder(seed, epoch).indices(count)) == list(range(count))


@settings(max_examples=60, **QUIET)
@given(count=st.integers(1, 50), size=st.integers(1, 60), replicas=st.integers(1, 7))
def test_the_shares_of_replicas_make_up_every_batch(count, size, replicas):
    order = np.random.default_rng(count).permutation(count)
    shares = np.stack([split_indices(order, size, replicas, slice(i, i + 1)) for i in range(replicas)], axis=1)
    assert shares.shape == (-(-count // size), replicas, -(-size // replicas))
    for start, batch in zip(range(0, count, size), shares, strict=True):
        assert [i for i in batch.ravel() if i >= 0] == order[start:start + size].tolist()
