"""The graph of an encoder given as plain numbers, against the same iteration in NumPy (no Keras)."""

import dataclasses

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from crsae_onnx.core.spec import EncoderSpec
from crsae_onnx.core.spec_parts import LayerSpec
from crsae_onnx.graph import pipelines
from crsae_onnx.graph.folding import fold_encoder


def random_spec(rng, kernel_size=7, channels=2, filters=3, strides=1, iterations=12, **changes):
    kernel = rng.standard_normal((kernel_size, channels, filters)) / kernel_size
    momentum = np.arange(iterations) / (np.arange(iterations) + 3)
    values = dict(kernel=kernel, decoder_kernel=rng.standard_normal(kernel.shape), strides=(strides,), step_size=0.3,
                  lambda_reg=rng.uniform(2.0, 4.0, filters), sigma=0.5, momentum=momentum, block=(4,))
    return EncoderSpec(**{**values, **changes})


def synthesis(code, kernel, stride):
    """D z in NumPy: (batch, positions, filters) -> (batch, time, channels)."""
    size = kernel.shape[0]
    signal = np.zeros((len(code), (code.shape[1] - 1) * stride + size, kernel.shape[1]))
    for p in range(code.shape[1]):
        signal[:, p * stride:p * stride + size] += np.einsum("bf,kcf->bkc", code[:, p], kernel)
    return signal


def adjoint(signal, kernel, stride):
    size = kernel.shape[0]
    starts = range(0, signal.shape[1] - size + 1, stride)
    return np.stack([np.einsum("bkc,kcf->bf", signal[:, s:s + size], kernel) for s in starts], axis=1)


def encode(spec, signal):
    """The iteration of ``EncoderSpec`` in float64; padded samples are not observed."""
    (size,), (stride,) = spec.kernel_size, spec.strides
    positions = -(-(signal.shape[1] - size) // stride) + 1
    padding = (positions - 1) * stride + size - signal.shape[1]
    padded = np.pad(signal, ((0, 0), (0, padding), (0, 0)))
    observed = np.pad(np.ones(signal.shape), ((0, 0), (0, padding), (0, 0)))
    kernel = spec.kernel.astype(float)
    analysis = kernel if spec.adjoint_kernel is None else spec.adjoint_kernel
    z = w = np.zeros((len(signal), positions, spec.filters))
    threshold = spec.threshold
    for k in range(spec.iterations):
        if spec.layers:
            layer = spec.layers[k]
            kernel, analysis = layer.kernel, layer.adjoint_kernel
            threshold = np.maximum(layer.offset + layer.slope * spec.sigma, 0)
        u = w + spec.step_size * adjoint(observed * (padded - synthesis(w, kernel, stride)), analysis, stride)
        new = np.maximum(u - threshold, 0)
        if spec.code_prior == "soft":
            new = new - np.maximum(-u - threshold, 0)
        z, w = new, new + spec.momentum[k] * (new - z)
    return z


def run(spec, signal, inputs=("signal",), feed=None, **options):
    model = pipelines.build(fold_encoder(spec, **options), ("code", "reconstruction"), inputs)
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["code", "reconstruction"], {"signal": signal.astype(np.float32), **(feed or {})})


@pytest.mark.parametrize("changes", [
    {}, dict(code_prior="soft"), dict(strides=3), dict(strides=3, code_prior="soft"), dict(block=None),
    dict(iterations=9), dict(iterations=23), dict(momentum=np.zeros(15))])
def test_code_and_reconstruction_are_those_of_the_iteration(changes, rng):
    spec = random_spec(rng, **changes)
    for time in (7, 40, 41, 43):
        signal = 3 * rng.standard_normal((2, time, 2))
        expected = encode(spec, signal)
        decoded = synthesis(expected, spec.decoder_kernel, spec.strides[0])[:, :time]
        for loop in (True, False):
            code, reconstruction = run(spec, signal, loop=loop)
            np.testing.assert_allclose(code, expected, atol=1e-5 * np.abs(expected).max())
            np.testing.assert_allclose(reconstruction, decoded, atol=1e-5 * np.abs(decoded).max())
        assert time == 7 or 0 < np.count_nonzero(code) < code.size


@pytest.mark.parametrize("changes", [{}, dict(code_prior="soft", strides=2), dict(momentum=np.zeros(4), block=None)])
def test_iterations_may_have_parameters_of_their_own(changes, rng):
    spec = random_spec(rng, iterations=4, **changes)

    def layer():
        kernels = (spec.kernel + 0.1 * rng.standard_normal((2, *spec.kernel.shape))).astype(np.float32)
        return LayerSpec(*kernels, slope=rng.uniform(0.1, 0.4, 3), offset=rng.uniform(-0.2, 0.2, 3))

    own = dataclasses.replace(spec, layers=tuple(layer() for _ in range(4)))
    for time in (7, 41, 43):
        signal = 3 * rng.standard_normal((2, time, 2))
        expected = encode(own, signal)
        np.testing.assert_allclose(run(own, signal, loop=False)[0], expected, atol=1e-5 * np.abs(expected).max())
        assert np.abs(expected - encode(spec, signal)).max() > 0.01
    signal, sigma = 3 * rng.standard_normal((2, 41, 2)), np.float32([0.3, 0.9])
    made = run(own, signal, inputs=("signal", "sigma"), feed={"sigma": sigma}, loop=False)[0]
    for one, level, code in zip(signal, sigma, made, strict=True):
        expected = encode(dataclasses.replace(own, sigma=level), one[None])[0]
        np.testing.assert_allclose(code, expected, atol=1e-5 * np.abs(expected).max())


def test_an_adjoint_of_its_own_is_used(rng):
    spec = random_spec(rng)
    other = dataclasses.replace(spec, adjoint_kernel=spec.kernel + 0.1 * rng.standard_normal(spec.kernel.shape))
    signal = 3 * rng.standard_normal((1, 50, 2))
    code, expected = run(other, signal)[0], encode(other, signal)
    np.testing.assert_allclose(code, expected, atol=1e-5 * np.abs(expected).max())
    assert np.abs(code - run(spec, signal)[0]).max() > 0.01


def test_a_tolerance_ends_the_iterations_after_the_first_check_below_it(rng):
    spec = random_spec(rng, momentum=np.zeros(100), check_every=10)
    signal = 3 * rng.standard_normal((1, 60, 2))
    codes = [encode(dataclasses.replace(spec, momentum=np.zeros(n)), signal) for n in range(1, 101)]
    changes = [np.linalg.norm(b - a) / np.linalg.norm(b) for a, b in zip(codes, codes[1:], strict=False)]
    tolerance = np.sqrt(changes[28] * changes[38])  # between those of iterations 30 and 40: the check after 40 ends it
    code = run(spec, signal, tolerance=tolerance)[0]
    np.testing.assert_allclose(code, codes[39], atol=1e-5 * np.abs(code).max())
    assert np.abs(code - codes[29]).max() > 1e-4 * np.abs(code).max()
