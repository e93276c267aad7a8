"""The run-time door: files and signals, good and bad; long signals; life without TensorFlow."""

import json
import subprocess
import sys
import threading
import time

import numpy as np
import onnx
import pytest
from crsae_onnx import ModelFileError, SignalError, SparseCode, SparseEncoder
from crsae_onnx.convert import convert
from crsae_onnx.file_format import container
from crsae_onnx.runtime import sessions
from crsae_onnx.runtime.sessions import RunLimits
from onnx import helper

import keras_crsae as kc


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    model = kc.CRsAE(2, 7, iterations=12, lambda_init=0.7, strides=2, seed=0)
    model.build((None, None, 1))
    images = kc.CRsAE(2, 5, rank=2, iterations=5, lambda_init=0.7, seed=0)
    images.build((None, None, None, 1))
    return {"model": model, "plain": convert(model, folder / "plain.onnx"),
            "all": convert(model, folder / "all.onnx", inputs=("signal", "mask", "sigma")),
            "images": convert(images, folder / "images.onnx")}


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", [np.int16, np.float64, np.float16, np.uint8, bool])
def test_any_real_dtype_gives_what_its_float32_gives(exported, dtype, rng):
    signal = (5 * rng.random((2, 61, 1))).astype(dtype)
    encoder = SparseEncoder(exported["plain"])
    code = encoder.encode(signal)
    assert code.dtype == np.float32 and np.any(code)
    np.testing.assert_array_equal(code, encoder.encode(signal.astype(np.float32)))


def test_mask_and_sigma_follow_the_call(exported, rng):
    encoder, model = SparseEncoder(exported["all"]), exported["model"]
    signal = 3 * rng.standard_normal((2, 61, 1)).astype(np.float32)
    mask = (rng.random((2, 61)) < 0.7).astype(np.float32)
    close(encoder.encode(signal), model.encode(signal))
    close(encoder.encode(signal, mask=mask), model.encode(signal, mask=mask[..., None]))
    close(encoder.encode(signal, sigma=[0.5, 2.0]), model.encode(signal, sigma=np.float32([0.5, 2.0])))
    close(encoder.reconstruct(signal, mask=mask, sigma=0.5),
          np.asarray(model(signal, mask=mask[..., None], sigma=np.float32(0.5))))


def test_long_signals_are_windowed_by_themselves(exported, rng, monkeypatch):
    encoder = SparseEncoder(exported["all"])
    signal, mask = 3 * rng.standard_normal((2, 3000, 1)), rng.random((2, 3000, 1)) < 0.9
    given = dict(mask=mask, sigma=[1.0, 0.7])
    one = [f(signal, **given) for f in (encoder.encode, encoder.reconstruct)]
    encoder = SparseEncoder(exported["all"], limits=RunLimits(signal_samples=1000))
    runs = []
    whole = encoder._run
    monkeypatch.setattr(encoder, "_run", lambda *a, **k: runs.append(a[1].shape) or whole(*a, **k))
    for f, expected in zip((encoder.encode, encoder.reconstruct), one, strict=True):
        close(f(signal, **given), expected)
    assert len(runs) == 4 and all(shape[0] == 1 for shape in runs)
    close(encoder.encode(signal, window=400, **given), one[0])
    assert len(runs) > 12


def test_threads_share_one_signal(exported, rng, monkeypatch):
    encoder = SparseEncoder(exported["all"], threads=2, limits=RunLimits(shared_code_values=1))
    plain = SparseEncoder(exported["all"], threads=1)
    signal = 3 * rng.standard_normal((1, 5003, 1))
    given = dict(mask=rng.random((1, 5003, 1)) < 0.9, sigma=0.7)
    expected = [f(signal, **given) for f in (plain.encode, plain.reconstruct)]
    runs, whole = [], encoder._run
    monkeypatch.setattr(encoder, "_run", lambda *a, **k: runs.append(a[1].shape[1]) or whole(*a, **k))
    for f, one in zip((encoder.encode, encoder.reconstruct), expected, strict=True):
        close(f(signal, **given), one)
    assert len(runs) == 4 and max(runs) < 2700


def test_large_batches_are_split_by_themselves(exported, rng, monkeypatch):
    signal = 3 * rng.standard_normal((7, 61, 1))
    one = SparseEncoder(exported["plain"]).encode(signal)
    encoder = SparseEncoder(exported["plain"], limits=RunLimits(signal_samples=200))
    runs = []
    whole = encoder._run
    monkeypatch.setattr(encoder, "_run", lambda *a, **k: runs.append(len(a[1])) or whole(*a, **k))
    close(encoder.encode(signal), one)
    assert runs == [3, 3, 1]


@pytest.mark.parametrize("threads", [1, 2])
def test_large_signals_of_a_batch_run_one_by_one_and_give_the_same(exported, rng, monkeypatch, threads):
    signal, images = 3 * rng.standard_normal((3, 61, 1)), 3 * rng.standard_normal((3, 20, 21, 1))
    whole = [SparseEncoder(exported[n], threads=threads) for n in ("all", "images")]
    given = dict(mask=rng.random(signal.shape) < 0.9, sigma=[1.0, 0.5, 2.0])
    expected = [whole[0].encode(signal, **given), whole[0].reconstruct(signal, **given), whole[1].encode(images)]
    whole = [SparseEncoder(exported[n], threads=threads, limits=RunLimits(code_values=100)) for n in ("all", "images")]
    sizes, run = [], whole[1]._split
    monkeypatch.setattr(whole[1], "_split", lambda n, f, size, o: sizes.append(size) or run(n, f, size, o))
    close(whole[0].encode(signal, **given), expected[0])
    close(whole[0].reconstruct(signal, **given), expected[1])
    close(whole[1].encode(images), expected[2])
    both = whole[0].run(["code", "reconstruction"], signal, **given)
    close(both["code"], expected[0])
    close(both["reconstruction"], expected[1])
    assert sizes == [1]


@pytest.mark.parametrize("most", [2**20, 1000])
def test_a_run_can_be_ended_from_another_thread(tmp_path, most):
    model = kc.CRsAE(8, 99, iterations=200_000, lambda_init=0.7, seed=0)
    model.build((None, None, 1))
    encoder = SparseEncoder(convert(model, tmp_path / "e.onnx"), threads=1, limits=RunLimits(code_values=most))
    options = sessions.run_options()
    threading.Timer(0.3, lambda: setattr(options, "terminate", True)).start()
    start = time.process_time()
    with pytest.raises(Exception, match="terminate"):
        encoder.run(["code"], np.ones((2, 5000, 1)), options=options)
    assert time.process_time() - start < 5


def test_a_batch_that_stops_as_one_is_not_split(rng, tmp_path):
    model = kc.CRsAE(2, 7, iterations=100, lambda_init=0.7, tolerance=1e-2, seed=0)
    model.build((None, None, 1))
    path, signal = convert(model, tmp_path / "e.onnx"), rng.standard_normal((4, 61, 1))
    code = SparseEncoder(path, threads=2).encode(signal)
    small = SparseEncoder(path, threads=2, limits=RunLimits(code_values=1))
    np.testing.assert_array_equal(small.encode(signal), code)


def test_out_and_sparse_give_the_same_code(exported, rng, tmp_path):
    encoder, signal = SparseEncoder(exported["plain"]), 3 * rng.standard_normal((2, 301, 1))
    code = encoder.encode(signal)
    sparse = encoder.encode(signal, sparse=True, window=64)
    assert isinstance(sparse, SparseCode)
    close(sparse.to_dense(), code)
    out = np.lib.format.open_memmap(tmp_path / "z.npy", "w+", np.float32, code.shape)
    assert encoder.encode(signal, out=out) is out
    close(out, code)


def test_images_take_no_windows(exported, rng):
    encoder = SparseEncoder(exported["images"])
    image = rng.standard_normal((1, 20, 21, 1))
    assert encoder.encode(image).shape == (1, 16, 17, 2)
    with pytest.raises(ValueError, match="one-dimensional"):
        encoder.encode(image, sparse=True)


@pytest.mark.parametrize("signal, words", [
    (np.zeros((1, 50)), "shape"), (np.zeros((1, 4, 1)), "shorter"), (np.full((1, 50, 1), np.nan), r"\(0, 0, 0\)"),
    (np.zeros((1, 50, 1), complex), "real"), (np.zeros((1, 50, 2)), "1 channels"), (np.zeros((1, 0, 1)), "empty"),
    (np.array([["a"]]), "real"), (None, "real"), ([[[1.0]] * 3], "shorter")])
def test_unfit_signals_are_refused(exported, signal, words):
    with pytest.raises(SignalError, match=words):
        SparseEncoder(exported["plain"]).encode(signal)


def test_unfit_masks_and_sigmas_are_refused(exported):
    signal, encoder = np.ones((2, 50, 1)), SparseEncoder(exported["all"])
    for given, words in ((dict(mask=np.ones((2, 40, 1))), "mask"), (dict(mask=np.full((2, 50, 1), np.nan)), "mask"),
                         (dict(sigma=0.0), "sigma"), (dict(sigma=[1.0] * 3), "sigma"), (dict(sigma="loud"), "sigma")):
        with pytest.raises(SignalError, match=words):
            encoder.encode(signal, **given)
    with pytest.raises(ValueError, match="takes no 'mask'"):
        SparseEncoder(exported["plain"]).encode(signal, mask=signal)


def rewritten(path, target, change):
    """A copy of an exported file with other metadata, as another ONNX tool would write it: without the checksum."""
    proto = onnx.load(path)
    info = json.loads(proto.metadata_props[0].value)
    helper.set_model_props(proto, {"crsae": change(info)})
    onnx.save(proto, target)
    return target


def test_damaged_foreign_and_newer_files_are_refused(exported, tmp_path):
    whole, target = exported["plain"].read_bytes(), tmp_path / "bad.onnx"

    def refused(words):
        with pytest.raises(ModelFileError, match=words) as caught:
            SparseEncoder(target)
        assert "bad.onnx" in str(caught.value)

    refused("No file")
    for content, words in ((b"", "not an ONNX file"), (b"PK\3\4 a zip", "not an ONNX file"),
                           (whole[:500], "damaged"), (whole[:-1], "damaged"),
                           (b"\x08" + bytes(1000), "damaged")):
        target.write_bytes(content)
        refused(words)
    identity = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "g",
                                 [helper.make_tensor_value_info("a", 1, [1])],
                                 [helper.make_tensor_value_info("b", 1, [1])])
    onnx.save(helper.make_model(identity, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), target)
    refused("not an encoder of this package")
    rewritten(exported["plain"], target, lambda info: json.dumps({**info, "format_version": 99}))
    refused("Update keras-crsae")
    rewritten(exported["plain"], target, lambda info: json.dumps(info)[:50])
    refused("metadata")
    rewritten(exported["plain"], target, lambda info: json.dumps({"format_version": 1}))
    refused("lacks")
    rewritten(exported["plain"], target, json.dumps)
    refused("does not end in its checksum")
    target.write_bytes(container.pack(b"\x08\x08", {"format_version": 99}))
    refused("Update keras-crsae")
    target.write_bytes(container.pack(b"\x08\x08", {**SparseEncoder(exported["plain"]).info}))
    refused("cannot be loaded by this onnxruntime")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "huge.onnx").open("wb") as file:
        file.truncate(2**31)  # sparse: takes no space
    with pytest.raises(ModelFileError, match="larger"):
        SparseEncoder(tmp_path / "huge.onnx")


def test_an_absent_provider_is_named(exported):
    with pytest.raises(ValueError, match="NoSuchExecutionProvider"):
        SparseEncoder(exported["plain"], providers=["NoSuchExecutionProvider"])
    assert "2 filters of (7,)" in repr(SparseEncoder(exported["plain"], providers=["CPUExecutionProvider"]))


def test_run_time_half_imports_no_training_package():
    code = ("import sys, crsae_onnx, crsae_onnx.runtime, crsae_onnx.core.windowing, crsae_onnx.cli\n"
            "bad = {'tensorflow', 'keras', 'tf2onnx', 'onnx', 'keras_crsae'} & set(sys.modules)\n"
            "sys.exit(str(bad) if bad else 0)")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_mask_of_a_masked_array_is_taken_or_the_array_refused(exported, rng):
    signal, mask = rng.standard_normal((2, 61, 1)).astype("float32"), rng.random((2, 61, 1)) < 0.8
    masked, filled = np.ma.masked_where(~mask, np.where(mask, signal, np.nan)), np.where(mask, signal, 0)
    encoder = SparseEncoder(exported["all"])
    fewer = mask.astype("float32")
    fewer[0, :9] = 0
    for call in (encoder.encode, encoder.reconstruct, lambda y, mask=None: encoder.run(["code"], y, mask)["code"]):
        np.testing.assert_array_equal(call(masked), call(filled, mask=mask.astype("float32")))
        np.testing.assert_array_equal(call(masked, mask=fewer[..., 0]), call(filled, mask=fewer))
    with pytest.raises(ValueError, match="takes no 'mask'"):
        SparseEncoder(exported["plain"]).encode(masked)
    with pytest.raises(SignalError, match="`mask` is a masked array"):
        encoder.encode(filled, mask=masked)
