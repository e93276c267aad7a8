"""Files of models of rank one: channels are mixed once, the iterations work on as few as there are filters."""

import numpy as np
import onnx
import pytest
from crsae_onnx import SparseEncoder
from crsae_onnx.convert import convert
from crsae_onnx.core.spec import EncoderSpec
from crsae_onnx.graph.folding import fold_encoder
from crsae_onnx.validate import validate

import keras_crsae as kc

CASES = [dict(), dict(shrinkage="soft", strides=3), dict(iterations=25), dict(tied=False), dict(kernel_size=(5, 4)),
         dict(active=True, tolerance=1e-4), dict(tolerance=1e-4), dict(filters=7)]


def built(channels=6, **options):
    model = kc.CRsAE(**{"filters": 2, "kernel_size": 9, "iterations": 12, "kernel_rank": 1, "lambda_init": 0.7,
                        "seed": 0, **options})
    model.build((None,) * (model.rank + 1) + (channels,))
    return model


def multiplications(path):
    """Elements of the largest weight."""
    return max(np.prod(tensor.dims) for tensor in onnx.load(path).graph.initializer)


@pytest.mark.parametrize("options", CASES, ids=str)
def test_a_file_computes_what_the_model_does(options, tmp_path):
    model = built(**options)
    path = convert(model, tmp_path / "encoder.onnx")
    report = validate(model, path, shapes=[(1, *(41, 13)[:model.rank], 6), (3, *(80, 31)[:model.rank], 6)])
    assert report.difference <= 1e-5
    assert SparseEncoder(path).info["channels"] == 6
    if model.encoder.active:  # found in NumPy from the filters in the file
        signal = np.random.default_rng(0).standard_normal((2, 80, 6)).astype("float32")
        np.testing.assert_allclose(SparseEncoder(path, active=True).encode(signal), model.encode(signal), atol=1e-3)


def test_the_iterations_work_on_as_few_channels_as_there_are_filters(tmp_path):
    model = built(channels=64)
    few = convert(model, tmp_path / "few.onnx", loop=True)
    whole = convert(model, tmp_path / "whole.onnx", inputs=("signal", "mask"))
    assert multiplications(few) * 16 < multiplications(whole)
    for path in (few, whole):
        assert validate(model, path, shapes=[(2, 50, 64)]).difference <= 1e-5


def test_half_precision_and_a_noise_level_go_with_it(tmp_path, rng):
    model = built()
    signal = rng.standard_normal((2, 60, 6)).astype("float32")
    path = convert(model, tmp_path / "half.onnx", precision="float16", inputs=("signal", "sigma"))
    code = SparseEncoder(path).encode(signal, sigma=[0.5, 1.5])
    expected = model.encode(signal, sigma=np.array([0.5, 1.5]))
    np.testing.assert_allclose(code, expected, atol=5e-3 * np.abs(expected).max())


def test_a_subspace_of_another_size_is_refused_and_one_that_fits_shrinks_the_kernels(rng):
    basis = np.linalg.qr(rng.standard_normal((6, 2)))[0]
    kernel = np.einsum("kf,if->kif", rng.standard_normal((5, 2)), basis)
    options = dict(kernel=kernel, decoder_kernel=kernel, strides=(1,), step_size=0.1, lambda_reg=[1.0], sigma=1.0,
                   momentum=np.zeros(3))
    with pytest.raises(ValueError, match=r"`subspace` must have shape \(6 channels"):
        EncoderSpec(**options, subspace=np.eye(5))
    encoder = fold_encoder(EncoderSpec(**options, subspace=basis))
    assert (encoder.channels, encoder.signal_channels) == (2, 6)
    np.testing.assert_allclose(encoder.layers[0].kernel, np.einsum("kif,ic->kcf", kernel, basis), atol=1e-6)
